"""Throw-away distributions: a folder with a module and a .dist-info, installed where it is on the path."""

from pathlib import Path

from toolkit.plugins.kinds import KINDS

GOOD = """
from toolkit import PluginSpec, hookimpl

@hookimpl
def toolkit_register():
    return [PluginSpec({kind!r}, {name!r}, {target!r}, "A throw-away plugin", contract={contract!r})]
"""


def install(
    folder: Path,
    distribution: str,
    source: str,
    *,
    version: str = "1.0",
    entry_points: str | None = None,
    files: dict[str, str] | None = None,
) -> str:
    """Write a distribution whose declaration module holds `source`; returns the module's name."""
    module = distribution.replace("-", "_") + "_declaration"
    metadata = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(entry_points or f"[toolkit]\nplugins = {module}\n")
    (folder / f"{module}.py").write_text(source)
    for name, text in (files or {}).items():
        (folder / name).write_text(text)
    return module


def good(kind: str, name: str, target: str = "", *, contract: str = "") -> str:
    """A declaration of one plugin that works; its class is the contract's own where none is given."""
    return GOOD.format(kind=kind, name=name, target=target or KINDS[kind].base, contract=contract)
