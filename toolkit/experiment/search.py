"""The trials of a search: proposed by Optuna, trained by workers, reported to Optuna; interrupted ones continue."""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import OptunaError
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from toolkit.corpus.protocols import chooses_on_test
from toolkit.corpus.targets import Target
from toolkit.errors import ExperimentError, RecipeError, ToolkitError, one_line
from toolkit.experiment.command import WorkerOptions
from toolkit.experiment.engine import Workers
from toolkit.experiment.plan import PLAN, Cell, make_plan
from toolkit.experiment.progress import LOCK, TRIALS, Records
from toolkit.experiment.tasks import Task, error_text, run_task
from toolkit.files import locked
from toolkit.plugins.kinds import parts
from toolkit.plugins.registry import find_part
from toolkit.recipe.checks import check_value, members, require_known
from toolkit.recipe.locations import Location
from toolkit.recipe.reading import annotation_at
from toolkit.recipe.yaml_files import read_yaml
from toolkit.terminal import say
from toolkit.training.identity import run_hash
from toolkit.training.preparation import Source
from toolkit.training.run_folder import RESULTS, RunFolder, read_results

if TYPE_CHECKING:
    from toolkit.training.loop.history import History

SEARCHED = ("audio", "model", "augmentations", "training")  # a recipe's other keys are the task, not the system
PRUNED = "pruned after epoch"
STAMPS = "stamps"  # of the runs of a trial, kept with it
EXHAUSTED = "exhausted"  # kept with a study: every setting of its space has been tried
Read = Callable[[Mapping[str, Any]], Source]  # gives the recipe with the values of some dotted keys replaced


def read_space(path: Path, read: Read) -> dict[str, BaseDistribution]:
    """The distribution of each key in a search's file; choices are JSON texts.

    Raises: RecipeError for the first key that the recipe does not have, or whose bounds or choices it cannot hold.
    """
    found = {}
    if not (keys := read_yaml(path)):
        raise RecipeError(f"{path} names no key that is searched, such as training.batch_size: [16, 32].")
    for key, value in keys.items():
        try:
            require_known("it", [key.partition(".")[0]], SEARCHED, "part of a recipe that can be searched")
            if isinstance(value, list):
                tried = value
            elif isinstance(value, Mapping):
                require_known("it", value, ("low", "high", "log", "step"), "key of a range")
                check_value(value.get("log", False), bool)
                tried = [value["low"], value["high"]] + ([value["low"] + value["step"]] if "step" in value else [])
            else:
                raise RecipeError("a list of choices, or a range such as {low: 1, high: 8}, is needed.")
            for one in tried:
                for kind, _, part in parts(read({key: one}).recipe):
                    find_part(kind.name, part).check_args(part.args)
            if isinstance(value, list):
                found[key] = CategoricalDistribution([json.dumps(one) for one in value])
            else:
                real = float in members(annotation_at(tuple(key.split("."))))
                whole = not real and all(type(one) is int for one in tried)
                found[key] = (IntDistribution if whole else FloatDistribution)(**value)
        except (ToolkitError, ValueError, TypeError, KeyError) as error:
            text = f"{error} is missing" if isinstance(error, KeyError) else one_line(str(error))
            raise RecipeError(f"{Location(key, keys.marks[key])}: {text.removeprefix(f'--{key}: ')}") from None
    return found


def drawn(trial: BaseTrial) -> dict[str, Any]:
    """A trial's values by key."""
    return {key: json.loads(value) if isinstance(value, str) else value for key, value in trial.params.items()}


def score(row: Mapping[str, Any]) -> float:
    """WA + UA of the validation part, from a row of epochs.csv or from results.json."""
    return Target.selection_score({name.removeprefix("valid_"): v for name, v in row.items() if "valid_" in name})


def named(kind: str, name: str) -> Callable:
    """Optuna's class for a kind, "sampler" or "pruner", and a name in lower case, such as "tpe" or "median"."""
    return next(c for key, c in vars(getattr(optuna, f"{kind}s")).items() if key.lower() == name + kind)


@lru_cache(maxsize=1)
def open_study(storage: str, name: str, pruner: str) -> optuna.Study:
    """The study of a name in a storage, created if missing; ExperimentError if the storage cannot be used."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the user has chosen the sampler
    options = {"sampler": optuna.samplers.RandomSampler(), "pruner": named("pruner", pruner)()}
    options |= {"study_name": name, "direction": "maximize", "load_if_exists": True}
    try:
        return optuna.create_study(storage=storage, **options)
    except Exception as error:  # a database's driver may raise anything
        raise _unusable(storage, error) from error


@contextmanager
def storage_errors(storage: str) -> Iterator[None]:
    """Turn an error of a storage that was opened, and is damaged or gone, into an ExperimentError."""
    try:
        yield
    except (OptunaError, SQLAlchemyError) as error:
        raise _unusable(storage, error.__cause__ or error) from error


def _unusable(storage: str, error: BaseException) -> ExperimentError:
    return ExperimentError(
        f"The storage {storage} cannot be used ({one_line(error)}): repair it, or choose another --output or --storage."
    )


@dataclass(frozen=True)
class Report:
    """Gives Optuna the validation score of a trial after each epoch; raises ToolkitError if Optuna prunes the trial."""

    address: tuple[str, str, str]  # the arguments of `open_study`
    number: int

    def __call__(self, history: "History") -> None:
        """Report the last epoch, unless that was done before an interruption."""
        study, row, step = open_study(*self.address), history.rows[-1], len(history.rows) - 1
        there = study.get_trials(deepcopy=False)[self.number]
        trial = Trial(study, there._trial_id)
        if step not in there.intermediate_values:
            trial.report(score(row), step)
        if trial.should_prune():
            raise ToolkitError(f"{PRUNED} {row['epoch']}")


class Search:
    """A search in its folder; several processes may run it at a time.

    Args: folds: names, ("all",), or none: the first; sampler, pruner: see `named`; storage: None: a file in the folder.
    Raises: ExperimentError if the folder or the storage cannot be used, or the protocol validates on the test part.
    """

    def __init__(
        self,
        read: Read,
        space: Path,
        folder: Path,
        folds: tuple[str, ...],
        sampler: str,
        pruner: str,
        storage: str | None,
    ):
        self.read, self.folder, self.sampler, self.source = read, folder, sampler, read({})
        self.space = read_space(space, read)
        endless = (key for key, d in self.space.items() if isinstance(d, FloatDistribution) and d.step is None)
        if sampler == "bruteforce" and (key := next(endless, None)):
            raise ExperimentError(f"--sampler bruteforce tries all values, but {key} has infinitely many: add a step.")
        recipe = self.source.recipe
        if chooses_on_test(recipe.protocol.name):
            raise ExperimentError(f"Protocol {recipe.protocol.name} validates on the test part: take another one.")
        cells = make_plan([self.source], folds=None if folds in ((), ("all",)) else folds).cells
        self.folds = [cell.fold for cell in cells][: None if folds else 1]
        task = {"space": repr(self.space), "folds": self.folds, "seed": recipe.seed, "cell": cells[0].name}
        name = f"{recipe.name}-{run_hash(task, [], {})}"
        self.locks = folder / TRIALS / name
        try:
            if (folder / PLAN).exists():
                raise ExperimentError(f"{folder} holds an experiment: choose another --output.")
            if others := [p.parent.name for p in (folder / TRIALS).glob("*/lock") if p.parent != self.locks]:
                found = f"{folder} holds another search, {others[0]}, with another recipe, space, seed, fold or code"
                raise ExperimentError(f"{found}: choose another --output.")
            self.locks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExperimentError(f"{folder} cannot be written ({error.strerror}): choose another --output.") from error
        self.address = storage or f"sqlite:///{folder / 'study.db'}", name, pruner
        self.study = open_study(*self.address)
        self._held: dict[int, ExitStack] = {}  # locks of the trials that this process runs
        self._twins: dict[int, list[int]] = {}  # a trial -> those with its settings: they end as it does

    def run(self, options: WorkerOptions, *, trials: int) -> None:
        """Run trials until the study has this many, counting failed ones and those of other processes."""
        missing = trials - sum(trial.state.is_finished() for trial in self._trials())
        if missing > 0:
            with options.workers(missing) as workers:
                for ended in workers.run(run_task, self._tasks(workers, trials, *options.threads_each)):
                    for task, error in ended:
                        if error and workers.lost:  # the trial continues when the command is repeated
                            raise error
                        self._tell(task.watch.number, task.cells, error)

    def _tasks(self, workers: Workers, trials: int, threads: int, asked: bool) -> Iterator[Task]:
        while not workers.lost and (trial := self._next(trials)) is not None:
            try:
                plan = make_plan([self.read(drawn(trial))], folds=self.folds, seeds=(self.source.recipe.seed,))
            except ToolkitError as error:  # settings that do not go together
                self._tell(trial.number, (), error)
                continue
            if twin := self._twin(trial):
                self._twins.setdefault(twin.number, []).append(trial.number)
                continue
            (system,) = plan.systems.values()
            watch = Report(self.address, trial.number)
            yield Task(self.folder, plan.cells, system, threads, asked, test=False, watch=watch)

    def _next(self, trials: int) -> BaseTrial | None:
        """An unfinished trial that no process runs, else a new one; None if there are enough."""
        with locked(self.locks / "lock", wait=True):
            for trial in self._trials():
                if not trial.state.is_finished() and trial.number not in self._held and self._hold(trial.number):
                    if trial.params.keys() == self.space.keys():
                        return trial
                    self._tell(trial.number, (), ExperimentError("its process ended while it was drawn"))
            if EXHAUSTED in self.study.user_attrs or (count := len(self._trials())) >= trials:
                return None
            seed = self.source.recipe.seed + count  # one for all would draw the same values again after an interruption
            self.study.sampler = named("sampler", self.sampler)(seed=seed)
            trial = self.study.ask(self.space)
            self._hold(trial.number)
            return trial

    def _twin(self, trial: BaseTrial) -> FrozenTrial | None:
        """Another trial with the same settings, and so the same runs, that this process holds."""
        held = (t for t in self._trials() if t.number in self._held and t.number != trial.number)
        return next((t for t in held if t.params == trial.params), None)

    def _trials(self) -> list[FrozenTrial]:
        """All but those whose process ended while they were drawn: the next one gets the settings they would have.

        Nor those that a user put into the queue with Optuna: its `ask` takes them first.
        """
        there = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
        return [trial for trial in there if not trial.state.is_finished() or trial.params.keys() == self.space.keys()]

    def _hold(self, number: int) -> bool:
        """Take the lock of a trial, unless another process holds it or has told how the trial ended."""
        with ExitStack() as stack:
            held = stack.enter_context(locked(self.locks / f"{number}.lock", wait=False))
            if held and not self.study.get_trials(deepcopy=False)[number].state.is_finished():
                self._held[number] = stack.pop_all()
            return number in self._held

    def _tell(self, number: int, cells: Iterable[Cell], error: Exception | None) -> None:
        """Report to Optuna how a trial ended, and release its lock; so ends each trial that waited for its runs."""
        records, storage, there = Records(self.folder), self.study._storage, self.study.get_trials(deepcopy=False)
        trial = there[number]
        ended = [record for cell in cells if (record := records.read(cell))]
        failed = error_text(error) if error else next((record.error for record in ended if record.error), None)
        if failed is None:
            results = [read_results(records.run_folder(record) / RESULTS, trials=True) for record in ended]
            found, state = fmean(map(score, results)), None
            stamps = [*dict.fromkeys(stamp for result in results for stamp in result[STAMPS])]
            storage.set_trial_user_attr(trial._trial_id, STAMPS, stamps)
        else:
            found, state = None, TrialState.PRUNED if failed.startswith(PRUNED) else TrialState.FAIL
            for run in (run for run in map(records.run_folder, ended) if run and run.is_dir()):
                with locked(run / LOCK, wait=False) as free:  # another process may train it for its own trial
                    if free:
                        RunFolder(run).delete_weights()
        if not trial.intermediate_values and state != TrialState.FAIL:  # an earlier trial has trained its runs
            same = (t.intermediate_values for t in there if t.params == trial.params)
            for step, value in max(same, key=len).items():
                storage.set_trial_intermediate_value(trial._trial_id, step, value)
        try:
            self.study.tell(number, found, state)
        except RuntimeError:  # from Study.stop: the bruteforce sampler has tried everything
            self.study.set_user_attr(EXHAUSTED, True)
        what = f"WA + UA {found:.4f}" if failed is None else failed
        say(f"trial {number}  {what}  {', '.join(f'{key} {shown(value)}' for key, value in trial.params.items())}")
        self._held.pop(number).close()
        for twin in self._twins.pop(number, ()):
            self._tell(twin, cells, error)


def shown(value: Any) -> str:
    """A setting as text, for a line or a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
