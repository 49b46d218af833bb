"""A hub on loopback with what huggingface_hub needs of one to create, commit, list and fetch; nothing is on a disk."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
import yaml

WRITES = "hf_may_write"  # the one token there is
ERRORS = {"RepoNotFound": 404, "GatedRepo": 403, "RevisionNotFound": 404, "EntryNotFound": 404}


class Refused(Exception):  # noqa: N818
    """An answer of the hub that is an error, by its code."""


class SmallHub:
    """Repositories: name -> commits, each file -> bytes, the last one is main; what was asked for, in `asked`."""

    def __init__(self):
        self.repositories: dict[str, list[dict[str, bytes]]] = {}
        self.gated: set[str] = set()
        self.private: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []

    def commit(self, name: str, **files: bytes) -> str:
        """Add a commit that changes these files (None removes one); returns its hash."""
        commits = self.repositories.setdefault(name, [{}])
        changed = commits[-1] | files
        commits.append({path: data for path, data in changed.items() if data is not None})
        return self.sha(name, len(commits) - 1)

    @staticmethod
    def sha(name: str, number: int) -> str:
        return hashlib.sha1(f"{name} {number}".encode()).hexdigest()

    def files(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        """The commit of a revision, and its files."""
        if name not in self.repositories:
            raise Refused("RepoNotFound")
        known = {self.sha(name, number): files for number, files in enumerate(self.repositories[name])}
        commit = list(known)[-1] if revision == "main" else revision
        if commit not in known:
            raise Refused("RevisionNotFound")
        return commit, known[commit]


class Handler(BaseHTTPRequestHandler):
    """The endpoints, by method and path."""

    protocol_version = "HTTP/1.1"
    hub: SmallHub

    def log_message(self, *words):
        """Nothing is printed."""

    def answer(self, value=b"", status: int = 200, **headers: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for key, text in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(key.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def handle_any(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append(f"{self.command} {path}")
        try:
            for method, pattern, function in ROUTES:
                if self.command in method and (found := re.fullmatch(pattern, path)):
                    return function(self, *found.groups(), **({"body": body} if "P" in method else {}))
            raise Refused("EntryNotFound")
        except Refused as error:
            code = str(error)
            return self.answer({"error": code}, ERRORS.get(code, 401), X_Error_Code=code)

    def __getattr__(self, name: str):
        """The server calls do_GET and its like."""
        if name.startswith("do_"):
            return self.handle_any
        raise AttributeError(name)

    def create(self, body: bytes) -> None:
        if self.headers.get("Authorization") != f"Bearer {WRITES}":
            raise Refused("Unauthorized")
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        there = name in self.hub.repositories
        self.hub.repositories.setdefault(name, [{}])
        if asked["visibility"] == "private" and not there:
            self.hub.private.add(name)
        self.answer({"url": f"http://{self.headers['Host']}/{name}"}, 409 if there else 200)

    def validate(self, body: bytes) -> None:
        """The hub refuses metadata that is not YAML or not what it knows."""
        text = json.loads(body)["content"]
        values = yaml.safe_load(text.split("---\n")[1]) if text.startswith("---\n") else {}
        known = values.get("license", "mit") in ("mit", "apache-2.0", "cc-by-nc-4.0")
        errors = [] if known else [{"message": '"license" must be one of [mit, apache-2.0, cc-by-nc-4.0]'}]
        self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, name: str, body: bytes) -> None:
        modes = {True: "lfs", False: "regular"}
        paths = [file["path"] for file in json.loads(body)["files"]]
        files = [{"path": p, "uploadMode": modes[p.endswith(".safetensors")], "shouldIgnore": False} for p in paths]
        self.answer({"files": files})

    def batch(self, name: str, body: bytes) -> None:
        asked = json.loads(body)["objects"]
        where = f"http://{self.headers['Host']}/blobs"
        objects = [o | {"actions": {"upload": {"href": f"{where}/{o['oid']}"}}} for o in asked]
        self.answer({"transfer": "basic", "objects": objects})

    def upload(self, oid: str, body: bytes) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.blobs[oid] = body
        self.answer()

    def write_commit(self, name: str, body: bytes) -> None:
        changes = {}
        for line in map(json.loads, body.splitlines()):
            key, value = line["key"], line["value"]
            if key == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                changes[value["path"]] = self.hub.blobs[value["oid"]]
            elif key == "deletedFile":
                changes[value["path"]] = None
        commit = self.hub.commit(name, **changes)
        self.answer({"commitUrl": f"http://{self.headers['Host']}/{name}/commit/{commit}", "commitOid": commit})

    def info(self, name: str, revision: str | None) -> None:
        commit, files = self.hub.files(name, revision or "main")
        self.answer({"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in files]})

    def tree(self, name: str, revision: str) -> None:
        _, files = self.hub.files(name, revision)
        self.answer([{"type": "file", "path": p, "size": len(d), "oid": etag(d)} for p, d in files.items()])

    def resolve(self, name: str, revision: str, path: str) -> None:
        commit, files = self.hub.files(name, revision)
        if name in self.hub.gated:
            raise Refused("GatedRepo")
        if path not in files:
            raise Refused("EntryNotFound")
        self.answer(files[path], ETag=f'"{etag(files[path])}"', X_Repo_Commit=commit)


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate),
    ("POST", rf"/api/models/{NAME}/preupload/main", Handler.preupload),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/blobs/(\w+)", Handler.upload),
    ("POST", rf"/api/models/{NAME}/commit/main", Handler.write_commit),
    ("GET", rf"/api/models/{NAME}(?:/revision/(.+))?", Handler.info),
    ("GET", rf"/api/models/{NAME}/tree/(.+)", Handler.tree),
    ("GET HEAD", rf"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
]


def etag(data: bytes) -> str:
    """Of a file's content."""
    return hashlib.sha1(data).hexdigest()


@contextmanager
def small_hub(cache, token: str = WRITES) -> Iterator[SmallHub]:
    """Serve one, and have huggingface_hub use it, with its cache in a folder, as its environment variables do."""
    from huggingface_hub import constants

    hub = SmallHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", address)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setenv("HF_TOKEN", token)
        yield hub
    server.shutdown()
    server.server_close()
