"""What makes two runs the same: the resolved recipe, the manifest, the code of the plugins; no torch."""

import hashlib
import importlib.util
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from toolkit.corpus import Utterance
from toolkit.declarations import OWN
from toolkit.recipe import Recipe
from toolkit.registry import default_registry

LIBRARIES = ("torch", "torchaudio", "speechbrain", "transformers", "numpy")

# Where a run happens, how it is watched and what others found changes nothing that it computes.
IRRELEVANT = {
    "": ("output_folder", "data_folder", "published"),
    "training": ("device", "workers", "checkpoint_minutes", "checkpoint_steps"),
}


def run_hash(
    recipe: Mapping[str, Any],
    manifest: Iterable[Mapping[str, Any]],
    versions: Mapping[str, str],
    pretrained: Mapping[str, str | None] | None = None,
) -> str:
    """Eight hexadecimal digits that change with whatever can change a run's result.

    Args:
        recipe: resolved, plain; keys that cannot change a result are left out here.
        manifest: rows with all that is known of the utterances, their paths relative to the corpus.
        versions: distribution -> `code_version` of it.
        pretrained: level -> the weights it starts from; they may be random today and downloaded tomorrow.

    >>> run_hash({"seed": 1, "output_folder": "a"}, [], {}) == run_hash({"seed": 1, "output_folder": "b"}, [], {})
    True
    >>> run_hash({"seed": 1}, [], {}) == run_hash({"seed": 2}, [], {})
    False
    """
    recipe = {key: value for key, value in recipe.items() if key not in IRRELEVANT[""]}
    if "training" in recipe:
        recipe["training"] = {k: v for k, v in recipe["training"].items() if k not in IRRELEVANT["training"]}
    levels = list(recipe.get("model", {}).get("levels", {}))  # their order decides which weights are drawn first
    identity = json.dumps(
        [recipe, levels, list(manifest), dict(versions), dict(pretrained or {})], sort_keys=True, default=str
    )
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def manifest_rows(utterances: Sequence[Utterance]) -> list[dict[str, Any]]:
    """All that is known of the utterances, their paths relative to the folder that holds all of them."""
    root = os.path.commonpath([utterance.path.parent for utterance in utterances])
    return [{**asdict(utterance), "path": os.path.relpath(utterance.path, root)} for utterance in utterances]


def used_versions(recipe: Recipe) -> dict[str, str]:
    """The `code_version` of every distribution whose plugins a recipe uses, and of the toolkit itself."""
    model, registry = recipe.model, default_registry()
    used = [("corpus", recipe.corpus), ("fusion", model.fusion)]
    families = {"extractor": model.levels, "head": model.heads, "loss": model.losses}
    used += [(kind, spec) for kind, specs in families.items() for spec in specs.values()]
    packages = {OWN: {"toolkit"}}
    for kind, spec in used:
        candidate = registry.find(kind, spec.plugin, spec.where)
        packages.setdefault(candidate.declaration.distribution, set()).add(candidate.spec.module.split(".")[0])
    return {name: code_version(name, found) for name, found in sorted(packages.items())}


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def code_version(name: str, packages: Iterable[str]) -> str:
    """A distribution's version; for an editable install, with a hash of its packages' source behind a "+".

    Args:
        name: the distribution.
        packages: importable top-level names whose source counts.
    """
    # In the folder of its source an editable install is found twice, and only one of the two says that it is one.
    found = [d.read_text("direct_url.json") for d in distributions(name=name)]
    if not any(json.loads(origin or "{}").get("dir_info", {}).get("editable") for origin in found):
        return version(name)
    digest = hashlib.sha256()
    for package in sorted(packages):
        for path in _sources(package):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{version(name)}+{digest.hexdigest()[:8]}"


def _sources(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    return sorted(p for f in folders for p in f.rglob("*.py")) or [Path(spec.origin)]
