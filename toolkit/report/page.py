"""A report's page, made from the runs' files alone, always the same bytes: what it shows, its summary, its files."""

import base64
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import ExperimentError, counted, join
from toolkit.files import resolved, templates, write_whole
from toolkit.report.evidence import Evidence, SystemRuns, check_known, stamps_of
from toolkit.report.figures import results
from toolkit.report.figures.figure import Figure
from toolkit.report.tables import differences
from toolkit.report.tables.accuracy import accuracy_table, duration_table, gender_table, speaker_tables
from toolkit.report.tables.answers import abstention_table, calibration_table, hard_utterance_table
from toolkit.report.tables.differences import compared, families
from toolkit.report.tables.provenance import missing_table, run_table, systems_table
from toolkit.report.tables.table import TEMPLATES, Table
from toolkit.statistics.comparison import Comparison
from toolkit.statistics.metrics import METRICS

PAGE = "report.html"
TITLES = {"ablation": "Ablation", "single_levels": "Single levels", "all_systems": "All systems"}
CURVES = 3  # test folds whose curves are drawn by default


def write_report(
    folder: str | Path,
    *,
    baseline: str | None = None,
    systems: Collection[str] = (),
    protocol: str | None = None,
    output: str | Path | None = None,
    **options: Any,
) -> Path:
    """Write report.html, whose path is returned, tables/ and figures/; the options are those of `toolkit report`."""
    evidence = Evidence(folder, baseline, systems)
    protocol = protocol or evidence.protocols[0]
    check_known("--protocol", "protocol", [protocol], evidence.protocols)
    if not evidence.tested(protocol):
        found = f"{folder}: no cell of protocol {protocol} is done, so there is nothing to report"
        raise ExperimentError(f"{found}. `toolkit status` shows why.")
    evidence.check_splits()
    parts = sections(evidence, protocol, **options)
    files: dict[str, bytes | str] = {}
    pictures: dict[str, str] = {}  # figure name -> its SVG in base64
    for item in (item for items in parts.values() for item in items):
        if isinstance(item, Table):
            texts = {"md": item.markdown(), "csv": item.csv(), "tex": item.latex()}
            files |= {f"tables/{item.name}.{ending}": text for ending, text in texts.items()}
        else:
            images = item.files()
            pictures[item.name] = base64.b64encode(images["svg"]).decode()
            files |= {f"figures/{item.name}.{ending}": image for ending, image in images.items()}
    template = templates(TEMPLATES, autoescape=True).get_template("page.html.j2")
    page = template.render(
        title=f"Experiment {resolved(evidence.folder).name}",
        summary=summarise(evidence, protocol),
        stamps=stamps_of(evidence.tested()),
        sections=parts,
        pictures=pictures,
    )
    files[PAGE] = re.sub(r"\n\s*\n+", "\n", page).lstrip()  # written last: if it is new, all files are
    target = Path(folder if output is None else output)
    for name, content in files.items():
        write_whole(target / name, content, ExperimentError, "choose another --output")
    return target / PAGE


def summarise(evidence: Evidence, protocol: str) -> list[str]:
    """The size of the experiment and each family's verdicts, in sentences that claim no more than the tests show."""
    done, planned = len(evidence.runs), len(evidence.cells)
    speakers = {name for tested in evidence.tested(protocol) for name in tested.speakers}
    of_speakers = f"{counted(len(speakers), 'test speaker')}, " if speakers else ""
    sentences = [
        f"{counted(len(evidence.plan.systems), 'system')}, protocol {protocol}, {of_speakers}"
        f"{counted(len(evidence.plan.seeds), 'seed')}; {done} of {counted(planned, 'cell')} done."
    ]
    if done < planned:
        sentences.append("The experiment is not complete: all figures below cover only the cells that are done.")
    for name, systems in families(evidence).items():
        if found := compared(evidence.all_of(systems, protocol)):
            sentences.append(f"{TITLES[name]}, against {systems[0]}: {_verdicts(found)}.")
    return sentences


def _verdicts(comparisons: Sequence[Comparison]) -> str:
    """What is better or worse in which metric, and how many of the other comparisons have which verdict."""
    found = defaultdict(list)
    for c in comparisons:
        found[c.verdict].append(f"{c.system} in {c.metric.upper()}")
    texts = [f"{verdict}: {', '.join(found.pop(verdict))}" for verdict in ("better", "worse") if verdict in found]
    texts += [f"{verdict} in {counted(len(those), 'comparison')}" for verdict, those in found.items()]
    return "; ".join(texts)


def sections(
    evidence: Evidence,
    protocol: str,
    *,
    pair: Sequence[str] = (),
    tsne_fold: str | None = None,
    speakers: Sequence[str] = (),
) -> dict[str, list[Table | Figure]]:
    """Each section's title with its tables and figures, in order; nothing is chosen by a test result."""
    tested, folds = evidence.tested(protocol), evidence.plan.folds[protocol]
    check_known("--speakers", "test fold", speakers, folds)
    check_known("--tsne-fold", "fold", [tsne_fold] if tsne_fold else (), folds)
    shown, drawn = shown_pair(evidence, protocol, pair), speakers or folds[:CURVES]
    embeddings = results.embedding_figure(shown, [tsne_fold] if tsne_fold else folds, evidence.plan.seeds)
    if tsne_fold and embeddings is None:
        names = join(tested.name for tested in shown)
        raise ExperimentError(f"--tsne-fold: no seed has finished runs of {names} on {tsne_fold!r}.")
    found = {
        "What was run": [run_table(evidence), systems_table(evidence)],
        **_results(evidence, protocol),
        "Confusion": [results.confusion_figure(shown)],
        "Embeddings": [embeddings],
        "Accuracy against epoch": [results.curve_figure(evidence, protocol, drawn, metric) for metric in METRICS],
        "By gender, duration and speaker": [gender_table(tested), duration_table(tested), *speaker_tables(tested)],
        "Calibration": [calibration_table(tested), results.reliability_figure(shown), abstention_table(tested)],
        "What all systems get wrong": [hard_utterance_table(tested)],
        "Failed and missing cells": [missing_table(evidence)],
    }
    made = {title: [item for item in items if item is not None] for title, items in found.items()}
    return {title: items for title, items in made.items() if items}


def _results(evidence: Evidence, protocol: str) -> dict[str, list[Table | Figure | None]]:
    found = {}
    for name, systems in families(evidence).items():
        title, tested = TITLES[name], evidence.all_of(systems, protocol)
        found[title] = [accuracy_table(tested, name=name, title=f"{title}: accuracy under {protocol}")]
        if len(systems) > 1:
            name, against = f"{name}_differences", f"{title}: difference from {systems[0]} under {protocol}"
            found[title].append(differences.difference_table(tested, name=name, title=against))
            found[title].append(results.difference_figure(tested, name=name))
    if len(evidence.protocols) > 1:
        found["Protocols side by side"] = differences.protocol_tables(evidence)
    for covariate in dict.fromkeys(name for r in evidence.recipes.values() for name in r["model"]["covariates"]):
        table = differences.covariate_table(evidence, covariate, protocol)
        found[f"Is the gain from {covariate} real?"] = [table]
    return found


def shown_pair(evidence: Evidence, protocol: str, names: Sequence[str] = ()) -> list[SystemRuns]:
    """The systems to draw side by side, by default the baseline and the largest other one with runs, if any."""
    if len(names) not in (0, 2):
        example = ",".join([*evidence.plan.systems][:2])
        raise ExperimentError(f"--pair takes two systems, for example {example}; found {len(names)}.")
    check_known("--pair", "system", names, evidence.plan.systems)
    for tested in (tested for tested in evidence.all_of(names, protocol) if not tested.runs):
        raise ExperimentError(f"--pair: {tested.name!r} has no finished run under {protocol}.")
    if names:
        return evidence.all_of(dict.fromkeys(names), protocol)
    first, *others = sorted(evidence.tested(protocol), key=lambda tested: tested.name != evidence.baseline)
    return [first, *sorted(others, key=lambda tested: -tested.runs[0].results["parameters"])[:1]]
