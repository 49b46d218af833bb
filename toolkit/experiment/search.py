"""A search: its space, and its trials, proposed by Optuna, trained by workers and reported to Optuna."""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial, Trial, TrialState

from toolkit.corpus.protocols import chooses_on_test
from toolkit.corpus.targets import Target
from toolkit.errors import CheckpointError, ExperimentError, RecipeError, ToolkitError, one_line
from toolkit.experiment.cells import Records, Task, Threads, error_text, run_task
from toolkit.experiment.engine import WorkerOptions
from toolkit.experiment.plan import PLAN, TRIALS, Cell, make_plan
from toolkit.files import locked
from toolkit.plugins.kinds import parts
from toolkit.plugins.registry import find_part
from toolkit.recipe.checks import COMMAND_LINE, Location, check_value, members, require_known
from toolkit.recipe.reading import annotation_at
from toolkit.recipe.yaml_files import read_yaml
from toolkit.terminal import say
from toolkit.training.preparation import Source
from toolkit.training.run_folder import RESULTS, RunFolder, read_results, run_hash

if TYPE_CHECKING:
    from toolkit.training.loop.history import History

PRUNED = "pruned after epoch"
STAMPS = "stamps"  # of the runs of a trial, kept with it
EXHAUSTED = "exhausted"  # kept with a study: every setting of its space has been tried
SEARCHED = ("audio", "model", "augmentations", "training")  # a recipe's other keys are the task, not the system
ReadRecipe = Callable[[Mapping[str, Any]], Source]  # gives the recipe with the values of some dotted keys replaced


def optuna_class(kind: str, name: str) -> Callable:
    """Optuna's class for a kind, "sampler" or "pruner", and a name in lower case, such as "tpe" or "median"."""
    return next(c for key, c in vars(getattr(optuna, f"{kind}s")).items() if key.lower() == name + kind)


@lru_cache(maxsize=1)
def open_study(storage: str, name: str, pruner: str) -> optuna.Study:
    """The study of a name in a storage, created if missing; ExperimentError if the storage cannot be used."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the user has chosen the sampler
    options = {"sampler": optuna.samplers.RandomSampler(), "pruner": optuna_class("pruner", pruner)()}
    options |= {"study_name": name, "direction": "maximize", "load_if_exists": True}
    try:
        return optuna.create_study(storage=storage, **options)
    except Exception as error:  # a database's driver may raise anything
        found = f"The storage {storage} cannot be used ({one_line(error)})"
        raise ExperimentError(f"{found}: repair it, or choose another --output or --storage.") from error


@dataclass(frozen=True)
class EpochReporter:
    """Gives Optuna the validation score of a trial after each epoch; raises ToolkitError if Optuna prunes the trial."""

    study: tuple[str, str, str]  # what opens it
    number: int

    def __call__(self, history: "History") -> None:
        """Report the last epoch, unless that was done before an interruption."""
        study, row, step = open_study(*self.study), history.rows[-1], len(history.rows) - 1
        stored = study.get_trials(deepcopy=False)[self.number]
        trial = Trial(study, stored._trial_id)
        if step not in stored.intermediate_values:
            trial.report(Target.selection_score(row), step)
        if trial.should_prune():
            raise ToolkitError(f"{PRUNED} {row['epoch']}")


class Search:
    """A search in its folder, by default on the first fold; several processes may run it at a time."""

    def __init__(
        self, read: ReadRecipe, space: Path, folder: Path, folds: tuple, sampler: str, pruner: str, storage: str | None
    ):
        self.read, self.folder, self.sampler, self.source = read, folder, sampler, read({})
        self.space = read_space(space, read)
        recipe = self.source.recipe
        if chooses_on_test(recipe.protocol.name):
            raise ExperimentError(f"Protocol {recipe.protocol.name} validates on the test part: take another one.")
        cells = make_plan([self.source], folds=() if folds == ("all",) else folds).cells
        self.folds = [cell.fold for cell in cells][: None if folds else 1]
        task = {"space": repr(self.space), "folds": self.folds, "seed": recipe.seed, "cell": cells[0].name}
        name = f"{recipe.name}-{run_hash(task, [], {})}"
        self.locks = folder / TRIALS / name
        if (folder / PLAN).exists():
            raise ExperimentError(f"{folder} holds an experiment: choose another --output.")
        if others := [p.parent.name for p in (folder / TRIALS).glob("*/lock") if p.parent != self.locks]:
            found = f"{folder} holds another search, {others[0]}, with another recipe, space, seed, fold or code"
            raise ExperimentError(f"{found}: choose another --output.")
        self.locks.mkdir(parents=True, exist_ok=True)
        self.address = (storage or f"sqlite:///{folder / 'study.db'}", name, pruner)
        self.study = open_study(*self.address)
        self._held: dict[int, ExitStack] = {}  # locks of the trials that this process runs

    def run(self, options: WorkerOptions, *, trials: int) -> None:
        """Run trials until the study has this many, counting failed ones and those of other processes."""
        missing = trials - sum(trial.state.is_finished() for trial in self.study.get_trials(deepcopy=False))
        if missing > 0:
            with options.workers(missing) as workers:
                for ended in workers.run(run_task, self._tasks(trials, options.threads_each)):
                    for task, error in ended:
                        self._report(task.watch.number, task.cells, error)

    def _tasks(self, trials: int, threads: Threads) -> Iterator[Task]:
        while (trial := self._next(trials)) is not None:
            try:
                plan = make_plan([self.read(settings_of(trial))], folds=self.folds, seeds=(self.source.recipe.seed,))
            except ToolkitError as error:  # settings that do not go together
                self._report(trial.number, (), error)
                continue
            (system,) = plan.systems.values()
            yield Task(self.folder, plan.cells, system, threads, watch=EpochReporter(self.address, trial.number))

    def _next(self, trials: int) -> BaseTrial | None:
        """An unfinished trial that no process runs, else a new one; None if there are enough."""
        with locked(self.locks / "lock", wait=True):
            known = self.study.get_trials(deepcopy=False)
            for trial in known:
                if not trial.state.is_finished() and trial.number not in self._held and self._hold(trial.number):
                    if trial.params.keys() == self.space.keys():
                        return trial
                    self._report(trial.number, (), ExperimentError("its process ended while it was drawn"))
            if EXHAUSTED in self.study.user_attrs or len(known) >= trials:
                return None
            # one seed for all would draw the same values again after an interruption
            self.study.sampler = optuna_class("sampler", self.sampler)(seed=self.source.recipe.seed + len(known))
            trial = self.study.ask(self.space)
            self._hold(trial.number)
            return trial

    def _hold(self, number: int) -> bool:
        """Take the lock of a trial, unless another process holds it or has reported how the trial ended."""
        with ExitStack() as stack:
            held = stack.enter_context(locked(self.locks / f"{number}.lock", wait=False))
            if held and not self.study.get_trials(deepcopy=False)[number].state.is_finished():
                self._held[number] = stack.pop_all()
            return number in self._held

    def _report(self, number: int, cells: Iterable[Cell], error: Exception | None) -> None:
        """Report to Optuna how a trial ended, and release its lock."""
        records, trial = Records(self.folder), self.study.get_trials(deepcopy=False)[number]
        runs = [records.run_folder(records.read(cell)) for cell in cells]
        if error is None:
            results = [read_results(run / RESULTS, trials=True) for run in runs]
            stamps = [*dict.fromkeys(stamp for result in results for stamp in result[STAMPS])]
            self.study._storage.set_trial_user_attr(trial._trial_id, STAMPS, stamps)
            value, state = fmean(map(Target.selection_score, results)), None
            outcome = f"WA + UA {value:.4f}"
        else:
            outcome = error_text(error)
            value, state = None, TrialState.PRUNED if outcome.startswith(PRUNED) else TrialState.FAIL
            for run in (run for run in runs if run and run.is_dir()):
                with suppress(CheckpointError), RunFolder(run).locked():  # another process may train it for a trial
                    RunFolder(run).delete_weights()
        try:
            self.study.tell(number, value, state)
        except RuntimeError:  # from Study.stop: the bruteforce sampler has tried everything
            self.study.set_user_attr(EXHAUSTED, True)
        settings = ", ".join(f"{key} {setting_text(setting)}" for key, setting in trial.params.items())
        say(f"trial {number}  {outcome}  {settings}")
        self._held.pop(number).close()


def read_space(path: Path, read: ReadRecipe) -> dict[str, BaseDistribution]:
    """The distribution of each key in a search's file; choices are JSON texts. RecipeError for an invalid one."""
    if not (keys := read_yaml(path)):
        raise RecipeError(f"{path} names no key that is searched, such as training.batch_size: [16, 32].")
    space = {}
    for key, value in keys.items():
        try:
            space[key] = _distribution(key, value, read)
        except (ToolkitError, ValueError, TypeError, KeyError) as error:
            text = f"{error} is missing" if isinstance(error, KeyError) else one_line(str(error))
            text = text.replace(f" {COMMAND_LINE}", "").removeprefix("--").removeprefix(f"{key}: ")
            raise RecipeError(f"{Location(key, keys.marks[key])}: {text}") from None
    return space


def _distribution(key: str, value: Any, read: ReadRecipe) -> BaseDistribution:
    require_known("it", [key.partition(".")[0]], SEARCHED, "part of a recipe that can be searched")
    tried = _values_to_try(value)
    for setting in tried:
        for kind, _, part in parts(read({key: setting}).recipe):
            find_part(kind.name, part).check_args(part.args)
    if isinstance(value, list):
        return CategoricalDistribution([json.dumps(choice) for choice in value])
    takes_real = float in members(annotation_at(tuple(key.split("."))))
    whole = not takes_real and all(type(setting) is int for setting in tried)
    return (IntDistribution if whole else FloatDistribution)(**value)


def _values_to_try(value: Any) -> Sequence[Any]:
    """All choices of a list, or the ends of a range and its first step."""
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        raise RecipeError("a list of choices, or a range such as {low: 1, high: 8}, is needed.")
    require_known("it", value, ("low", "high", "log", "step"), "key of a range")
    check_value(value.get("log", False), bool)
    low, high = value["low"], value["high"]
    return [low, high, low + value["step"]] if "step" in value else [low, high]


def settings_of(trial: BaseTrial) -> dict[str, Any]:
    """A trial's values by key."""
    return {key: json.loads(value) if isinstance(value, str) else value for key, value in trial.params.items()}


def setting_text(value: Any) -> str:
    """A setting as text, for a line or a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
