"""Serves the page until Ctrl-C or a signal; uploads lie in a private folder that is deleted at the end."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from toolkit.errors import PredictionError, one_line
from toolkit.files import DISTRIBUTION
from toolkit.inference.demo.page import STYLE, DemoSystem, Page
from toolkit.model.hub import on_hub
from toolkit.statistics.confidence import read_rule
from toolkit.terminal import say

EVERY_S = 60.0  # how often uploads that were never labelled are deleted
KEPT_S = 6 * 3600.0  # how long they are kept: other recordings may be labelled first
POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"  # whatever links a card holds
ALONE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*", "no_proxy": "*"}
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # of the reader's machine


def demo(
    bundles: Sequence[str],
    *,
    host: str,
    port: int | None,
    max_minutes: float,
    max_megabytes: float,
    abstain: str,
    hop_s: float | None,
    device: str | None,
) -> None:
    """Serve the page with the options of `toolkit demo`, until the process is asked to end."""
    if find_spec("gradio") is None:
        raise PredictionError(f"demo needs gradio: pip install '{DISTRIBUTION}[demo]'.")
    try:
        socket.create_server((host, port or 0)).close()
    except (OSError, UnicodeError) as error:
        where = f"{f'port {port} of ' if port else ''}{host} ({one_line(error)})"
        raise PredictionError(f"The page cannot be served at {where}: choose another --port or --host.") from None
    short = [name if on_hub(name) else Path(name).absolute().name for name in bundles]
    names = short if len(set(short)) == len(short) else bundles
    systems = [DemoSystem.read(bundle, name, device) for bundle, name in zip(bundles, names, strict=True)]
    for model in (system.model for system in systems):  # wrong options are refused before the page is served
        model.usage.hop_samples(hop_s)
        model.threshold(abstain)
    page = Page(systems, max_minutes, read_rule(abstain), hop_s)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with (
        TemporaryDirectory(prefix="toolkit-demo-") as folder,
        served(page, folder, host=host, port=port, max_megabytes=max_megabytes) as url,
    ):
        if host not in ("127.0.0.1", "localhost"):
            say(f"NOTE: anyone who can reach {host} from another machine can use the page, too.")
        say("The page is served until Ctrl-C:")
        click.echo(url)
        while True:
            time.sleep(EVERY_S)
            sweep(Path(folder), KEPT_S)


def sweep(folder: Path, kept_s: float) -> None:
    """Delete files that are older than `kept_s` seconds: uploads that were never labelled, or never complete."""
    for path in folder.rglob("*"):
        with suppress(OSError):  # labelled just now
            if os.path.isfile(path) and time.time() - path.stat().st_mtime > kept_s:
                path.unlink()


@contextmanager
def served(page: Page, folder: str, *, host: str, port: int | None, max_megabytes: float) -> Iterator[str]:
    """Serve the page inside the `with` block, with uploads of up to max_megabytes in `folder`; yields its address."""
    os.environ |= {**ALONE, "GRADIO_TEMP_DIR": folder}
    import gradio
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware

    blocks = page.blocks()
    _, url, _ = blocks.launch(
        server_name=host,
        server_port=port,
        max_file_size=int(max_megabytes * 2**20),
        theme=gradio.themes.Base(**FONTS),
        head=f"<style>{STYLE}</style>",  # gradio itself would drop rules that it does not know
        app_kwargs={"middleware": [Middleware(BaseHTTPMiddleware, dispatch=_restrict_sources)]},
        share=False,
        ssr_mode=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        quiet=True,
        prevent_thread_lock=True,
    )
    try:
        yield url
    finally:
        blocks.close(verbose=False)


async def _restrict_sources(request: Any, answer: Callable) -> Any:
    """Tell the browser with every response to load nothing from other machines."""
    response = await answer(request)
    response.headers["Content-Security-Policy"] = POLICY
    return response
