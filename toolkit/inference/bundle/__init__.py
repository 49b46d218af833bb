"""Bundles: a trained system with everything needed to use it elsewhere but its plugins' code, in a folder or one .zip.

Importing this package is light; torch is imported when a system is built.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import BundleError, ToolkitError, one_line
from toolkit.inference.bundle.config import CONFIG, BundleConfig, Usage, read_config
from toolkit.model.archive import CARD, WEIGHTS, read_file, read_weights
from toolkit.model.hub import local_bundle
from toolkit.model.seen import UNSEEN, Seen

if TYPE_CHECKING:
    from toolkit.model.system import System


@dataclass(frozen=True, eq=False)
class Bundle:
    """An exported system, in eval() mode and on the CPU."""

    path: Path
    config: BundleConfig
    system: "System"
    seen: Seen = UNSEEN

    @property
    def usage(self) -> Usage:
        """How audio goes in and what comes out."""
        return self.config.usage


def read_bundle(path: str | Path) -> Bundle:
    """Read a folder, a .zip, or hf:USER/NAME[@REVISION], which is fetched first; a BundleError says what is wrong."""
    given, path = path, local_bundle(path)
    try:
        config = read_config(read_file(path, CONFIG))
        hashes = {name: facts.sha256 for name, facts in config.files.items()}
        read_file(path, CARD, sha256=hashes[CARD])
        seen = Seen.read(path, hashes)
        weights = read_weights(path, sha256=hashes[WEIGHTS])
        from toolkit.inference.bundle.restoring import restore_system

        system = restore_system(config, weights)
    except (ToolkitError, LookupError, TypeError, ValueError) as error:  # others: values that contradict each other
        text = str(error) if isinstance(error, ToolkitError) else f"its files contradict each other: {one_line(error)}"
        text = text.removeprefix(f"{path}: ")
        named = text.startswith((f"{path} ", "No bundle"))
        raise BundleError(text if named else f"{given}: {text}") from error
    return Bundle(path, config, system, seen)
