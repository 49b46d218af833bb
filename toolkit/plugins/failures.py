"""Errors inside another distribution's plugin: one line that names the plugin and the line of its code."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from toolkit.errors import FailedPlugin, ToolkitError, one_line
from toolkit.plugins.plugin import ORIGIN, Plugin

OURS = ("toolkit", "toolkit_plugins")


@contextmanager
def plugin_failures() -> Iterator[None]:
    """Turn what a plugin raises into a FailedPlugin; other errors pass unchanged.

    A plugin is at fault if none of our code ran below its own. If it calls ours and that fails, the bug may be ours:
    the error passes with its traceback.

    Raises:
        FailedPlugin: names the plugin, its location in the recipe, the error, and the plugin's line.
    """
    try:
        yield
    except ToolkitError:
        raise
    except (Exception, SystemExit) as error:  # a plugin may also exit
        line = _blame(error)
        if line is None:
            raise
        raise FailedPlugin(line) from error


def _blame(error: BaseException) -> str | None:
    """The error in one line; None if no plugin is at fault."""
    steps = list(traceback.walk_tb(error.__traceback__))
    found = [(index, plugin) for index, (frame, _) in enumerate(steps) if (plugin := _plugin(frame))]
    if not found:
        return None
    start, plugin = found[-1]
    below = [(_package(frame), frame.f_code.co_filename, line) for frame, line in steps[start:]]
    if any(package in OURS for package, _, _ in below):
        return None
    own = [f"{file}, line {line}" for package, file, line in below if package == plugin.package]
    location = f"{plugin.where}: " if plugin.where else ""
    return (
        f"{location}{plugin} raised {one_line(error)} ({own[-1] if own else plugin.spec.target}). "
        f"`toolkit check-plugin {plugin.spec.kind} {plugin.full_name}` tries the plugin out."
    )


def _plugin(frame: FrameType) -> Plugin | None:
    """The plugin that built the object whose method a frame runs."""
    return getattr(frame.f_locals.get("self"), "__dict__", {}).get(ORIGIN)


def _package(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "").partition(".")[0]
