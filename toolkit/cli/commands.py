"""Commands that print a user's mistake as one line."""

import io
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from toolkit.errors import FailedPlugin, ToolkitError, one_line
from toolkit.plugins.plugin import plugin_failures
from toolkit.terminal import quiet_libraries, say

DEBUG = "TOOLKIT_DEBUG"  # the same as --traceback, also under torchrun and in workers
INTERRUPTED, READER_GONE = 128 + 2, 128 + 13  # exit codes of a process that SIGINT or SIGPIPE ends
RESUMED = ("train", "experiment", "tune")  # commands that continue where they were interrupted


def say_next(*words: object, what: str = "") -> None:
    """Print a command's last line: the command to run next."""
    say(f"Next{what}: toolkit {shlex.join(map(str, words))}")


@contextmanager
def _in_one_line(ctx: click.Context) -> Iterator[None]:
    """End the command with one line on standard error whatever goes wrong; --traceback lets errors through."""
    name = ctx.find_root().info_name
    try:
        with plugin_failures():
            yield
        sys.stdout.flush()
    except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):  # a group alone prints its help
        raise
    except click.UsageError as error:
        where = (error.ctx or ctx).command_path
        _end(ctx, f"{where}: {error.format_message()} See `{where} --help`.", 2)  # click takes four lines
    except (KeyboardInterrupt, click.Abort) as error:
        if KeyboardInterrupt not in (type(error), type(error.__context__)):
            raise  # the user declined
        again = " The same command continues where this one stopped." if ctx.command.name in RESUMED else ""
        _end(ctx, f"{name}: Stopped.{again}", INTERRUPTED)
    except BrokenPipeError:  # the reader of the output has gone away
        _end(ctx, "", READER_GONE)
    except Exception as error:
        if ctx.meta.get(DEBUG):
            raise
        _end(ctx, f"{name}: {_sentence(error)}", 2)


def _sentence(error: Exception) -> str:
    hint = "--traceback shows the whole traceback."
    if isinstance(error, OSError):
        return f"{error.filename or 'The output cannot be written'}: {error.strerror or error}"
    if isinstance(error, FailedPlugin):
        return f"{error} {hint}"
    return str(error) if isinstance(error, ToolkitError) else f"{one_line(error)}; {hint}"


def _end(ctx: click.Context, text: str, code: int) -> None:
    with suppress(OSError):  # nobody reads standard error either
        if text:
            say(text)
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = io.StringIO()  # Python's own flush at the end would fail, too
    ctx.exit(code)


class _InOneLine(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _in_one_line(ctx):
            rest = super().parse_args(ctx, args)
            for option in (parameter for parameter in self.params if isinstance(parameter, click.Option)):
                if ctx.params.get(option.name) in ("", ("",)):  # as from a variable that is not set
                    raise click.UsageError(f"{option.opts[0]} is empty: leave it out or give a value.")
            return rest

    def invoke(self, ctx: click.Context):
        with _in_one_line(ctx):
            return super().invoke(ctx)


class Command(_InOneLine):
    """A command that prints a user's mistake, and a plugin's, as one line and exits with 2."""

    def __init__(self, *args, params: list[click.Parameter] | None = None, **kwargs):
        shown = "Show the whole traceback of an error."
        traceback = click.Option(["--traceback"], is_flag=True, envvar=DEBUG, help=shown)
        super().__init__(*args, params=[*(params or ()), traceback], **kwargs)

    def invoke(self, ctx: click.Context):
        """Run the command; without --traceback, an error becomes one line."""
        if hasattr(sys.stdout, "reconfigure"):  # file names are bytes, and a console may lack a label's characters
            utf8 = sys.stdout.encoding.lower().startswith("utf")
            sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "replace")
        quiet_libraries()
        ctx.meta[DEBUG] = ctx.params.pop("traceback")
        return super().invoke(ctx)


class Commands(_InOneLine, click.Group):
    """A group whose line, and whose commands' lines, are read and run as a `Command`'s."""

    command_class = Command
