"""The contract suite: what every plugin has to do, tried out on one.

For a plugin's own tests, one line each:

    from functools import partial
    from toolkit.testing import assert_contract

    def test_pitch_keeps_the_contract():
        assert_contract("extractor", partial(Pitch, low=50.0))

`check_plugin` and the five functions behind it return a `Finding` for each property instead. The properties are the
functions in `PROPERTIES`, by kind; the docstring of each says what it asks for. `toolkit check-plugin NAME` examines
an installed plugin.

>>> from torch import nn
>>> from toolkit.contracts import Head
>>> class Linear(Head):
...     def __init__(self, *, size, classes):
...         super().__init__()
...         self.output = nn.Linear(size, classes)
...     def forward(self, embedding):
...         return self.output(embedding)
>>> assert_contract("head", Linear)
>>> class Forgetful(Linear):
...     def forward(self, embedding):
...         return self.output(embedding).detach().requires_grad_()
>>> [finding.property for finding in check_plugin("head", Forgetful) if not finding.holds]
['gradients_reach_what_is_trained']
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from toolkit.testing.corpora import CORPUS_PROPERTIES, check_corpus
from toolkit.testing.extractors import EXTRACTOR_PROPERTIES, check_extractor
from toolkit.testing.findings import Finding, Violation
from toolkit.testing.fusions import FUSION_PROPERTIES, check_fusion
from toolkit.testing.heads import HEAD_PROPERTIES, check_head
from toolkit.testing.losses import LOSS_PROPERTIES, check_loss

__all__ = [
    "CORPUS_PROPERTIES",
    "EXTRACTOR_PROPERTIES",
    "FUSION_PROPERTIES",
    "HEAD_PROPERTIES",
    "LOSS_PROPERTIES",
    "PROPERTIES",
    "Finding",
    "Violation",
    "assert_contract",
    "check_corpus",
    "check_extractor",
    "check_fusion",
    "check_head",
    "check_loss",
    "check_plugin",
]

PROPERTIES: Mapping[str, tuple[Callable[..., None], ...]] = {
    "extractor": EXTRACTOR_PROPERTIES,
    "fusion": FUSION_PROPERTIES,
    "head": HEAD_PROPERTIES,
    "loss": LOSS_PROPERTIES,
    "corpus": CORPUS_PROPERTIES,
}
_CHECKS: Mapping[str, Callable[..., list[Finding]]] = {
    "extractor": check_extractor,
    "fusion": check_fusion,
    "head": check_head,
    "loss": check_loss,
    "corpus": check_corpus,
}


def check_plugin(
    kind: str, make: Callable[..., Any], args: Mapping[str, Any] | None = None, **options: Any
) -> list[Finding]:
    """Examine a plugin of any kind.

    Args:
        kind: extractor, fusion, head, loss or corpus.
        make: the class, or any function that returns a new plugin; called with `args` and those context arguments
            (`toolkit.contracts.CONTEXT`) that it names.
        args: what a recipe would give.
        **options: of the kind's own function, such as `samples` of `check_extractor`.

    Returns:
        A Finding for each property of the kind.

    Raises:
        ValueError: if there is no such kind.
    """
    if kind not in _CHECKS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(_CHECKS)}")
    return _CHECKS[kind](partial(make, **args) if args else make, **options)


def assert_contract(kind: str, make: Callable[..., Any], args: Mapping[str, Any] | None = None, **options: Any) -> None:
    """Raise AssertionError that lists every property which does not hold; arguments as for `check_plugin`."""
    broken = [finding for finding in check_plugin(kind, make, args, **options) if not finding.holds]
    if broken:
        listed = "\n".join(f"- {finding}" for finding in broken)
        raise AssertionError(f"{len(broken)} properties of this {kind} do not hold:\n{listed}")
