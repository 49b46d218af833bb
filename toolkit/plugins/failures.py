"""Who is at fault: what another distribution's plugin raises becomes one line that names it, its place and the line."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from toolkit.errors import FailedPlugin, ToolkitError
from toolkit.plugins.catalogue import Candidate
from toolkit.plugins.declarations import reason
from toolkit.recipe.locations import Location

OURS = ("toolkit", "toolkit_plugins")
_ORIGIN = "_toolkit_origin"


class Origin(NamedTuple):
    """Which plugin an object was built from.

    Args:
        candidate: the plugin.
        where: what it stands for in the recipe, as model.levels.pitch.
    """

    candidate: Candidate
    where: Location | str


def remember_origin(plugin: Any, origin: Origin) -> None:
    """Keep on a plugin of another distribution where it comes from."""
    if not origin.candidate.declaration.own:
        vars(plugin)[_ORIGIN] = origin  # past nn.Module's and a frozen dataclass's own __setattr__


@contextmanager
def plugin_failures() -> Iterator[None]:
    """What a plugin raises, whoever called it, becomes a FailedPlugin; our own errors stay as they are.

    A plugin is at fault where none of our code ran below its own: where it calls ours, and that fails, the bug may be
    ours, and its traceback is kept.

    Raises:
        FailedPlugin: names the plugin, its place in the recipe, the error, and the plugin's line.
    """
    try:
        yield
    except ToolkitError:
        raise
    except (Exception, SystemExit) as error:  # a plugin may also exit
        told = _told(error)
        if told is None:
            raise
        raise FailedPlugin(told) from error


def _told(error: BaseException) -> str | None:
    """The error in one line, or None where no plugin is at fault."""
    steps = list(traceback.walk_tb(error.__traceback__))
    found = [(index, origin) for index, (frame, _) in enumerate(steps) if (origin := _origin(frame.f_locals))]
    if not found:
        return None
    start, (candidate, where) = found[-1]
    packages = [(_package(frame), frame.f_code.co_filename, line) for frame, line in steps[start:]]
    if any(package in OURS for package, _, _ in packages):
        return None
    own = [f"{file}, line {line}" for package, file, line in packages if package == candidate.spec.module.split(".")[0]]
    place = f"{where}: " if where else ""
    return (
        f"{place}{candidate} raised {reason(error)} ({own[-1] if own else candidate.spec.target}). "
        f"`toolkit check-plugin {candidate.spec.kind} {candidate.full_name}` tries the plugin out."
    )


def _origin(names: Any) -> Origin | None:
    """The origin of the object whose method a frame runs."""
    return getattr(names.get("self"), "__dict__", {}).get(_ORIGIN)


def _package(frame: Any) -> str:
    return frame.f_globals.get("__name__", "").partition(".")[0]
