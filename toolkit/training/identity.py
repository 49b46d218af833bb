"""A run's identity: a hash of the resolved recipe, the manifest and the plugins' code. Imports no torch."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from toolkit.corpus import Utterance

# Keys that do not change a run's result. `init_from` is only a path: the hash of its weights counts, as `pretrained`
# of `run_hash`.
IRRELEVANT = {
    "": ("output_folder", "data_folder", "published"),
    "training": ("device", "workers", "checkpoint_minutes", "checkpoint_steps", "loggers", "init_from"),
}


def run_hash(
    recipe: Mapping[str, Any],  # resolved, plain
    manifest: Iterable[Mapping[str, Any]],  # from `manifest_rows`
    versions: Mapping[str, str],  # distribution -> its `code_version`
    # level -> which weights it starts from, since `random` now may be a download later
    pretrained: Mapping[str, str | None] | None = None,
) -> str:
    """Eight hexadecimal digits that change with anything that can change a run's result, except the content of files.

    Audio counts by its files' names, pre-trained weights by the name that their level gives them.
    """
    recipe = {key: value for key, value in recipe.items() if key not in IRRELEVANT[""]}
    if "training" in recipe:
        recipe["training"] = {k: v for k, v in recipe["training"].items() if k not in IRRELEVANT["training"]}
    # the order of a model's parts decides which weights are drawn first
    families = [recipe.get("model", {}).get(name, {}) for name in ("levels", "covariates", "heads", "losses")]
    ordered = [*map(list, families), list(recipe.get("augmentations", {}))]
    identity = json.dumps(
        [recipe, ordered, list(manifest), dict(versions), dict(pretrained or {})], sort_keys=True, default=str
    )
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def manifest_rows(utterances: Sequence[Utterance]) -> list[dict[str, Any]]:
    """All fields of the utterances, with paths relative to the folder that holds all of them."""
    root = os.path.commonpath([utterance.path.parent for utterance in utterances])
    return [{**asdict(utterance), "path": os.path.relpath(utterance.path, root)} for utterance in utterances]
