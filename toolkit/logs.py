"""What libraries may say on a terminal: warnings of ours as one line each, nothing of theirs below a warning."""

import logging

import click


class LineHandler(logging.Handler):
    """Prints each record as one line on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
        click.echo(f"{record.levelname}: {record.getMessage()}", err=True)


def quiet_libraries() -> None:
    """Route the `toolkit` logger to standard error; libraries are heard from warnings on."""
    logger = logging.getLogger("toolkit")
    if not any(isinstance(handler, LineHandler) for handler in logger.handlers):
        logger.addHandler(LineHandler())
    logger.propagate = False
    for name in ("speechbrain", "transformers"):
        logging.getLogger(name).setLevel(logging.WARNING)
