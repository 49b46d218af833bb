"""What a training minimises: the weighted sum of a recipe's losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.contracts import Loss, ModelOutput
from toolkit.distributed import ranks, summed
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
        self._covariate_loss = _CovariateLoss()
        self.weights = {term.name: term.weight for term in terms}
        self.weights |= {f"covariate {name}": weight for name, weight in covariate_weights.items()}

    def forward(self, output: ModelOutput, targets: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum.

        Args: output of a System; targets name -> class indices [batch], -1 where unknown.
        Returns: scalar.
        """
        return sum(self.weights[name] * value for name, value in self.parts(output, targets).items())

    def parts(self, output: ModelOutput, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every loss before its weight: name -> scalar; one whose targets are all unknown is left out.

        Where several ranks train together, a value is this rank's share in that of the whole batch, times the number of
        ranks: the mean over the ranks is the loss of all rows, and the gradients that DDP averages are its gradients.
        """
        read = {name: _known(*place) for name, place in self._places(output, targets).items()}
        if ranks() == 1:
            return {name: self._loss(name)(*rows) for name, rows in read.items() if len(rows[1])}
        shares = self._shares({name: known for name, (_, known) in read.items()})
        return {  # of no rows the sum: a zero whose gradient reaches what lies before, for which DDP waits
            name: self._loss(name)(*rows) * shares[name] if len(rows[1]) else rows[0].sum()
            for name, rows in read.items()
        }

    def after_step(self, taken: Tensor) -> None:
        """Tell every loss that an optimizer step was taken, or skipped."""
        for loss in self.losses.values():
            loss.after_step(taken)

    def _places(self, output: ModelOutput, targets: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """What every loss reads, and what it compares that with: name -> inputs [batch, size], targets [batch]."""
        places = {}
        for term in self.terms:
            found = output.logits if self.losses[term.name].reads == "logits" else output.embeddings
            places[term.name] = found[term.on], targets[term.target]
        for name in self.covariate_weights:
            places[f"covariate {name}"] = output.covariate_logits[name], targets[name]
        return places

    def _loss(self, name: str) -> Loss:
        return self.losses[name] if name in self.losses else self._covariate_loss  # noqa: SIM401 - no get() there

    def _shares(self, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By what this rank's values are multiplied: name -> 0-d."""
        own = {name: self._loss(name).denominator(targets) for name, targets in known.items()}
        means = [name for name, denominator in own.items() if denominator is not None]
        if not means:
            return dict.fromkeys(own, ranks())
        found = torch.stack([own[name].float() for name in means])  # [losses]
        shares = ranks() * found / summed(found).clamp_min(torch.finfo(found.dtype).tiny)
        return dict.fromkeys(own, ranks()) | dict(zip(means, shares.unbind(), strict=True))


class _CovariateLoss(Loss):
    """Cross entropy of a predicted covariate's logits."""

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the rows."""
        return functional.cross_entropy(inputs, targets)


def _known(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The rows whose target is known; which these are is found where the targets are: on the CPU, nothing has to wait.

    Args: inputs [batch, size]; targets [batch], on any device.
    Returns: [known, size], float32; [known], on the device of the inputs.
    """
    known = targets != UNKNOWN
    if not bool(known.all()):
        rows = known.nonzero().squeeze(1)
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
