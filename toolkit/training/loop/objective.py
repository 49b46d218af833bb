"""The objective that a training minimises, the weighted sum of a recipe's losses; as a step, on ranks or compiled."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from toolkit.contracts import Loss, Mix, ModelOutput
from toolkit.corpus.targets import UNKNOWN
from toolkit.data.segments import Batch
from toolkit.distributed import ranks
from toolkit.errors import RecipeError, ToolkitError, did_you_mean, join, one_line
from toolkit.model.boundary import checked
from toolkit.model.system import System
from toolkit.plugins.registry import find_part
from toolkit.recipe.schema import EVERY_HEAD, LossSpec, Recipe, names_in

Targets = Mapping[str, Tensor]  # name -> class indices [batch], UNKNOWN where it is missing; on the CPU


class Term(NamedTuple):
    """One loss of the sum."""

    loss: Loss
    on: str  # the head, embedding or covariate that it reads
    reads: str  # the part of a ModelOutput that holds it: "logits", "embeddings" or "covariate_logits"
    target: str
    weight: float


class Objective(nn.Module):
    """The weighted sum of losses; rows whose target is unknown do not count."""

    def __init__(self, terms: Mapping[str, Term]):
        super().__init__()
        self.terms = dict(terms)
        self.losses = nn.ModuleDict({name: term.loss for name, term in terms.items()})

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The weighted sum, a scalar; arguments are those of `parts`."""
        return sum(self.terms[name].weight * value for name, value in self.parts(*args, **kwargs).items())

    def parts(
        self, output: ModelOutput, targets: Targets, whole: Targets | None = None, mix: Mix | None = None
    ) -> dict[str, Tensor]:
        """Every unweighted loss: name -> scalar; a loss whose targets are all unknown is left out.

        For mixed rows, a loss is computed with the rows' own targets and with their partners', and the two are added
        by their shares. Partners are a permutation, so that both have one denominator: class weights stay right.
        `whole`: the targets of all ranks' rows.
        """
        values = {}
        for name, term in self.terms.items():
            inputs, own = getattr(output, term.reads)[term.on], targets[term.target]
            shares = [(own, 1.0)] if mix is None else [(own, mix.share), (own[mix.partners], 1 - mix.share)]
            of_all = None if whole is None else whole[term.target]
            weighted = [(share, _value(term.loss, inputs, part, of_all, share)) for part, share in shares]
            if weighted[0][1] is not None:  # then the permuted targets are not all unknown either
                values[name] = sum(share * value for share, value in weighted)
        return values

    def after_step(self, taken: Tensor) -> None:
        """Pass on to every loss whether the optimizer step was taken: a 0-d bool."""
        for loss in self.losses.values():
            loss.after_step(taken)


def _value(loss: Loss, inputs: Tensor, targets: Tensor, of_all: Tensor | None, share: float) -> Tensor | None:
    """A loss of the rows whose target is known (on the CPU), or None if no rank has one; `share`: each row's weight.

    With several ranks, `of_all` holds the targets of all their rows, and the mean of their values is the loss of these
    rows. A loss divides the sum over its rows by a denominator D. A rank's value times D(its rows) is its sum; the sum
    of all ranks divided by D(all rows) is the loss of all rows. DistributedDataParallel averages gradients, so each
    value is also multiplied by the number of ranks.
    """
    is_known = targets != UNKNOWN
    if not bool(is_known.all()):
        rows = is_known.nonzero().squeeze(1)
        inputs, targets = inputs[rows.to(inputs.device, non_blocking=True)], targets[rows]
    inputs, classes = inputs.float(), targets.to(inputs.device, non_blocking=True)
    known = classes if of_all is None else of_all[of_all != UNKNOWN]
    if not len(known):
        return None
    if not len(classes):
        return inputs.sum()  # a zero: DDP waits for its gradient
    value = checked(loss, "forward", loss.of_shares(inputs, classes, share), ())
    if of_all is None:
        return value
    own = loss.denominator(classes)
    if own is None:  # the loss is a sum
        return value * ranks()
    return value * (ranks() * own / loss.denominator(known.to(own.device, non_blocking=True)))


class CovariateLoss(Loss):
    """Cross entropy of a predicted covariate's logits."""

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the rows."""
        return functional.cross_entropy(inputs, targets)


def refuse_untrained(recipe: Recipe, system: System) -> None:
    """Raise RecipeError if a part would keep random weights, or a probe would freeze nothing."""
    # neither fitted nor pre-trained (or stamped as random in place of that)
    untrained = [f"model.heads.{name}" for name, head in system.heads.items() if not head.fits]
    untrained += [f"model.covariates.{name}" for name in system.covariates]
    if recipe.training.init_from is None:
        parts = {f"model.levels.{n}": v for n, v in system.levels.items() if not (v.pretrained or v.random_backbone)}
        parts["model.fusion"] = system.fusion
        untrained += [name for name, part in parts.items() if any(p.requires_grad for p in part.parameters())]
    if untrained and not recipe.training.epochs:
        problem = f"training.epochs is 0, which trains nothing, and {join(untrained)} would stay random"
        others = "a fitted head (discriminant) and parts without such weights (concat with project: false)"
        raise RecipeError(f"{problem}: train for some epochs, or take {others}.")
    if recipe.training.probe.epochs:
        if not system.set_frozen(True):
            problem = "training.probe trains with pre-trained weights frozen, and no level here trains any"
            remedy = "let one train them (`tune: all`, or `freeze: false` with pre-trained `weights`)"
            raise RecipeError(f"{problem}: {remedy}, or leave training.probe out.")
        system.set_frozen(False)


def build_objective(recipe: Recipe, system: System, class_counts: Mapping[str, Sequence[int]]) -> Objective:
    """Build a recipe's losses, attached to a system; `class_counts` is target -> training segments by class."""
    terms: dict[str, Term] = {}
    for name, spec in recipe.model.losses.items():
        attached = tuple(recipe.model.heads) if spec.on == EVERY_HEAD else spec.on
        for on in names_in(attached):
            key = name if isinstance(attached, str) else f"{name}-{on}"
            if key in terms:
                raise RecipeError(f"model.losses: two losses would be called {key!r}; give {name!r} another name.")
            terms[key] = _term(spec, on, recipe, system, class_counts)
    for name, spec in recipe.model.covariates.items():
        if spec.source == "predicted":
            terms[f"covariate {name}"] = Term(CovariateLoss(), name, "covariate_logits", name, spec.weight)
    return Objective(terms)


def _term(spec: LossSpec, on: str, recipe: Recipe, system: System, class_counts: Mapping[str, Sequence[int]]) -> Term:
    plugin = find_part("loss", spec)
    reads_logits = plugin.load().reads == "logits"
    choices, noun = (recipe.model.heads, "a head") if reads_logits else (system.fusion.sizes, "an embedding")
    if on not in choices:
        problem = f"{spec.plugin!r} reads {noun}, and none is called {on!r}.{did_you_mean(on, choices)}"
        raise RecipeError(f"{spec.where.child('on')}: {problem} Known: {', '.join(choices)}.")
    target = recipe.model.heads[on].target if reads_logits else spec.target
    counts = list(class_counts[target])
    size = len(counts) if reads_logits else system.fusion.sizes[on]
    context = {"size": size, "classes": len(counts), "class_counts": counts}
    part = "logits" if reads_logits else "embeddings"
    return Term(plugin.build(spec.args, context), on, part, target, spec.weight)


class TrainStep(nn.Module):
    """Computes the loss of a batch: the system's output, then the objective."""

    def __init__(self, system: System, objective: Objective):
        super().__init__()
        self.system, self.objective = system, objective

    def forward(self, batch: Batch, targets: Targets, whole: Targets | None = None) -> Tensor:
        """The loss, a scalar, of a batch on the device, and targets on the CPU; `whole`: those of all ranks' rows."""
        return self.objective(self.system(batch.inputs, batch.covariates, batch.mix), targets, whole, batch.mix)


def on_ranks(step: TrainStep) -> DistributedDataParallel:
    """The same step with gradients averaged over the ranks; its parameters become those of rank 0, its buffers do not.

    On some rank a step may not use all parameters (a dropped layer, a loss without rows): DDP searches for unused ones.
    """
    # torch 2.14 has a new name for the option and warns of the old one
    known = signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return DistributedDataParallel(step, find_unused_parameters=True, **{buffers: False})


def compile_system(system: System, *, backend: str = "inductor") -> None:
    """Compile the fusion and the `encode` of levels without recurrent layers for training, and nothing in eval() mode.

    If all segments have one length, each batch size is compiled separately, so that the result does not depend on which
    size came first. Otherwise the same code serves all lengths.
    """
    settings = {"dynamic": system.fixed_samples is None, "backend": backend}
    if backend == "inductor" and "deterministic" in torch._inductor.list_options():
        settings["options"] = {"deterministic": True}  # kernels chosen by timing would differ between runs
    for name, level in system.levels.items():
        if any(isinstance(module, nn.RNNBase) for module in level.modules()):
            continue
        level.encode = _compiled_in_training(level, level.encode, f"level {name!r}", settings)
    system.fusion.forward = _compiled_in_training(system.fusion, system.fusion.forward, "the fusion", settings)


def _compiled_in_training(part: nn.Module, function: Callable, name: str, settings: dict[str, Any]) -> Callable:
    from torch._dynamo.exc import TorchDynamoException  # torch, too, imports it when first compiling

    compiled = torch.compile(function, **settings)

    @wraps(function)
    def run(*args: Any) -> Any:
        if not part.training:
            return function(*args)
        try:
            return compiled(*args)
        except TorchDynamoException as error:
            reason = one_line(getattr(error, "inner_exception", error))
            raise ToolkitError(
                f"training.compile: torch.compile fails on {name} here ({reason}). Set training.compile to false."
            ) from error

    return run
