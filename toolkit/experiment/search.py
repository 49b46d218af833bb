"""The trials of a search: proposed by Optuna, trained by workers, reported to Optuna; interrupted ones continue."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import OptunaError
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from toolkit.corpus.protocols import chooses_on_test
from toolkit.errors import ExperimentError, ToolkitError, one_line
from toolkit.experiment.command import WorkerOptions
from toolkit.experiment.engine import Workers
from toolkit.experiment.plan import PLAN, TRIALS, Cell, make_plan
from toolkit.experiment.progress import LOCK, Records
from toolkit.experiment.search_space import ReadRecipe, read_space, setting_text, settings_of
from toolkit.experiment.tasks import Task, Threads, error_text, run_task
from toolkit.files import locked
from toolkit.terminal import say
from toolkit.training.run_folder import RESULTS, RunFolder, read_results, run_hash, validation_score

if TYPE_CHECKING:
    from toolkit.training.loop.history import History

PRUNED = "pruned after epoch"
STAMPS = "stamps"  # of the runs of a trial, kept with it
EXHAUSTED = "exhausted"  # kept with a study: every setting of its space has been tried


def optuna_class(kind: str, name: str) -> Callable:
    """Optuna's class for a kind, "sampler" or "pruner", and a name in lower case, such as "tpe" or "median"."""
    return next(c for key, c in vars(getattr(optuna, f"{kind}s")).items() if key.lower() == name + kind)


class StudyAddress(NamedTuple):
    """What a process needs to open a study."""

    storage: str
    name: str
    pruner: str


@lru_cache(maxsize=1)
def open_study(address: StudyAddress) -> optuna.Study:
    """The study of a name in a storage, created if missing; ExperimentError if the storage cannot be used."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the user has chosen the sampler
    options = {"sampler": optuna.samplers.RandomSampler(), "pruner": optuna_class("pruner", address.pruner)()}
    options |= {"study_name": address.name, "direction": "maximize", "load_if_exists": True}
    try:
        return optuna.create_study(storage=address.storage, **options)
    except Exception as error:  # a database's driver may raise anything
        raise _unusable(address.storage, error) from error


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
class EpochReporter:
    """Gives Optuna the validation score of a trial after each epoch; raises ToolkitError if Optuna prunes the trial."""

    address: StudyAddress
    number: int

    def __call__(self, history: "History") -> None:
        """Report the last epoch, unless that was done before an interruption."""
        study, row, step = open_study(self.address), history.rows[-1], len(history.rows) - 1
        stored = study.get_trials(deepcopy=False)[self.number]
        trial = Trial(study, stored._trial_id)
        if step not in stored.intermediate_values:
            trial.report(validation_score(row), step)
        if trial.should_prune():
            raise ToolkitError(f"{PRUNED} {row['epoch']}")


class Search:
    """A search in its folder; several processes may run it at a time.

    Args: folds: names, ("all",), or none: the first; sampler, pruner: see `optuna_class`; storage: None: a file
        in the folder.
    Raises: ExperimentError if the folder or the storage cannot be used, or the protocol validates on the test part.
    """

    def __init__(
        self,
        read: ReadRecipe,
        space: Path,
        folder: Path,
        *,
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
        self.address = StudyAddress(storage or f"sqlite:///{folder / 'study.db'}", name, pruner)
        self.study = open_study(self.address)
        self._held: dict[int, ExitStack] = {}  # locks of the trials that this process runs
        self._twins: dict[int, list[int]] = {}  # a trial -> those with its settings: they end as it does

    def run(self, options: WorkerOptions, *, trials: int) -> None:
        """Run trials until the study has this many, counting failed ones and those of other processes."""
        missing = trials - sum(trial.state.is_finished() for trial in self._trials())
        if missing > 0:
            with options.workers(missing) as workers:
                for ended in workers.run(run_task, self._tasks(workers, trials, options.threads_each)):
                    for task, error in ended:
                        if error and workers.lost:  # the trial continues when the command is repeated
                            raise error
                        self._tell(task.watch.number, task.cells, error)

    def _tasks(self, workers: Workers, trials: int, threads: Threads) -> Iterator[Task]:
        while not workers.lost and (trial := self._next(trials)) is not None:
            try:
                plan = make_plan([self.read(settings_of(trial))], folds=self.folds, seeds=(self.source.recipe.seed,))
            except ToolkitError as error:  # settings that do not go together
                self._tell(trial.number, (), error)
                continue
            if twin := self._twin(trial):
                self._twins.setdefault(twin.number, []).append(trial.number)
                continue
            (system,) = plan.systems.values()
            watch = EpochReporter(self.address, trial.number)
            yield Task(self.folder, plan.cells, system, threads, test=False, watch=watch)

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
            self.study.sampler = optuna_class("sampler", self.sampler)(seed=seed)
            trial = self.study.ask(self.space)
            self._hold(trial.number)
            return trial

    def _twin(self, trial: BaseTrial) -> FrozenTrial | None:
        """Another trial with the same settings, and so the same runs, that this process holds."""
        held = (t for t in self._trials() if t.number in self._held and t.number != trial.number)
        return next((t for t in held if t.params == trial.params), None)

    def _trials(self) -> list[FrozenTrial]:
        """The trials that count.

        Not those whose process ended while they were drawn: the next trial gets their settings. Nor those that a user
        queued with Optuna: its `ask` takes them first.
        """
        begun = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
        return [trial for trial in begun if not trial.state.is_finished() or trial.params.keys() == self.space.keys()]

    def _hold(self, number: int) -> bool:
        """Take the lock of a trial, unless another process holds it or has told how the trial ended."""
        with ExitStack() as stack:
            held = stack.enter_context(locked(self.locks / f"{number}.lock", wait=False))
            if held and not self.study.get_trials(deepcopy=False)[number].state.is_finished():
                self._held[number] = stack.pop_all()
            return number in self._held

    def _tell(self, number: int, cells: Iterable[Cell], error: Exception | None) -> None:
        """Report to Optuna how a trial ended, and release its lock; so ends each trial that waited for its runs."""
        records, trials = Records(self.folder), self.study.get_trials(deepcopy=False)
        trial = trials[number]
        ended = [record for cell in cells if (record := records.read(cell))]
        failed = error_text(error) if error else next((record.error for record in ended if record.error), None)
        if failed is None:
            results = [read_results(records.run_folder(record) / RESULTS, trials=True) for record in ended]
            stamps = [*dict.fromkeys(stamp for result in results for stamp in result[STAMPS])]
            self.study._storage.set_trial_user_attr(trial._trial_id, STAMPS, stamps)
            value, state = fmean(map(validation_score, results)), None
        else:
            _delete_weights(map(records.run_folder, ended))
            value, state = None, TrialState.PRUNED if failed.startswith(PRUNED) else TrialState.FAIL
        if not trial.intermediate_values and state != TrialState.FAIL:  # an earlier trial has trained its runs
            self._copy_history(trial, trials)
        try:
            self.study.tell(number, value, state)
        except RuntimeError:  # from Study.stop: the bruteforce sampler has tried everything
            self.study.set_user_attr(EXHAUSTED, True)
        settings = ", ".join(f"{key} {setting_text(setting)}" for key, setting in trial.params.items())
        say(f"trial {number}  {f'WA + UA {value:.4f}' if failed is None else failed}  {settings}")
        self._held.pop(number).close()
        for twin in self._twins.pop(number, ()):
            self._tell(twin, cells, error)

    def _copy_history(self, trial: FrozenTrial, trials: Iterable[FrozenTrial]) -> None:
        """Give a trial the scores that another one with the same settings has reported."""
        same = (other.intermediate_values for other in trials if other.params == trial.params)
        for step, value in max(same, key=len).items():
            self.study._storage.set_trial_intermediate_value(trial._trial_id, step, value)


def _delete_weights(runs: Iterable[Path | None]) -> None:
    """Delete the weights in folders of runs, except in those that another process trains for a trial of its own."""
    for run in runs:
        if run and run.is_dir():
            with locked(run / LOCK, wait=False) as free:
                if free:
                    RunFolder(run).delete_weights()
