"""What a training minimises: the weighted sum of a recipe's losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from toolkit.contracts import Loss, ModelOutput
from toolkit.errors import RecipeError, did_you_mean
from toolkit.model import System
from toolkit.recipe import EVERY_HEAD, LossSpec, Recipe
from toolkit.registry import build, get_class
from toolkit.segments import UNKNOWN


@dataclass(frozen=True)
class Term:
    """One loss at one place.

    Args:
        name: of its module, and of its part of the sum.
        on: name of the head or embedding it reads.
        target: name of the target it compares with.
        weight: factor in the sum.
    """

    name: str
    on: str
    target: str
    weight: float


class Objective(nn.Module):
    """The weighted sum of losses; rows whose target is unknown do not count.

    Args:
        losses: key -> Loss.
        terms: where each is attached.
        covariate_weights: name of a predicted covariate -> weight of its cross entropy.
    """

    def __init__(self, losses: Mapping[str, Loss], terms: Sequence[Term], covariate_weights: Mapping[str, float]):
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        self.terms = tuple(terms)
        self.covariate_weights = dict(covariate_weights)
        self.weights = {term.name: term.weight for term in terms}
        self.weights |= {f"covariate {name}": weight for name, weight in covariate_weights.items()}

    def forward(self, output: ModelOutput, targets: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum.

        Args: output of a System; targets name -> class indices [batch], -1 where unknown.
        Returns: scalar.
        """
        return sum(self.weights[name] * value for name, value in self.parts(output, targets).items())

    def parts(self, output: ModelOutput, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every loss before its weight: name -> scalar; one whose targets are all unknown is left out."""
        values = {}
        for term in self.terms:
            loss = self.losses[term.name]
            inputs = output.logits[term.on] if loss.reads == "logits" else output.embeddings[term.on]
            inputs, known = _known(inputs, targets[term.target])
            if len(known):
                values[term.name] = loss(inputs.float(), known)
        for name in self.covariate_weights:
            logits, known = _known(output.covariate_logits[name], targets[name])
            if len(known):
                values[f"covariate {name}"] = functional.cross_entropy(logits.float(), known)
        return values

    def after_step(self, taken: Tensor) -> None:
        """Tell every loss that an optimizer step was taken, or skipped."""
        for loss in self.losses.values():
            loss.after_step(taken)


def _known(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    known = targets != UNKNOWN
    return (inputs, targets) if bool(known.all()) else (inputs[known], targets[known])


def build_objective(recipe: Recipe, system: System, class_counts: Mapping[str, Sequence[int]]) -> Objective:
    """Build and attach a recipe's losses.

    Args:
        recipe: checked and resolved.
        system: what they are attached to.
        class_counts: target name -> training segments by class.

    Raises:
        RecipeError: if a loss is attached to something that is not there.
    """
    losses: dict[str, Loss] = {}
    terms: list[Term] = []
    for name, spec in recipe.model.losses.items():
        for place in _places(spec, recipe):
            key = name if isinstance(spec.on, str) and spec.on != EVERY_HEAD else f"{name}-{place}"
            if key in losses:
                raise RecipeError(f"model.losses: two losses would be called {key!r}; give {name!r} another name.")
            losses[key], target = _attach(name, spec, place, recipe, system, class_counts)
            terms.append(Term(key, place, target, spec.weight))
    weights = {n: c.weight for n, c in recipe.model.covariates.items() if c.source == "predicted"}
    return Objective(losses, terms, weights)


def _places(spec: LossSpec, recipe: Recipe) -> list[str]:
    if spec.on == EVERY_HEAD:
        return list(recipe.model.heads)
    return [spec.on] if isinstance(spec.on, str) else list(spec.on)


def _attach(
    name: str,
    spec: LossSpec,
    place: str,
    recipe: Recipe,
    system: System,
    class_counts: Mapping[str, Sequence[int]],
) -> tuple[Loss, str]:
    """Build one loss for one place; returns it with the name of its target."""
    reads_logits = get_class("loss", spec.plugin).reads == "logits"
    known = recipe.model.heads if reads_logits else system.fusion.sizes
    if place not in known:
        noun = "a head" if reads_logits else "an embedding"
        raise RecipeError(
            f"model.losses.{name}.on: {spec.plugin!r} reads {noun}, and there is none called {place!r}."
            f"{did_you_mean(place, known)} Known: {', '.join(known)}."
        )
    target = recipe.model.heads[place].target if reads_logits else spec.target
    counts = list(class_counts[target])
    size = len(counts) if reads_logits else system.fusion.sizes[place]
    context = {"size": size, "classes": len(counts), "class_counts": counts}
    return build("loss", spec.plugin, spec.args, context, where=spec.where), target
