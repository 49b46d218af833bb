"""The results of a search: the best settings as a recipe, and a page with a figure and every trial."""

from collections import Counter
from itertools import accumulate
from os.path import relpath
from pathlib import Path

from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from toolkit.errors import ExperimentError, counted, join
from toolkit.experiment.search import STAMPS, Search, setting_text, settings_of
from toolkit.files import resolved, write_whole
from toolkit.recipe.loading import dump_yaml
from toolkit.report.figures.figure import COLOURS, image_bytes, new_figure, stamp, styled
from toolkit.report.tables.table import escape_markdown

PAGE, FIGURE = "search.md", "search.png"
STATES = {"COMPLETE": "completed", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


def write_search(search: Search) -> Path:
    """Write the best recipe, which extends the searched one and whose path is returned, the figure and the page."""
    trials, keys = search.study.get_trials(deepcopy=False), [*search.space]
    states = Counter(STATES[trial.state.name] for trial in trials)
    if not (scored := [trial for trial in trials if trial.state.name == "COMPLETE"]):
        raise ExperimentError(f"No trial has a score; their output is in {search.folder / 'cells'}.")
    best = search.study.best_trial
    summary = [
        f"{counted(len(trials), 'trial')}: {', '.join(f'{count} {state}' for state, count in states.items())}.",
        f"The best is trial {best.number}: WA + UA {best.value:.4f} on the validation part, mean of "
        f"{counted(len(search.folds), 'fold')} ({join(search.folds)}). No test part was read. The best of many trials "
        "looks better on the validation part than it is: report its test.",
    ]
    source = search.read(settings_of(best))
    searched = resolved(source.path.parent) / source.path.name  # `..` of a link leads to another folder
    changes = {"extends": relpath(searched, resolved(search.folder)), **source.changes}
    recipe = search.folder / f"{source.recipe.name}-tuned.yaml"
    stamps = dict.fromkeys(stamp for trial in scored for stamp in trial.user_attrs.get(STAMPS, ()))
    rows = [["trial", "ended", "epochs", "valid WA + UA", *keys], ["---"] * (4 + len(keys))]
    for trial in sorted(trials, key=lambda t: (t not in scored, -(t.value or 0))):
        value = f"{trial.value:.4f}" if trial in scored else ""
        facts = [trial.number, STATES[trial.state.name], len(trial.intermediate_values), value]
        settings = [setting_text(trial.params.get(key, "")) for key in keys]
        rows.append([escape_markdown(text) for text in [*facts, *settings]])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = "".join(f"NOTE: {escape_markdown(stamp)}\n\n" for stamp in stamps)
    page = f"# Search for {source.recipe.name}\n\n" + "\n\n".join(summary) + f"\n\n{notes}![]({FIGURE})\n\n{table}\n"
    files = {FIGURE: _figure(search, scored, [*stamps]), PAGE: page}
    files[recipe.name] = "".join(f"# {line}\n" for line in summary) + dump_yaml(changes)
    for name, content in files.items():
        write_whole(search.folder / name, content, ExperimentError, "choose another --output")
    return recipe


def _figure(search: Search, scored: list, stamps: list[str]) -> bytes:
    """The scores in the order of the trials, and the importance of each key (PED-ANOVA), as PNG."""
    numbers, values = [trial.number for trial in scored], [trial.value for trial in scored]
    evaluator = PedAnovaImportanceEvaluator()
    weights = get_param_importances(search.study, evaluator=evaluator) if len(set(values)) > 1 else {}
    with styled():
        figure, ((history, importance),) = new_figure(columns=2, height=2.8)
        history.plot(numbers, values, "o", color=COLOURS[0])
        history.plot(numbers, [*accumulate(values, max)], color=COLOURS[1], drawstyle="steps-post")
        history.set(xlabel="trial", ylabel="valid WA + UA")
        history.xaxis.get_major_locator().set_params(integer=True)
        importance.barh([*weights][::-1], [*weights.values()][::-1], color=COLOURS[0])
        importance.set(xlabel="importance")
        stamp(figure, stamps)
        return image_bytes(figure, "png")
