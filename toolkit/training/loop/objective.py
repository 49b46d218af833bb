"""What a training minimises: the weighted sum of a recipe's losses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from toolkit.contracts import Loss, ModelOutput
from toolkit.corpus.targets import known
from toolkit.errors import RecipeError, did_you_mean
from toolkit.model.system import System
from toolkit.plugins.registry import find_part
from toolkit.recipe.schema import EVERY_HEAD, LossSpec, Recipe

CallLoss = Callable[[Loss, Tensor, Tensor, str], Tensor | None]


@dataclass(frozen=True)
class Term:
    """One loss of the sum.

    Args:
        loss: compares what it reads with a target.
        on: name of the head or embedding that it reads; of the covariate whose logits it reads.
        reads: the part of a ModelOutput that holds it: "logits", "embeddings" or "covariate_logits".
        target: name of the target.
        weight: factor in the sum.
    """

    loss: Loss
    on: str
    reads: str
    target: str
    weight: float


def plain_loss(loss: Loss, inputs: Tensor, classes: Tensor, target: str) -> Tensor | None:
    """The loss of rows, None where there are none.

    Args: loss; inputs [rows, size]; classes [rows], all known; target that they are of.
    """
    del target
    return loss(inputs, classes) if len(classes) else None


class Objective(nn.Module):
    """The weighted sum of losses; rows whose target is unknown do not count.

    Args:
        terms: name -> loss, where it is attached and its weight.
    """

    def __init__(self, terms: Mapping[str, Term]):
        super().__init__()
        self.terms = dict(terms)
        self.losses = nn.ModuleDict({name: term.loss for name, term in terms.items()})

    def forward(self, output: ModelOutput, targets: Mapping[str, Tensor], call: CallLoss = plain_loss) -> Tensor:
        """The weighted sum; arguments are those of `parts`.

        Returns: scalar.
        """
        return sum(self.terms[name].weight * value for name, value in self.parts(output, targets, call).items())

    def parts(
        self, output: ModelOutput, targets: Mapping[str, Tensor], call: CallLoss = plain_loss
    ) -> dict[str, Tensor]:
        """Every loss before its weight: name -> scalar; one whose targets are all unknown is left out.

        Args: output of a System; targets name -> class indices [batch], UNKNOWN where one is not known; call
            computes a loss of rows.
        """
        values = {}
        for name, term in self.terms.items():
            inputs, classes = _known_rows(getattr(output, term.reads)[term.on], targets[term.target])
            value = call(term.loss, inputs, classes, term.target)
            if value is not None:
                values[name] = value
        return values

    def after_step(self, taken: Tensor) -> None:
        """Pass on to every loss whether the optimizer step was taken: a 0-d bool."""
        for loss in self.losses.values():
            loss.after_step(taken)


class CovariateLoss(Loss):
    """Cross entropy of a predicted covariate's logits."""

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the rows."""
        return functional.cross_entropy(inputs, targets)


def _known_rows(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The rows whose target is known; found where the targets are, on the CPU, so that nothing waits for the device.

    Args: inputs [batch, size]; targets [batch], on any device.
    Returns: [known, size], float32; [known], on the device of the inputs.
    """
    is_known = known(targets)
    if not bool(is_known.all()):
        rows = is_known.nonzero().squeeze(1)
        inputs, targets = inputs[rows.to(inputs.device, non_blocking=True)], targets[rows]
    return inputs.float(), targets.to(inputs.device, non_blocking=True)


def build_objective(recipe: Recipe, system: System, class_counts: Mapping[str, Sequence[int]]) -> Objective:
    """Build and attach a recipe's losses.

    Args:
        recipe: checked and resolved.
        system: what they are attached to.
        class_counts: target name -> training segments by class.

    Raises:
        RecipeError: if a loss is attached to something that is not there.
    """
    terms: dict[str, Term] = {}
    for name, spec in recipe.model.losses.items():
        attached = list(recipe.model.heads) if spec.on == EVERY_HEAD else spec.on
        for on in [attached] if isinstance(attached, str) else attached:
            key = name if isinstance(attached, str) else f"{name}-{on}"
            if key in terms:
                raise RecipeError(f"model.losses: two losses would be called {key!r}; give {name!r} another name.")
            terms[key] = _term(name, spec, on, recipe, system, class_counts)
    for name, spec in recipe.model.covariates.items():
        if spec.source == "predicted":
            terms[f"covariate {name}"] = Term(CovariateLoss(), name, "covariate_logits", name, spec.weight)
    return Objective(terms)


def _term(
    name: str, spec: LossSpec, on: str, recipe: Recipe, system: System, class_counts: Mapping[str, Sequence[int]]
) -> Term:
    """Build one loss for one head or embedding."""
    plugin = find_part("loss", spec)
    reads_logits = plugin.load().reads == "logits"
    choices = recipe.model.heads if reads_logits else system.fusion.sizes
    if on not in choices:
        noun = "a head" if reads_logits else "an embedding"
        raise RecipeError(
            f"model.losses.{name}.on: {spec.plugin!r} reads {noun}, and none is called {on!r}."
            f"{did_you_mean(on, choices)} Known: {', '.join(choices)}."
        )
    target = recipe.model.heads[on].target if reads_logits else spec.target
    counts = list(class_counts[target])
    size = len(counts) if reads_logits else system.fusion.sizes[on]
    context = {"size": size, "classes": len(counts), "class_counts": counts}
    part = "logits" if reads_logits else "embeddings"
    return Term(plugin.build(spec.args, context), on, part, target, spec.weight)
