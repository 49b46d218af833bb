"""The data of one run: segment sets with targets and covariates, and their loaders; the device that takes them."""

import os
from collections import Counter
from collections.abc import Sequence

import torch
from torch.utils.data import BatchSampler, SequentialSampler

from toolkit.corpus import Utterance
from toolkit.corpus.targets import LABEL, shuffled_value
from toolkit.data.augmentation import Augmentations
from toolkit.data.batches import REACH, EpochBatches, LengthBatches
from toolkit.data.cache.features import FeatureCache
from toolkit.data.loaders import SegmentLoader
from toolkit.data.segments import SegmentSet
from toolkit.distributed import rank, ranks
from toolkit.errors import RecipeError
from toolkit.hardware import available_device
from toolkit.recipe.schema import Recipe
from toolkit.statistics.metrics import UtteranceMeans
from toolkit.training.preparation import Preparation


class RunData:
    """Makes segment sets and loaders from a prepared fold, for a device and a system's `fixed_samples`."""

    def __init__(self, preparation: Preparation, *, fixed_samples: int | None, device: str = "cpu"):
        self.preparation, self.fixed_samples, self.device = preparation, fixed_samples, device
        self.recipe = preparation.source.recipe
        evaluated = {i for part in preparation.evaluated for i in getattr(preparation.fold, part)}
        self.train = self.segments(preparation.part("train"))
        self.evaluation = self.segments([u for u in preparation.utterances if u.id in evaluated])

    def segments(self, utterances: Sequence[Utterance]) -> SegmentSet:
        """The segments of some utterances of the corpus."""
        audio = self.recipe.audio
        return SegmentSet(
            utterances,
            {name: target.indices(utterances) for name, target in self.preparation.targets.items()},
            self._covariates(utterances),
            sample_rate=audio.sample_rate,
            segment_samples=audio.segment_samples,
            tail=audio.tail,
            fixed_samples=self.fixed_samples,
        )

    def metrics(self, scores: UtteranceMeans) -> dict[str, float]:
        """The metrics of the evaluated parts, from the heads' scores: column of epochs.csv -> value."""
        target = self.preparation.targets[LABEL]
        answers = target.answers(scores[self.recipe.predict_from])
        answer_of = dict(zip([u.id for u in self.evaluation.utterances], answers, strict=True))
        columns = {}
        for part in self.preparation.evaluated:
            utterances = self.preparation.part(part)
            metrics = target.metrics([u.label for u in utterances], [answer_of[u.id] for u in utterances])
            columns |= {f"{part}_{metric}": value for metric, value in metrics.items()}
        return columns

    def training_batches(self) -> EpochBatches:
        """The batch sampler of the training part: this rank's rows of each batch."""
        training = self.recipe.training
        targets = {name: self.train.segment_targets(name) for name in self.train.targets}
        return EpochBatches(
            targets[LABEL],
            batch_size=training.batch_size,
            seed=self.recipe.seed,
            sampler=training.sampler,
            by_length=self._by_length(self.train),
            targets=targets,
            rank=rank(),
            ranks=ranks(),
        )

    def loader(
        self,
        segments: SegmentSet,
        batches: EpochBatches | None = None,
        *,
        cache: FeatureCache | None = None,
        augmentations: Augmentations | None = None,
    ) -> SegmentLoader:
        """A loader; without `batches`, each of n ranks gets every n-th batch, in order or from short to long."""
        training = self.recipe.training
        if batches is None:
            by_length = self._by_length(segments, reach=1.0)
            in_order = BatchSampler(SequentialSampler(segments), training.batch_size, drop_last=False)
            batches = list(by_length.in_order() if by_length else in_order)[rank() :: ranks()]
        return SegmentLoader(
            segments,
            cache,
            augmentations=augmentations,
            batch_sampler=batches,
            num_workers=training.workers,
            persistent_workers=training.workers > 0,
            pin_memory=torch.device(self.device).type == "cuda",
        )

    def _by_length(self, segments: SegmentSet, *, reach: float = REACH) -> LengthBatches | None:
        """Batches of at most `training.batch_seconds`; None if the recipe does not set it."""
        training, rate = self.recipe.training, self.recipe.audio.sample_rate
        if training.batch_seconds is None:
            return None
        widths = segments.widths()
        longest = max(range(len(widths)), key=widths.__getitem__)
        if widths[longest] > training.batch_seconds * rate:
            path = segments.utterances[segments.segments[longest].utterance].path
            problem = f"a segment of {path} takes {widths[longest] / rate:.2f} s"
            remedy = "give at least that much, or shorter audio.segment_seconds"
            raise RecipeError(f"training.batch_seconds is {training.batch_seconds:g}, and {problem}: {remedy}.")
        return LengthBatches(widths, limit=training.batch_seconds * rate, most=training.batch_size, reach=reach)

    def class_counts(self) -> dict[str, list[int]]:
        """Target -> training segments by class."""
        targets = self.preparation.targets.items()
        return {name: target.counts(self.train.segment_targets(name)) for name, target in targets}

    def _covariates(self, utterances: Sequence[Utterance]) -> dict[str, list[int]]:
        """Covariates that are inputs of the system, not predicted: name -> class index of each utterance."""
        indices = {}
        given = {name: spec.source for name, spec in self.recipe.model.covariates.items() if spec.source != "predicted"}
        for name, source in given.items():
            values = [u.value(name) for u in utterances]
            if source == "shuffled":
                counts = Counter(value for u in self.preparation.utterances if (value := u.value(name)) is not None)
                values = [shuffled_value(u.id, self.recipe.seed, counts, name) for u in utterances]
            target = self.preparation.targets[name]
            indices[name] = [target.known_index(value, u.id) for u, value in zip(utterances, values, strict=True)]
        return indices


def choose_device(recipe: Recipe) -> str:
    """The recipe's device, else a GPU if there is one. Raises: ToolkitError if it is missing or lacks the precision."""
    name = recipe.training.device
    if ranks() > 1 and (name or "").startswith("cuda:"):
        raise RecipeError(f"training.device is {name!r}: if several processes train, each has its own: give cuda.")
    device = available_device(name, setting="training.device")
    if device == "cuda" and ranks() > 1:
        device = available_device(f"cuda:{os.environ['LOCAL_RANK']}", setting="the rank's device")
    if device == "cpu" and recipe.training.precision == "fp16":
        raise RecipeError("training.precision is 'fp16', which needs a GPU: use fp32 or bf16 on the CPU.")
    return device
