"""Commands that print a user's mistake as one line."""

import click

from toolkit.errors import ToolkitError


class Command(click.Command):
    """A command that prints a user's mistake as one line and exits with 2."""

    def invoke(self, ctx: click.Context):
        """Run the command; a ToolkitError becomes one line on standard error."""
        try:
            return super().invoke(ctx)
        except ToolkitError as error:
            click.echo(f"{ctx.find_root().info_name}: {error}", err=True)
            ctx.exit(2)


class Commands(click.Group):
    """A group of such commands."""

    command_class = Command
