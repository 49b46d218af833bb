"""A system: levels -> fusion -> heads, built from a checked recipe."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from toolkit.contracts import Extractor, Fusion, Head, LevelShape, Mix, ModelOutput, Seq
from toolkit.corpus.targets import Target
from toolkit.errors import RecipeError
from toolkit.model.allowance import Allowance
from toolkit.model.boundary import checked, checked_embeddings, declared
from toolkit.model.pooling import statistics_pooling
from toolkit.plugins.registry import build
from toolkit.recipe.schema import Composition, names_in


def one_hot(indices: Tensor, classes: int) -> Tensor:
    """A given covariate, indices [batch] from a `Target`, as probabilities [batch, classes]; zeros where UNKNOWN."""
    return (indices[:, None] == torch.arange(classes, device=indices.device)).float()


class PredictedCovariate(nn.Module):
    """A covariate predicted before the fusion, by a linear head on mean and deviation of a level's frames.

    The probabilities are detached, in training too, so that the fusion cannot distort the prediction and trains on the
    input that it will get later. The logits carry the gradient of the covariate's own loss.
    """

    def __init__(self, level: str, *, channels: int, classes: int):
        super().__init__()
        self.level = level
        self.head = nn.Sequential(nn.Identity(), nn.Linear(2 * channels, classes))  # head.1 in bundles

    def forward(self, level: Seq) -> tuple[Tensor, Tensor]:
        """Probabilities, detached, and logits, each [batch, classes], from frames [batch, frames, channels]."""
        logits = self.head(statistics_pooling(level))
        return logits.detach().float().softmax(dim=1), logits


class System(nn.Module):
    """Levels, covariates, fusion and heads as one module."""

    def __init__(
        self,
        levels: Mapping[str, Extractor],
        fusion: Fusion,
        heads: Mapping[str, Head],
        *,
        classes: Mapping[str, int],  # head -> number of classes
        head_inputs: Mapping[str, Sequence[str]],  # head -> the embeddings that it reads side by side
        given_covariates: Mapping[str, int],  # covariate -> number of classes, if its values come with the batch
        predicted_covariates: Mapping[str, PredictedCovariate],
    ):
        super().__init__()
        self.levels = nn.ModuleDict(levels)
        self.covariates, self.given_covariates = nn.ModuleDict(predicted_covariates), dict(given_covariates)
        self.fusion = fusion
        self.heads = nn.ModuleDict(heads)
        self.classes, self.head_inputs = dict(classes), dict(head_inputs)

    @property
    def fixed_samples(self) -> int | None:
        """The only segment length in samples that all parts accept, None for any; RecipeError if they do not agree."""
        lengths = {part.fixed_samples for part in (*self.levels.values(), self.fusion)} - {None}
        if len(lengths) > 1:
            raise RecipeError(f"Parts of the model take segments of {sorted(lengths)} samples only: they must agree.")
        return next(iter(lengths), None)

    @property
    def pretrained(self) -> dict[str, str | None]:
        """Level -> which pre-trained weights it started from, or None."""
        return {name: level.pretrained for name, level in self.levels.items()}

    @property
    def random_backbones(self) -> list[str]:
        """Levels whose backbone is usually pre-trained, but has random weights here."""
        return [name for name, level in self.levels.items() if level.random_backbone]

    def merged_names(self) -> dict[str, str]:
        """The names in the state of the system once its levels are merged, as in a bundle -> the names here."""
        names = {
            f"levels.{level}.{merged}": f"levels.{level}.{name}"
            for level, extractor in self.levels.items()
            for name in extractor.state_dict()
            if (merged := extractor.merged_name(name)) is not None
        }
        return names | {name: name for name in self.state_dict() if not name.startswith("levels.")}

    def set_frozen(self, frozen: bool) -> bool:
        """Freeze all pre-trained weights, or only those that the recipe freezes; return whether anything changed."""
        before = [p.requires_grad for p in self.parameters()]
        for level in self.levels.values():
            level.set_frozen(frozen)
        return before != [p.requires_grad for p in self.parameters()]

    def forward(
        self, inputs: Seq | Mapping[str, Seq], covariates: Mapping[str, Tensor], mix: Mix | None = None
    ) -> ModelOutput:
        """Run a batch of segments.

        Args: inputs: the waveform, [batch, samples], or its features, as `features` returns them; covariates: those
            that are given, name -> class indices [batch]; mix: how rows of the inputs are mixed.
        Returns: embeddings and logits, each [batch, size].
        """
        features = self.features(inputs) if isinstance(inputs, Seq) else inputs
        embeddings, covariate_logits = self.embed(features, covariates, mix)
        logits = {}
        for name, head in self.heads.items():
            read = self.read_by(name, embeddings)
            logits[name] = checked(head, "forward", head(read), (read.shape[0], self.classes[name]))
        return ModelOutput(embeddings, logits, covariate_logits)

    def features(self, wave: Seq, levels: Collection[str] | None = None) -> dict[str, Seq]:
        """The front ends' features of a waveform, by default for all levels: level -> [batch, time, channels].

        Always in full precision, so that they do not depend on the precision of training.
        """
        with torch.no_grad(), torch.autocast(wave.values.device.type, enabled=False):
            made = {name: self.levels[name].features(wave) for name in levels or self.levels}
        for name, seq in made.items():
            checked(self.levels[name], "features", seq, (wave.lengths.shape[0], None, None))
        return made

    def read_by(self, head: str, embeddings: Mapping[str, Tensor]) -> Tensor:
        """What a head reads: [batch, size]."""
        return torch.cat([embeddings[name] for name in self.head_inputs[head]], dim=1)

    def frames(self, features: Mapping[str, Seq]) -> dict[str, Seq]:
        """Encode the levels' features: level -> [batch, frames, channels]."""
        frames = {}
        for name, level in self.levels.items():
            shape = (features[name].lengths.shape[0], None, level.channels)
            frames[name] = checked(level, "encode", level.encode(features[name]), shape)
        return frames

    def embed(
        self, features: Mapping[str, Seq], covariates: Mapping[str, Tensor], mix: Mix | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """From the levels' features to the embeddings and the logits of predicted covariates, before any head."""
        frames = self.frames(features)
        known = {name: one_hot(covariates[name], classes) for name, classes in self.given_covariates.items()}
        known = known if mix is None else {name: mix.of(values) for name, values in known.items()}
        covariate_logits = {}
        for name, predict in self.covariates.items():
            known[name], covariate_logits[name] = predict(frames[predict.level])
        rows = next(iter(frames.values())).lengths.shape[0]
        return checked_embeddings(self.fusion, self.fusion(frames, known), rows=rows), covariate_logits


def build_system(recipe: Composition, targets: Mapping[str, Target], *, allowance: Allowance | None = None) -> System:
    """Build the system that a recipe describes, with random initial weights from torch's global generator.

    Args: targets: of heads and covariates, by name; allowance: limits for building; None: the machine's memory.
    Raises: RecipeError if the parts do not fit together; PluginError if one cannot be built.
    """
    model, samples = recipe.model, recipe.audio.segment_samples
    with allowance or Allowance():
        audio = {"sample_rate": recipe.audio.sample_rate, "segment_samples": samples}
        levels = {name: build("extractor", spec, audio) for name, spec in model.levels.items()}
        shapes = {}
        for name, level in levels.items():
            channels = declared(level, "channels", getattr(level, "channels", None))
            shapes[name] = LevelShape(channels, declared(level, "frame_count", level.frame_count(samples)))
        sizes = {name: len(targets[name].classes) for name in model.covariates}
        context = {"levels": shapes, "covariates": sizes, "segment_samples": samples}
        fusion = build("fusion", model.fusion, context)
        for name in ("fused", *levels):
            declared(fusion, f"sizes[{name!r}]", dict(getattr(fusion, "sizes", {})).get(name))
        classes = {name: len(targets[spec.target].classes) for name, spec in model.heads.items()}
        head_inputs = {name: names_in(spec.on) for name, spec in model.heads.items()}
        heads = {}
        for name, spec in model.heads.items():
            own = tuple(fusion.sizes[embedding] for embedding in head_inputs[name])
            heads[name] = build("head", spec, {"size": sum(own), "sizes": own, "classes": classes[name]})
        predicted = {
            name: PredictedCovariate(spec.level, channels=shapes[spec.level].channels, classes=sizes[name])
            for name, spec in model.covariates.items()
            if spec.source == "predicted"
        }
        given = {name: size for name, size in sizes.items() if name not in predicted}
        return System(
            levels,
            fusion,
            heads,
            classes=classes,
            head_inputs=head_inputs,
            given_covariates=given,
            predicted_covariates=predicted,
        )
