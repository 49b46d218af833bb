"""A run: one system trained and tested on one fold with one seed, its folder filled."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from toolkit.brain import SystemBrain
from toolkit.checkpoints import AtomicCheckpointer
from toolkit.corpus import write_manifest
from toolkit.epoch_log import EpochLog
from toolkit.errors import RecipeError
from toolkit.history import History
from toolkit.identity import manifest_rows, run_hash, used_versions
from toolkit.model import System, build_system
from toolkit.objective import Objective, build_objective
from toolkit.preparation import Preparation
from toolkit.protocols import selects_on, stopping_rules
from toolkit.recipe import Recipe, dump_recipe
from toolkit.results import write_results
from toolkit.run_data import RunData
from toolkit.run_folder import CHECKPOINTS, MANIFEST, RECIPE, RunFolder
from toolkit.seeding import seed_all


class Run:
    """One system, one fold, one seed.

    Args:
        preparation: recipe, data and fold.
        say: prints a line for the reader.
        progress: whether to draw progress bars on standard error.
    """

    def __init__(self, preparation: Preparation, *, say: Callable[[str], None] = print, progress: bool = False):
        self.preparation, self.recipe = preparation, preparation.source.recipe
        self.say, self.progress = say, progress
        self.training = replace(self.recipe.training, device=choose_device(self.recipe))
        self.versions = used_versions(self.recipe)
        name = RunFolder.name(
            system=self.recipe.name,
            protocol=preparation.fold.protocol,
            fold=preparation.fold.name,
            seed=self.recipe.seed,
            identity=run_hash(self.recipe.as_dict(), manifest_rows(preparation.utterances), self.versions),
        )
        self.folder = RunFolder(Path(self.recipe.output_folder) / name)

    def train(self) -> Path:
        """Train, test and write the folder; continue an interrupted run; leave a finished one alone.

        Returns: the path of results.json.
        """
        if self.folder.finished:
            self.say(f"This run is finished, nothing is trained: {self.folder.path}")
            return self.folder.results
        with self.folder.locked():
            self._train()
        return self.folder.results

    def _train(self) -> None:
        seed_all(self.recipe.seed, "weights")
        system = build_system(self.recipe, self.preparation.classes)
        data = RunData(self.preparation, fixed_samples=system.fixed_samples)
        objective = build_objective(self.recipe, system, data.class_counts())
        self._stamp(system)
        self._write_inputs()
        checkpointer = AtomicCheckpointer(self.folder.path / CHECKPOINTS)
        if checkpointer.find_checkpoint() is None:
            self._fit_levels(system, data)
        brain = self._brain(system, objective, data, checkpointer)
        brain.fit(brain.epochs, data.loader(data.train, brain.train_sampler), data.loader(data.evaluation))
        best = f"best_{selects_on(self.preparation.fold.protocol)}"
        test = data.segments(self.preparation.part("test"))
        brain.evaluate(data.loader(test), max_key=best)
        write_results(self.folder, self.preparation, brain, versions=self.versions)
        checkpointer.keep_only(checkpointer.find_checkpoint(max_key=best))

    def _fit_levels(self, system: System, data: RunData) -> None:
        """Let the levels that have to learn a scaling from the training part do so, before the first step."""
        loader, console = data.loader(data.train), Console(stderr=True)
        for name, level in system.levels.items():
            if level.fits:
                batches = track(
                    loader, f"scaling of {name}", console=console, transient=True, disable=not self.progress
                )
                level.fit(level.features(batch.wave) for batch in batches)

    def _brain(
        self, system: System, objective: Objective, data: RunData, checkpointer: AtomicCheckpointer
    ) -> SystemBrain:
        fold = self.preparation.fold
        return SystemBrain(
            system,
            objective,
            training=self.training,
            sampler=data.training_batches(),
            history=History(
                stopping_rules(fold.protocol),
                patience=self.training.patience,
                min_epochs=self.training.min_epochs,
            ),
            checkpointer=checkpointer,
            seed=self.recipe.seed,
            evaluation_parts={part: data.positions(part) for part in ("valid", "test")},
            references=[self.preparation.class_index(u, "label") for u in data.evaluated],
            predict_from=self.recipe.predict_from,
            on_epoch=EpochLog(self.folder, self.say),
            on_resume=lambda epoch, step: self.say(f"Resumes in epoch {epoch} after step {step}: {self.folder.path}"),
            progress=self.progress,
        )

    def _stamp(self, system: System) -> None:
        random = system.random_backbones
        said = [f"random weights instead of pre-trained ones: {', '.join(random)}"] if random else []
        self.folder.stamps = (*self.preparation.stamps, *said)
        for stamp in self.folder.stamps:
            self.say(f"NOTE: {stamp}")

    def _write_inputs(self) -> None:
        stamp = self.folder.stamp
        self.folder.write(RECIPE, (f"# NOTE: {stamp}\n" if stamp else "") + dump_recipe(self.recipe))
        note = {"note": stamp} if stamp else {}
        utterances = [replace(u, extra={**u.extra, **note}) for u in self.preparation.utterances]
        write_manifest(self.folder.path / MANIFEST, utterances)


def choose_device(recipe: Recipe) -> str:
    """The recipe's device, else the GPU if there is one.

    Raises:
        RecipeError: if the device is not there, or cannot compute in the recipe's precision.
    """
    device, precision = recipe.training.device, recipe.training.precision
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if chosen.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError(f"training.device is {chosen!r}, and torch finds no GPU here: use --device cpu.")
    if chosen == "cpu" and precision == "fp16":
        raise RecipeError("training.precision is 'fp16', which needs a GPU: use fp32 or bf16 on the CPU.")
    return chosen
