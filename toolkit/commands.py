"""Commands that print a user's mistake as one line."""

import os

import click

from toolkit.errors import FailedPlugin, ToolkitError
from toolkit.plugin_failures import plugin_failures

DEBUG = "TOOLKIT_DEBUG"  # an environment variable, so that torchrun and a recipe's train.py heed it too


class Command(click.Command):
    """A command that prints a user's mistake, and a plugin's, as one line and exits with 2."""

    def invoke(self, ctx: click.Context):
        """Run the command; a ToolkitError becomes one line on standard error, unless TOOLKIT_DEBUG is set."""
        try:
            with plugin_failures():
                return super().invoke(ctx)
        except ToolkitError as error:
            if os.environ.get(DEBUG):
                raise
            hint = f" {DEBUG}=1 shows the whole traceback." if isinstance(error, FailedPlugin) else ""
            click.echo(f"{ctx.find_root().info_name}: {error}{hint}", err=True)
            ctx.exit(2)


class Commands(click.Group):
    """A group of such commands."""

    command_class = Command
