"""The contract suite: checks what every plugin has to do.

In a plugin's own tests:

    from functools import partial
    from toolkit.testing import assert_contract

    def test_pitch_keeps_the_contract():
        assert_contract("extractor", partial(Pitch, low=50.0))

`check_plugin` returns a `Finding` for each property instead. `toolkit check-plugin NAME` checks an installed plugin.

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
from importlib import import_module
from typing import Any

from toolkit.plugins.kinds import KINDS
from toolkit.testing.case import Case, Finding, Violation, contract, require

__all__ = ["Case", "Finding", "Violation", "assert_contract", "case_class", "check_plugin", "contract", "require"]


def case_class(kind: str) -> type[Case]:
    """The class that examines a kind's plugins.

    Raises:
        ValueError: if there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    module, _, name = KINDS[kind].suite.partition(":")
    return getattr(import_module(module), name)


def check_plugin(
    kind: str, make: Callable[..., Any], args: Mapping[str, Any] | None = None, **options: Any
) -> list[Finding]:
    """Examine a plugin of any kind.

    Args:
        kind: one of the kinds.
        make: the class, or any function that returns a new plugin; called with `args` and those context arguments
            (`toolkit.plugins.kinds`) that it names.
        args: what a recipe would give.
        **options: further arguments of the kind's case, for example `samples` of
            `toolkit.testing.extractors.ExtractorCase` or `folder` of `toolkit.testing.corpora.CorpusCase`.

    Returns:
        A Finding for each property of the kind.

    Raises:
        ValueError: if there is no such kind.
    """
    return case_class(kind)(partial(make, **args) if args else make, **options).examine()


def assert_contract(kind: str, make: Callable[..., Any], args: Mapping[str, Any] | None = None, **options: Any) -> None:
    """Raise AssertionError that lists every property which does not hold; arguments as for `check_plugin`."""
    broken = [finding for finding in check_plugin(kind, make, args, **options) if not finding.holds]
    if broken:
        listed = "\n".join(f"- {finding}" for finding in broken)
        raise AssertionError(f"{len(broken)} properties of this {kind} do not hold:\n{listed}")
