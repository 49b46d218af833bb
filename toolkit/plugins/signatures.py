"""Constructor arguments: read from signature and docstring, checked before anything is built."""

import contextlib
import inspect
import json
import re
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import RecipeError, did_you_mean, join
from toolkit.recipe.checks import Location, Mismatch, check_value, type_text

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor."""

    name: str
    annotation: Any  # typing.Any if it has none, its text if it cannot be resolved
    default: Any
    meaning: str  # from the docstring's Args section

    @property
    def type(self) -> str:
        """The annotation as it is written in code."""
        return "" if self.annotation is Any else type_text(self.annotation)

    @property
    def problem(self) -> str:
        """Why its values cannot be checked, or why its default would not pass the check; "" if nothing is wrong."""
        if self.annotation is Any:
            return f"constructor argument {self.name!r} has no annotation"
        if isinstance(self.annotation, str):
            return f"annotation {self.annotation!r} of {self.name!r} cannot be resolved"
        try:
            if self.default is not REQUIRED:
                check_value(self.default, self.annotation)
        except Mismatch as error:
            return f"default of {self.name!r}: {error}"
        return ""


def read_arguments(cls: type) -> list[Argument]:
    """The arguments of a class in the order of its signature."""
    meanings = read_meanings(cls)
    named = [p for p in _parameters(cls) if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return [Argument(p.name, p.annotation, p.default, meanings.get(p.name, "")) for p in named]


def check_arguments(
    cls: type, args: Mapping[str, Any], *, context: Collection[str] = (), what: str, where: Location
) -> dict[str, Any]:
    """A recipe's arguments, checked and converted by a class's signature; `context`: those that the system gives."""
    arguments = {argument.name: argument for argument in read_arguments(cls)}
    free = [name for name in arguments if name not in context]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in _parameters(cls))
    checked = {}
    for name, value in _renamed(cls, args).items():
        location, argument = where.child("args", name), arguments.get(name)
        if name in context:
            raise RecipeError(f"{location}: {name!r} is given to {what} by the system and cannot be set in a recipe.")
        if name in getattr(cls, "retired", {}):
            raise RecipeError(f"{location}: {what} does not take {name!r} any more: write {cls.retired[name]}.")
        if argument is None and not takes_any:
            takes = f"It takes: {', '.join(free)}." if free else "It takes none."
            raise RecipeError(f"{location}: {what} has no argument {name!r}.{did_you_mean(name, free)} {takes}")
        try:
            checked[name] = value if argument is None else check_value(value, argument.annotation)
        except Mismatch as error:
            raise RecipeError(f"{location}: {error}") from None
    for name in free:
        if name not in checked and arguments[name].default is REQUIRED:
            needed = f" ({arguments[name].type})" if arguments[name].type else ""
            gives = f" The system gives {join(context)}." if context else ""
            raise RecipeError(f"{where.child('args')}: {what} needs the argument {name!r}{needed}.{gives}")
    return checked


def resolved_arguments(cls: type, args: Mapping[str, Any], *, context: Collection[str] = ()) -> dict[str, Any]:
    """A recipe's arguments completed with the defaults that YAML can express, since a later version may change them."""
    free, found = [argument for argument in read_arguments(cls) if argument.name not in context], {}
    for argument in free:
        with contextlib.suppress(TypeError, ValueError):
            check_value(json.loads(json.dumps(argument.default, allow_nan=False)), argument.annotation)
            found[argument.name] = argument.default
    found |= _renamed(cls, args)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}


def _renamed(cls: type, args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments under their present names: a class's `renamed` holds old name -> present name."""
    names = getattr(cls, "renamed", {})
    return {names.get(name, name): value for name, value in args.items()}


def read_meanings(cls: type) -> dict[str, str]:
    """Argument -> meaning, from the Args sections of a class, its parents and their constructors.

    An entry of a section is `name: meaning` or `name (type): meaning`, on one line or more, as Google writes it.
    """
    entry = re.compile(r"^\*{0,2}(\w+)(?: \([^)]*\))?:(.*\n(?:[ \t].*\n)*)", re.MULTILINE)
    meanings: dict[str, str] = {}
    for owner in (owner for parent in cls.__mro__[:-1] for owner in (parent, vars(parent).get("__init__"))):
        text = inspect.cleandoc(getattr(owner, "__doc__", None) or "")
        section = re.search(r"^Arg(?:ument)?s:[ ]*\n((?:[ \t].*\n|[ \t]*\n)*)", f"{text}\n", re.MULTILINE)
        for name, meaning in entry.findall(textwrap.dedent(section[1])) if section else ():
            meanings.setdefault(name, " ".join(meaning.split()))
    return meanings


def read_source(cls: type) -> str:
    """The paper: what follows "Source:" in the class's docstring; "" if nothing does."""
    match = re.search(r"\bSource:\s*(.+?)(?:\n\s*\n|\n\w+:|\Z)", inspect.cleandoc(cls.__doc__ or ""), re.DOTALL)
    return " ".join(match[1].split()) if match else ""


def _parameters(cls: type) -> list[inspect.Parameter]:
    constructed_by = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if constructed_by.__module__.startswith("torch.nn."):
        return []  # a Module without a constructor of its own; torch's declares (*args, **kwargs) and accepts nothing
    try:
        signature = inspect.signature(cls, eval_str=True)
    except Exception:  # an annotation that only type checkers can resolve: all that are text stay text
        signature = inspect.signature(cls)
    return [p.replace(annotation=Any) if p.annotation is REQUIRED else p for p in signature.parameters.values()]
