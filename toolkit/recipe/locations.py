"""The location of a value in a recipe: its dotted path, and the file and line that it came from."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Mark:
    """A position in a recipe file, counted from 1, or the whole file (line 0), or the command line (source "")."""

    source: str
    line: int = 0

    def __str__(self):
        line = f", line {self.line}" if self.line else ""
        return f"in {self.source}{line}" if self.source else "on the command line"


COMMAND_LINE = Mark("")


class Keys(dict):
    """A mapping that knows where each of its keys was written: `marks`, key -> Mark."""

    def __init__(self, values=(), marks=None):
        super().__init__(values)
        self.marks: dict[str, Mark] = dict(marks or {})


@dataclass(frozen=True)
class Tagged:
    """A value with one of HyperPyYAML's tags, before anything is looked up or run; !copy is read as !ref."""

    tag: str
    value: Any
    mark: Mark


@dataclass(frozen=True)
class Location:
    """A dotted path ("" for the whole recipe) with the position of its value and the value itself, where known."""

    path: str = ""
    mark: Mark | None = None
    value: Any = field(default=None, repr=False, compare=False)

    def child(self, *keys: str) -> "Location":
        """The location of a key inside; the mark is that of the nearest parent where the key has none."""
        location = self
        for key in keys:
            value, mark = location.value, location.mark
            if isinstance(value, Keys):
                value, mark = value.get(key), value.marks.get(key, mark)
            location = Location(f"{location.path}.{key}".lstrip("."), mark, value)
        return location

    def before(self, *keys: str) -> str:
        """The location of a key inside as the beginning of a message; "" if this location has no path."""
        return f"{self.child(*keys)}: " if self.path else ""

    def __str__(self):
        return f"{self.path} {self.mark or ''}".strip()


NOWHERE = Location()
