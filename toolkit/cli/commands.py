"""Commands that print a user's mistake as one line."""

import codecs
import io
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from toolkit.errors import FailedPlugin, ToolkitError, did_you_mean, printable
from toolkit.plugins.plugin import plugin_failures
from toolkit.terminal import say

DEBUG = "TOOLKIT_DEBUG"  # the same as --traceback, also under torchrun and in workers
INTERRUPTED, READER_GONE = 128 + 2, 128 + 13  # exit codes of a process that SIGINT or SIGPIPE ends
RESUMED = ("train", "experiment", "tune")  # commands that continue where they were interrupted


def say_next(*words: object, what: str = "") -> None:
    """Print a command's last line: the command to give next."""
    say(f"Next{what}: toolkit {shlex.join(map(str, words))}")


@contextmanager
def _in_one_line(ctx: click.Context, *, traceback: bool = False) -> Iterator[None]:
    """End the command with one line on standard error, or none, for everything that is not a bug in the toolkit."""
    name = ctx.find_root().info_name
    _replace_closed_streams()
    try:
        yield
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError:  # `toolkit` alone prints its help
        raise
    except click.UsageError as error:
        text = printable(error.format_message())
        if isinstance(error, click.NoSuchOption):
            options = [option for parameter in ctx.command.get_params(ctx) for option in parameter.opts]
            text = printable(f"No option is called {error.option_name!r}.{did_you_mean(error.option_name, options)}")
        end = "" if text.endswith((".", "?")) else "."
        _end(ctx, f"{ctx.command_path}: {text}{end} See `{ctx.command_path} --help`.", 2)  # click takes four lines
    except (KeyboardInterrupt, click.Abort) as error:
        if not isinstance(error, KeyboardInterrupt) and not isinstance(error.__context__, KeyboardInterrupt):
            raise  # the user declined
        again = " The same command continues where this one stopped." if ctx.command.name in RESUMED else ""
        _end(ctx, f"{name}: Stopped.{again}", INTERRUPTED)
    except ToolkitError as error:
        if traceback:
            raise
        hint = " --traceback shows the whole traceback." if isinstance(error, FailedPlugin) else ""
        _end(ctx, f"{name}: {error}{hint}", 2)
    except BrokenPipeError:  # the reader of the output has gone away
        _end(ctx, "", READER_GONE)
    except OSError as error:
        if traceback:
            raise
        what = f"{error.filename}: " if error.filename else "The output cannot be written: "
        _end(ctx, f"{name}: {what}{error.strerror or error}", 2)


def _replace_closed_streams() -> None:
    """Give closed streams a file: writing results then fails, as on a full disk, and messages are dropped."""
    for stream, mode in (("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, stream) is None:
            setattr(sys, stream, os.fdopen(os.open(os.devnull, mode), "w", closefd=False))


def _end(ctx: click.Context, text: str, code: int) -> None:
    with suppress(OSError):  # nobody reads standard error either
        if text:
            say(text)
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = io.StringIO()  # Python's own flush at the end would fail, too
    ctx.exit(code)


class Command(click.Command):
    """A command that prints a user's mistake, and a plugin's, as one line and exits with 2."""

    def __init__(self, *args, params: list[click.Parameter] | None = None, **kwargs):
        shown = "Show the whole traceback of an error."
        traceback = click.Option(["--traceback"], is_flag=True, envvar=DEBUG, help=shown)
        super().__init__(*args, params=[*(params or ()), traceback], **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; a mistake in it becomes one line on standard error."""
        with _in_one_line(ctx):
            if any("\0" in word for word in args):
                raise click.UsageError("an argument holds a NUL, which no file name can")
            rest = super().parse_args(ctx, args)
            for parameter in self.params:
                value = ctx.params.get(parameter.name)
                values = value if isinstance(value, tuple) else (value,)
                if isinstance(parameter, click.Option) and "" in values:
                    found = "is empty: leave it out or give a value" if values == ("",) else "holds an empty name"
                    raise click.UsageError(f"{parameter.opts[0]} {found}")
            return rest

    def invoke(self, ctx: click.Context):
        """Run the command; without --traceback, a mistake or an operating system's error becomes one line."""
        if hasattr(sys.stdout, "reconfigure"):  # file names are bytes, and a console may lack a label's characters
            utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
            sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "replace")
        traceback = ctx.meta[DEBUG] = ctx.params.pop("traceback")
        with _in_one_line(ctx, traceback=traceback), plugin_failures():
            return super().invoke(ctx)


class Commands(click.Group):
    """A group whose own mistakes are one line, as a `Command`'s are."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line as `Command` does."""
        with _in_one_line(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]):
        """Find the command that is named."""
        with _in_one_line(ctx):
            if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
                near = did_you_mean(args[0], self.list_commands(ctx))
                raise click.UsageError(f"No command is called {args[0]!r}.{near}")
            return super().resolve_command(ctx, args)
