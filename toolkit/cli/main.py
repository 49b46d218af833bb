"""`toolkit` and its commands."""

import click

from toolkit.cli import bundles, experiments, plugins, runs
from toolkit.cli.cache import cache
from toolkit.cli.commands import Commands


@click.group(cls=Commands, epilog="To train on your own recordings begin with `toolkit new-recipe --help`.")
@click.version_option(package_name="audio-classification-toolkit", prog_name="toolkit")
def main():
    """Audio classification with deep learning from swappable parts."""


for module in (bundles, experiments, plugins, runs):
    for command in vars(module).values():
        if isinstance(command, click.Command):
            main.add_command(command)
main.add_command(cache)
