"""Plugins on the terminal: the table of `toolkit list-plugins` and the page of `toolkit show-plugin`."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from toolkit.plugins.plugin import Plugin
from toolkit.plugins.registry import PluginInfo
from toolkit.plugins.signatures import REQUIRED, Argument, read_arguments, read_source
from toolkit.terminal import console_for_output


def print_table(infos: Sequence[PluginInfo]) -> None:
    """One row a plugin: kind, name, distribution and version, summary; what is wrong stands below the summary."""
    table = Table(box=box.SIMPLE, header_style="bold")
    table.add_column("kind", no_wrap=True)
    table.add_column("name", no_wrap=True)
    table.add_column("from", overflow="fold")
    table.add_column("what it is", overflow="fold")
    for info in infos:
        about = Text(info.summary)
        if info.status != "ok":
            about.append("\n" if info.summary else "")
            about.append(f"{info.status}: {info.error}", style="red" if info.status == "broken" else "yellow")
        table.add_row(info.kind or "?", Text(info.name), Text(f"{info.distribution} {info.version}"), about)
    console_for_output().print(table)


def print_page(plugin: Plugin) -> None:
    """A plugin's arguments with types, defaults and meanings, and the paper it comes from."""
    console, cls, spec = console_for_output(), plugin.load(), plugin.spec
    arguments = read_arguments(cls, plugin.context)
    console.print(Text(f"{spec.kind} {spec.name}", style="bold"), Text(f"from {plugin.release}"))
    console.print(Text(spec.summary))
    free = [argument for argument in arguments if not argument.given]
    if free:
        table = Table(box=box.SIMPLE, header_style="bold")
        table.add_column("argument", no_wrap=True)
        for header in ("type", "default", "meaning"):
            table.add_column(header, overflow="fold")
        for argument in free:
            table.add_row(*map(Text, (argument.name, argument.type, _default(argument), argument.meaning)))
        console.print(table)
    else:
        console.print(Text("It takes no arguments."))
    if given := [argument.name for argument in arguments if argument.given]:
        console.print(Text(f"Given by the system: {', '.join(given)}"))
    if source := read_source(cls):
        console.print(Text(f"Source: {source}"))
    console.print(Text(f"Class: {cls.__module__}:{cls.__qualname__}"))


def _default(argument: Argument) -> str:
    return "required" if argument.default is REQUIRED else repr(argument.default)
