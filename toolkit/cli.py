"""The commands. Thin: each imports what it needs inside itself, so that light commands stay light."""

import sys

import click

from toolkit.errors import ToolkitError


class Commands(click.Group):
    """Prints a user's mistake as one line and exits with 2."""

    def invoke(self, ctx: click.Context):
        """Run the command; a ToolkitError becomes one line on standard error."""
        try:
            return super().invoke(ctx)
        except ToolkitError as error:
            click.echo(f"toolkit: {error}", err=True)
            ctx.exit(2)


@click.group(cls=Commands)
@click.version_option(package_name="audio-classification-toolkit", prog_name="toolkit")
def main():
    """Audio classification with deep learning from swappable parts."""


if __name__ == "__main__":
    sys.exit(main())
