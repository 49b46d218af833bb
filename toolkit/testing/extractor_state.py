"""The contract of what a bundle carries of an extractor: its state, and how it is built without files."""

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

from toolkit.plugins.kinds import KINDS
from toolkit.testing.case import Violation, plugin_class, require
from toolkit.testing.extractor_case import ExtractorCase
from toolkit.testing.front_end_args import args_as_json
from toolkit.testing.tensors import copy_state, require_equal, require_same


def state_survives_safetensors(case: ExtractorCase) -> None:
    """A new extractor that loads the state gives the same output; what `fit` found is in the state."""
    one, other = case.restored()
    (wave,) = case.inputs(one)
    require_same(case.outputs(other, wave), case.outputs(one, wave), 0, "after loading the state")
    require(
        dict(other.front_end_args) == dict(one.front_end_args),
        f"front_end_args after loading the state are {other.front_end_args}, not {one.front_end_args}",
    )


def portable_args_build_it_again(case: ExtractorCase) -> None:
    """Built with `portable_args` in place of the recipe's, without network, it is the same once the state is loaded."""
    extractor = case.build()
    portable = extractor.portable_args()
    try:
        portable = json.loads(json.dumps(dict(portable), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Violation(f"portable_args {portable!r} cannot be written as JSON: {error}") from error
    given = [name for name in portable if name in KINDS["extractor"].context]
    require(not given, f"portable_args hold {given}, which the system gives")
    if plugin_class(case.make) is None:  # what a function makes of further arguments is not known
        return
    with watched_network() as attempts:
        other = replace(case, make=partial(case.make, **portable)).empty()
    require(not attempts, f"built with portable_args {portable}, it asks the network for {attempts[:1]}")
    copy_state(extractor, other)
    other.pretrained, other.random_backbone = extractor.pretrained, extractor.random_backbone  # as a bundle does
    wave = case.wave(extractor)
    found, expected = other(wave).zeroed().values, extractor(wave).zeroed().values
    require_equal(found, expected, 0, f"output when built with portable_args {portable}")
    require(
        args_as_json(other) == args_as_json(extractor),
        f"front_end_args when built with portable_args are {other.front_end_args}, not {extractor.front_end_args}",
    )


@contextlib.contextmanager
def watched_network() -> Iterator[list[str]]:
    """No name is looked up and nothing is connected to inside; yields what was tried."""
    attempts: list[str] = []

    def refuse(*args: Any, **options: Any):
        attempts.append(str(next((arg for arg in args if not isinstance(arg, socket.socket)), "an address")))
        raise OSError("no network while portable_args are tried")

    with mock.patch("socket.getaddrinfo", refuse), mock.patch("socket.socket.connect", refuse):
        yield attempts
