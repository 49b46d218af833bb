"""Bundles on the Hugging Face hub: only a bundle's own files are fetched, and none of them is code."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import BundleError, one_line
from toolkit.files import DISTRIBUTION, parse_json
from toolkit.model.archive import CONFIG, FILES, ONNX, read_file
from toolkit.terminal import say

PREFIX = "hf:"


def on_hub(name: str | Path) -> tuple[str, str] | None:
    """Repository and revision of hf:USER/NAME[@REVISION], None for a path. Raises: BundleError for other hf:..."""
    if not str(name).startswith(PREFIX):
        return None
    if not (match := re.fullmatch(r"hf:([\w.-]{1,96}/[\w.-]{1,96})(?:@([\w./-]+))?", str(name), re.ASCII)):
        raise BundleError(f"{name} is not a bundle on the hub: hf:USER/NAME or hf:USER/NAME@REVISION is needed.")
    return match[1], match[2] or "main"


def local_bundle(name: str | Path) -> Path:
    """The path of a bundle on this machine; one on the hub is fetched first. Raises: BundleError if that fails."""
    if not (named := on_hub(name)):
        return Path(os.path.expanduser(name))
    from huggingface_hub import snapshot_download

    repository, revision = named
    with _in_one_line(str(name)):
        folder = snapshot_download(repository, revision=revision, allow_patterns=[CONFIG])
        config = Path(folder) / CONFIG
        if not os.path.isfile(config) or b'"format_version"' not in config.read_bytes():  # before fetching the weights
            raise BundleError(f"{name} is not a bundle: it has no {CONFIG} of one.")
        wanted = [name for name in FILES if name != ONNX]  # which the toolkit does not read
        folder = snapshot_download(repository, revision=Path(folder).name, allow_patterns=wanted)
    if (commit := Path(folder).name) != revision:
        say(f"{name} is {PREFIX}{repository}@{commit}")
    return Path(folder)


def pinned(name: str) -> str:
    """The name of a bundle, with its commit if it is on the hub."""
    return f"{PREFIX}{named[0]}@{local_bundle(name).name}" if (named := on_hub(name)) else name


def push_bundle(path: Path, repository: str) -> str:
    """Push a bundle in one commit, and return its name there; a new repository is private. Raises: BundleError."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    names, api = [CONFIG, *parse_json(read_file(path, CONFIG))["files"]], HfApi(library_name=DISTRIBUTION)
    with _in_one_line(f"{PREFIX}{repository}"):
        api.create_repo(repository, exist_ok=True, private=True)
        stale = [name for name in api.list_repo_files(repository) if name in FILES and name not in names]
        changes = [CommitOperationAdd(name, read_file(path, name)) for name in names]
        changes += [CommitOperationDelete(name) for name in stale]
        return f"{PREFIX}{repository}@{api.create_commit(repository, changes, commit_message='A bundle').oid}"


@contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    """Turn errors of the hub into a BundleError of one line; draw progress only on a terminal."""
    from huggingface_hub import errors, utils

    if not sys.stderr.isatty():
        utils.disable_progress_bars()
    log_in = "`hf auth login` or HF_TOKEN tells the hub who you are"
    reasons = {
        errors.GatedRepoError: f"it is gated: agree to the terms on its page; {log_in}.",
        errors.RepositoryNotFoundError: f"it is not on the hub, or it is private: check the name; {log_in}.",
        errors.RevisionNotFoundError: "the hub has it, but not this revision: name a branch, a tag or a commit.",
        errors.HfHubHTTPError: f"the hub refuses it: {log_in}",
        errors.LocalEntryNotFoundError: "it is not in the hub's cache, and the hub cannot be reached",
        Exception: "the hub cannot be used",
    }
    try:
        yield
    except (OSError, ValueError, RuntimeError, errors.HTTPError) as error:
        reason = next(text for kind, text in reasons.items() if isinstance(error, kind))
        cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError | RuntimeError) else error
        details = "" if reason.endswith(".") else f" ({one_line(cause)})."
        raise BundleError(f"{name}: {reason}{details}") from error
