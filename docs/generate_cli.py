"""Writes docs/cli.md, the `--help` of every command: `python docs/generate_cli.py`."""

from collections.abc import Iterator
from pathlib import Path

import click

from toolkit.cli.main import main

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100
BEGIN = """\
# Commands

Made by `python docs/generate_cli.py`. `python -m toolkit` is `toolkit`; a recipe's `train.py` is `toolkit train`
that looks for recipes in its own folder first.
"""


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and all below it, with the words that call them."""
    words = words or ("toolkit",)
    yield words, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from commands(command.commands[name], (*words, name))


def page() -> str:
    """The page as it should be."""
    parts = [BEGIN]
    for words, command in commands(main):
        name = " ".join(words)
        context = click.Context(command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        parts.append(f"## {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
