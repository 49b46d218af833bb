"""A run: trains and tests one system on one fold with one seed, and fills its folder."""

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from toolkit.corpus.folds import refuse_shared_audio
from toolkit.corpus.protocols import selects_on, stopping_rules
from toolkit.data.augmentation import Augmentations, build_augmentations
from toolkit.data.batches import seed_all
from toolkit.data.cache.features import FeatureCache
from toolkit.data.front_ends import code_of_levels
from toolkit.data.loaders import in_order
from toolkit.distributed import from_first, gathered, rank, share_state
from toolkit.errors import AudioError, BundleError, CheckpointError, CorpusError, ToolkitError
from toolkit.files import read_json
from toolkit.hardware import keep_freed_blocks
from toolkit.model.hub import local_bundle
from toolkit.model.seen import UNSEEN, Seen
from toolkit.plugins.plugin import BUILT_BY, plugin_failures
from toolkit.plugins.registry import used_versions
from toolkit.recipe.loading import load_recipe
from toolkit.recipe.training import TrainingSpec
from toolkit.training.epoch_log import EpochLog
from toolkit.training.fitting import fit_augmentations, fit_parts
from toolkit.training.init_from import build_to_train, seen_before, start_from
from toolkit.training.loop.checkpoints import Checkpoints, load_state
from toolkit.training.loop.history import History
from toolkit.training.loop.objective import Objective, build_objective, refuse_untrained
from toolkit.training.loop.optimizers import parameter_groups
from toolkit.training.predictions import write_predictions, write_results
from toolkit.training.preparation import Preparation
from toolkit.training.run_data import RunData, choose_device
from toolkit.training.run_folder import CHECKPOINTS, HISTORY, ORIGIN, PROBE, RECIPE, RESULTS, RunFolder, run_path

if TYPE_CHECKING:
    from toolkit.training.loop.brain import SystemBrain


class Run:
    """One system on one fold with one seed; if several ranks train it, rank 0 alone prints and writes the folder."""

    def __init__(
        self,
        preparation: Preparation,
        *,
        say: Callable[[str], None] = print,  # prints a line
        progress: bool = False,  # whether to draw bars on standard error
        trace: Path | None = None,  # the file for a profile of some steps; a relative path is in the run's folder
        watch: Callable[[History], None] | None = None,  # called after each epoch
    ):
        self.preparation, self.recipe = preparation, preparation.source.recipe
        self.protocol, self.trace, self.watch = preparation.fold.protocol, trace, watch
        self.is_tested = "test" in preparation.evaluated
        self.say, self.progress = (say, progress) if rank() == 0 else (lambda line: None, False)
        self.training = replace(self.recipe.training, device=choose_device(self.recipe))
        self.versions = used_versions(self.recipe)
        seed_all(self.recipe.seed, "weights")
        self.system = build_to_train(self.recipe, preparation.targets)
        # whether the fusion or a head is fitted on the unaugmented training part
        self._fits = any(part.fits for part in (self.system.fusion, *self.system.heads.values()))
        self.augmentations = build_augmentations(self.recipe)
        self.seen = UNSEEN  # by the bundle's system that the training starts from
        self.started: str | None = None  # what was taken from the bundle, in one line
        if self.training.init_from is not None:
            self._start_from_bundle()
        refuse_untrained(self.recipe, self.system)
        self.folder = RunFolder(run_path(preparation, self.versions, self.system.pretrained), writes=rank() == 0)
        self.log = EpochLog(self.folder, self.recipe, self.say)

    def rehearse(self) -> list[str]:
        """Build what a training builds, and run it on two segments; returns stamps about the bundle it starts from."""
        counts = {name: [1] * len(target.classes) for name, target in self.preparation.targets.items()}
        objective, system = build_objective(self.recipe, self.system, counts), self.system.eval()
        parameter_groups(system, objective, self.training)
        with suppress(AudioError, CorpusError), torch.no_grad(), plugin_failures():  # the check of files reports them
            self.data.training_batches()
            self.data.loader(self.data.evaluation)
            batch = next(iter(in_order(self.data.train, sampler=range(min(2, len(self.data.train))))))
            features = system.features(batch.inputs)
            parts = (*system.levels.values(), system.fusion, *system.heads.values())
            if not any(part.fits and BUILT_BY in vars(part) for part in parts):  # which may need their `fit` first
                objective(system(features, batch.covariates), batch.targets)
        return seen_before(self.seen, self.preparation.part("test"))

    def train(self, *, wait: bool = False) -> Path:
        """Train, test and write the folder, or the rest of it; returns the path of results.json.

        If another process trains this run: `wait` for it, else raise CheckpointError.
        """
        keep_freed_blocks()
        if len(names := sorted({*gathered(self.folder.path.name)})) > 1:
            problem = f"The processes would train different runs, {' and '.join(names)}"
            raise ToolkitError(f"{problem}: all machines need the same recipe, data and code.")
        results = self.folder.path / RESULTS  # written last
        finished = partial(os.path.isfile, results)
        with nullcontext() if from_first(finished) else self.folder.locked(wait=wait):
            if from_first(finished):  # perhaps by a process that held the lock until now
                self.say(f"This run is finished; nothing is trained: {self.folder.path}")
            elif not os.path.isdir(self.folder.path):
                raise ToolkitError(f"Rank {rank()} does not see {self.folder.path}: all machines have to share it.")
            else:
                threads = torch.get_num_threads()
                try:
                    self._train_and_test()
                finally:
                    torch.set_num_threads(threads)  # a small system takes one, and a continued run as many as before
        return results

    def _start_from_bundle(self) -> None:
        """Load a bundle's weights; if it is gone, but this run has a checkpoint, those of the checkpoint."""
        bundle = self.training.init_from
        try:
            targets = self.preparation.targets
            self.started, self.seen = start_from(local_bundle(bundle), self.system, self.recipe, targets)
        except BundleError:
            if os.path.lexists(os.path.expanduser(bundle)) or not self._recall_bundle():
                raise

    def _recall_bundle(self) -> bool:
        """Take what an earlier start of this run kept of its bundle and its training; returns whether there is one."""
        for file in Path(self.recipe.output_folder).glob(f"*/{ORIGIN}"):
            with suppress(ToolkitError, KeyError, OSError, TypeError, ValueError):  # a damaged file
                origin = read_json(file, CheckpointError, "delete it")
                for name, level in self.system.levels.items():
                    level.pretrained, level.random_backbone = origin["levels"].get(name, (None, False))
                self.seen = Seen(**origin["seen"])
                bundle = load_recipe(file.with_name(RECIPE)).training.init_from
                path = run_path(self.preparation, self.versions, self.system.pretrained)
                if file.parent == path and bundle == self.training.init_from:
                    for name in (CHECKPOINTS, PROBE):
                        if last := Checkpoints(file.with_name(name)).last():
                            load_state(self.system, last / "system.ckpt")  # what is frozen is the same in all
                            self.say(f"{bundle} is gone; the run that started from it goes on: {file.parent}")
                            return True
        return False

    @cached_property
    def data(self) -> RunData:
        """Its segments and their loaders."""
        return RunData(self.preparation, fixed_samples=self.system.fixed_samples, device=self.training.device)

    def _train_and_test(self) -> None:
        objective = build_objective(self.recipe, self.system, self.data.class_counts())
        folders = self.folder.trained_with(self.recipe.name, self.protocol)
        trained = from_first(lambda: next((folder for folder in folders if os.path.isfile(folder / HISTORY)), None))
        if trained not in (None, self.folder.path):
            self.folder.delete_weights()  # of an earlier start, which did not end
        warnings = [problem.message for problem in self.preparation.warnings]
        if trained is None and self.recipe.shared_audio == "refuse":
            parts = ("train", *self.preparation.evaluated)
            warnings += refuse_shared_audio(self.preparation.fold, self.preparation.utterances, parts)
        self._write_inputs(warnings)
        probe = self._probe(objective) if trained is None and self.training.probe.epochs else None
        # parts are fitted on unaugmented features: the cache keeps those of their levels
        fitted = {level for step in self.augmentations.fitted for level in step.levels}
        fitted |= {n for n, level in self.system.levels.items() if level.fits or self._fits}
        augmented = set(self.augmentations.changed_levels) - fitted
        with self.log, closing(self._feature_cache(augmented)) as cache:
            path = trained or self.folder.path
            rules = [rule for rule in stopping_rules(self.protocol) if rule in self.preparation.evaluated]
            brain = self._brain(self.training, objective, path / CHECKPOINTS, rules, self.log)
            brain.history.probe = probe
            if self.watch is not None:
                brain.on_epoch = lambda history: (self.log(history), self.watch(history))
            self._fit(brain, cache, path / HISTORY, self.augmentations)
            if trained is not None:
                self.say(f"Trained already; only the test is left: {trained}")
                self.log(brain.history)
            metrics = self._test(brain, cache) if self.is_tested else {}
        if not self.is_tested:
            self.folder.delete_weights()
        write_results(self.folder, self.preparation, brain, metrics, self.versions)

    def _test(self, brain: "SystemBrain", cache: FeatureCache) -> dict[str, Any]:
        """Predict the test part, and the validation part if it is another, with the best epoch; part -> metrics."""
        fold, metrics = self.preparation.fold, {}
        for part in ("test",) if set(fold.valid) == set(fold.test) else ("valid", "test"):
            loader = self.data.loader(self.data.segments(self.preparation.part(part)), cache=cache)
            brain.evaluate(loader, max_key=f"best_{selects_on(self.protocol)}")
            metrics[part] = write_predictions(self.folder, self.preparation, part, brain)
        return metrics

    def _feature_cache(self, augmented: Collection[str] = ()) -> FeatureCache:
        return FeatureCache(
            self.system,
            code_of_levels(self.recipe),
            [self.data.train, self.data.evaluation],
            limit_mb=self.training.feature_cache_mb,
            precision=self.training.feature_precision,
            device=self.training.device,
            augmented=augmented,
            say=self.say,
            progress=self.progress,
        )

    def _probe(self, objective: Objective) -> dict[str, Any]:
        """Train with pre-trained weights frozen, without augmentation; the system keeps the best epoch's weights."""
        self.system.set_frozen(True)
        settings, rule, path = self.training.probe_settings, stopping_rules(self.protocol)[0], self.folder.path / PROBE
        nothing = Augmentations((), seed=self.recipe.seed, segment_samples=self.recipe.audio.segment_samples)
        with EpochLog(self.folder, self.recipe, self.say, PROBE) as log, closing(self._feature_cache()) as cache:
            brain = self._brain(settings, objective, path, [rule], log)
            self._fit(brain, cache, path.with_suffix(".json"), nothing)
            brain.on_evaluate_start(max_key=f"best_{rule}")
        self.system.set_frozen(False)
        best = brain.history.selection(rule).epoch
        self.say(f"The probe ends; training goes on from its epoch {best}.")
        return {"epoch": best, "epochs": len(brain.history.rows), "seconds": brain.history.seconds}

    def _fit(self, brain: "SystemBrain", cache: FeatureCache, history: Path, augmentations: Augmentations) -> None:
        """Train to the end; keep the history, in a file, and the checkpoint of the best epoch by each rule."""
        if from_first(lambda: os.path.isfile(history)):
            brain.history.load(history)  # this phase has ended
            torch.set_num_threads(brain.history.threads or torch.get_num_threads())
            return
        data = self.data
        begins = brain.history.probe is None and brain.checkpointer.last() is None
        cache.fill([data.train, data.evaluation] if self._fits or not augmentations.waves else [data.evaluation])
        fit_augmentations(augmentations, self.recipe, data.train, cache)
        if begins:
            if rank() == 0:
                brain.history.seconds_before = fit_parts(self.recipe, data.train, cache, self.augmentations)
            share_state(self.system)
        if augmentations.waves and self.training.epochs:
            self.say(augmentations.note)
        profiling = nullcontext()
        if self.trace is not None and rank() == 0 and history.name == HISTORY:  # not of a probe
            from toolkit.training.loop.profiling import profiled_steps

            profiling = profiled_steps(brain, self.folder.path / self.trace, self.say)
        train = data.loader(data.train, brain.train_sampler, cache=cache, augmentations=augmentations)
        with profiling:
            brain.fit(brain.history.epochs(), train, data.loader(data.evaluation, cache=cache))
        brain.checkpointer.keep_best()
        self.folder.write_json(history.name, brain.history.state_dict())

    def _brain(
        self, training: TrainingSpec, objective: Objective, path: Path, rules: list[str], log: EpochLog
    ) -> "SystemBrain":
        from toolkit.training.loop.brain import SystemBrain  # SpeechBrain takes a second

        return SystemBrain(
            self.system,
            objective,
            training=training,
            sampler=self.data.training_batches(),
            rules=rules,
            folder=path,
            targets={name: self.preparation.targets[spec.target] for name, spec in self.recipe.model.heads.items()},
            metrics=self.data.metrics,
            on_epoch=log,
            say=self.say,
            progress=self.progress,
        )

    def _write_inputs(self, warnings: Sequence[str]) -> None:
        random = self.system.random_backbones
        stamps = [f"random weights instead of pre-trained ones: {', '.join(random)}"] if random else []
        stamps += seen_before(self.seen, self.preparation.part("test")) if self.is_tested else []
        self.folder.stamps = (*self.preparation.stamps, *stamps)
        for stamp in self.folder.stamps:
            self.say(f"NOTE: {stamp}")
        if self.training.average.name != "none":
            self.say(f"Validation and test use averaged weights: {self.training.average.name}.")
        for message in warnings:
            self.say(f"WARNING: {message}")
        if self.started is not None:
            self.say(self.started)
            levels = self.system.levels.items()
            origin = {"levels": {name: [v.pretrained, v.random_backbone] for name, v in levels}}
            self.folder.write_json(ORIGIN, origin | {"seen": vars(self.seen)})
        self.folder.write_inputs(self.recipe, self.preparation.utterances)
