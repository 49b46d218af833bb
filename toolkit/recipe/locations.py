"""Where a value of a recipe stands: its dotted path, and the file and line it came from.

>>> place = Place("model.fusion", {"model.fusion": "in ser.yaml, line 7"})
>>> str(place.child("args", "dim"))
'model.fusion.args.dim in ser.yaml, line 7'
>>> str(inside("model.fusion", "args", "dim"))
'model.fusion.args.dim'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mark:
    """A position in a recipe file, or the command line.

    Args:
        source: the file's name; "" for the command line.
        line: from 1.
        column: from 1.
    """

    source: str
    line: int = 0
    column: int = 0

    def __str__(self):
        return f"in {self.source}, line {self.line}" if self.source else "on the command line"

    @property
    def exact(self) -> str:
        """With the column, for what is wrong in the writing itself."""
        return f"{self.source}, line {self.line}, column {self.column}" if self.source else "on the command line"


COMMAND_LINE = Mark("")


@dataclass(frozen=True)
class Place:
    """A dotted path that knows which file said what stands there.

    Args:
        path: as overrides write it, "" for the whole recipe.
        marks: dotted path -> "in ser.yaml, line 7"; a path that is missing stands where its nearest parent stands.
    """

    path: str
    marks: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def child(self, *keys: str) -> "Place":
        """The place of a key inside."""
        return Place(".".join(filter(None, [self.path, *keys])), self.marks)

    def __str__(self):
        parts = self.path.split(".")
        for length in range(len(parts), -1, -1):
            if mark := self.marks.get(".".join(parts[:length])):
                return f"{self.path} {mark}".strip()
        return self.path


def inside(where: "Place | str", *keys: str) -> Place:
    """The place of a key inside `where`, which may be a plain dotted path."""
    return (where if isinstance(where, Place) else Place(where)).child(*keys)
