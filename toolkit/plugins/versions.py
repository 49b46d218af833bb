"""Versions of the distributions and libraries that a recipe uses, with a hash of source that may change. No torch."""

import hashlib
import platform
from functools import cache
from importlib.metadata import distributions, version

from toolkit.files import DISTRIBUTION
from toolkit.plugins.declarations import source_files
from toolkit.plugins.kinds import parts
from toolkit.plugins.registry import find_part
from toolkit.recipe.schema import Recipe

LIBRARIES = ("torch", "torchaudio", "speechbrain", "transformers", "numpy", "soundfile", "soxr")


def used_versions(recipe: Recipe) -> dict[str, str]:
    """The `code_version` of every distribution whose plugins a recipe uses, and of the toolkit itself."""
    packages = {DISTRIBUTION: {"toolkit"}}
    for kind, _, part in parts(recipe):
        plugin = find_part(kind.name, part)
        packages.setdefault(plugin.declaration.distribution, set()).add(plugin.package)
    return {name: code_version(name, frozenset(found)) for name, found in sorted(packages.items())}


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


@cache
def code_version(name: str, packages: frozenset[str]) -> str:
    """A distribution's version; if no package index gave it, followed by "+" and a hash of its packages' source.

    A process keeps what it found first: its modules are those of that time, even if their source changes.
    """
    # A folder, a file or a repository may later hold other source of the same version, an index may not.
    # Inside its source folder an editable install is found twice; only one of the two has a direct_url.json.
    if not any(d.read_text("direct_url.json") for d in distributions(name=name)):
        return version(name)
    digest = hashlib.sha256()
    for package in sorted(packages):
        for path in source_files(package):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{version(name)}+{digest.hexdigest()[:8]}"
