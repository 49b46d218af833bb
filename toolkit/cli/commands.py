"""Commands that print a user's mistake as one line."""

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from toolkit.errors import FailedPlugin, ToolkitError, did_you_mean, printable
from toolkit.plugins.plugin import plugin_failures
from toolkit.terminal import say

DEBUG = "TOOLKIT_DEBUG"  # an environment variable, so that it works under torchrun and in a recipe's train.py


class Misuse(click.ClickException):
    """A command line that cannot be understood: one line; click's own error takes four."""

    exit_code = 2

    def show(self, file=None) -> None:
        """Print the line on standard error."""
        click.echo(printable(self.message), file=file, err=True)


@contextmanager
def _misuse_in_one_line(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # `toolkit` alone prints its help
        raise
    except click.UsageError as error:
        text = " ".join(error.format_message().split())
        if isinstance(error, click.NoSuchOption):
            options = [option for parameter in ctx.command.get_params(ctx) for option in parameter.opts]
            text = f"No option is called {error.option_name!r}.{did_you_mean(error.option_name, options)}"
        end = "" if text.endswith((".", "?")) else "."
        raise Misuse(f"{ctx.command_path}: {text}{end} See `{ctx.command_path} --help`.") from error


class Command(click.Command):
    """A command that prints a user's mistake, and a plugin's, as one line and exits with 2."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; a mistake in it becomes one line on standard error."""
        with _misuse_in_one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context):
        """Run the command; a ToolkitError becomes one line on standard error, unless TOOLKIT_DEBUG is set."""
        if hasattr(sys.stdout, "reconfigure"):  # names of files are bytes, and a console may lack a label's characters
            utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
            sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "replace")
        try:
            with _misuse_in_one_line(ctx), plugin_failures():
                return super().invoke(ctx)
        except ToolkitError as error:
            if os.environ.get(DEBUG):
                raise
            hint = f" {DEBUG}=1 shows the whole traceback." if isinstance(error, FailedPlugin) else ""
            say(f"{ctx.find_root().info_name}: {error}{hint}")
            ctx.exit(2)


class Commands(click.Group):
    """A group of such commands."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As for a command."""
        with _misuse_in_one_line(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]):
        """Find the command that is named."""
        with _misuse_in_one_line(ctx):
            if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
                near = did_you_mean(args[0], self.list_commands(ctx))
                raise click.UsageError(f"No command is called {args[0]!r}.{near}")
            return super().resolve_command(ctx, args)
