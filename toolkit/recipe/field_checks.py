"""Checks of a recipe's fields that need nothing but their values."""

import re
from collections.abc import Iterable
from typing import Any

from toolkit.errors import did_you_mean

# What torch.nn.ModuleDict keeps for itself; written out, since recipes are checked without torch.
MODULE_DICT = """
    T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda double dump_patches
    eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu items keys
    load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
    register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type update values xpu zero_grad
"""
RESERVED = frozenset(MODULE_DICT.split())


class BadField(ValueError):  # noqa: N818 - reads as the sentence it prints
    """A field's value is out of its range or does not fit the others.

    Args:
        path: the field, dotted.
        problem: what follows its name in the message.
    """

    def __init__(self, path: str, problem: str):
        super().__init__(f"{path} {problem}")
        self.path, self.problem = path, problem


def at_least(spec: Any, least: int, *names: str) -> None:
    """Refuse fields below `least`; None passes."""
    for name in names:
        value = getattr(spec, name)
        if value is not None and value < least:
            raise BadField(name, f"must be at least {least}, not {value}.")


def known(path: str, names: Iterable[str], known: Iterable[str], noun: str) -> None:
    """Refuse names that are not among the known ones."""
    known = list(dict.fromkeys(known))
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise BadField(path, f"names {name!r}: there is no such {noun}.{near} Known: {', '.join(known)}.")


def check_name(path: str, name: str, *, also: tuple[str, ...]) -> None:
    """Refuse a name that a module of the system cannot have; `also` are more reserved ones."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise BadField(path, "is not a name: letters, digits, '_' and '-' only.")
    if name in RESERVED or name in also:
        raise BadField(path, f"cannot be used: the name {name!r} is reserved.")
