"""What a training minimises: the weighted sum of a recipe's losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from toolkit.contracts import Loss, ModelOutput
from toolkit.corpus.targets import UNKNOWN
from toolkit.distributed import ranks
from toolkit.errors import RecipeError, did_you_mean
from toolkit.model.system import System
from toolkit.plugins.registry import find_part
from toolkit.recipe.schema import EVERY_HEAD, LossSpec, Recipe


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

    def forward(
        self, output: ModelOutput, targets: Mapping[str, Tensor], whole: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """The weighted sum.

        Args: output of a System; targets name -> class indices [batch], -1 where unknown; whole: those of all ranks'
            rows, where several train together.
        Returns: scalar.
        """
        return sum(self.weights[name] * value for name, value in self.parts(output, targets, whole).items())

    def parts(
        self, output: ModelOutput, targets: Mapping[str, Tensor], whole: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Every loss before its weight: name -> scalar; one whose targets are all unknown is left out.

        Where several ranks train together, a value is this rank's share in that of the whole batch, times the number of
        ranks: the mean over the ranks is the loss of all rows, and the gradients that DDP averages are its gradients.
        Arguments are those of `forward`.
        """
        values = {}
        for name, (inputs, target) in self._places(output).items():
            loss = self._loss(name)
            inputs, known = _known(inputs, targets[target])
            if whole is None:
                if len(known):
                    values[name] = loss(inputs, known)
            elif len(known):
                values[name] = loss(inputs, known) * _share(loss, known, whole[target])
            elif bool((whole[target] != UNKNOWN).any()):
                values[name] = inputs.sum()  # of no rows: a zero whose gradient DDP waits for
        return values

    def after_step(self, taken: Tensor) -> None:
        """Tell every loss that an optimizer step was taken, or skipped."""
        for loss in self.losses.values():
            loss.after_step(taken)

    def _places(self, output: ModelOutput) -> dict[str, tuple[Tensor, str]]:
        """What every loss reads, [batch, size], and the target that it compares it with."""
        places = {}
        for term in self.terms:
            found = output.logits if self.losses[term.name].reads == "logits" else output.embeddings
            places[term.name] = found[term.on], term.target
        for name in self.covariate_weights:
            places[f"covariate {name}"] = output.covariate_logits[name], name
        return places

    def _loss(self, name: str) -> Loss:
        return self.losses[name] if name in self.losses else self._covariate_loss  # noqa: SIM401 - it has no get()


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


def _share(loss: Loss, known: Tensor, whole: Tensor) -> Tensor | int:
    """What a rank's value is multiplied with: known, of its rows; whole, of all ranks' rows, -1 where unknown."""
    own = loss.denominator(known)
    if own is None:
        return ranks()
    return ranks() * own / loss.denominator(whole[whole != UNKNOWN].to(known.device, non_blocking=True))


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
    plugin = find_part("loss", spec)
    reads_logits = plugin.load().reads == "logits"
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
    return plugin.build(spec.args, context), target
