"""Hooks of mkdocs: what pages link to outside of docs/ comes into the site, and such links lead there.

On GitHub a link is a path from the page's file. The site has the pages of docs/ at its root and other files at their
path from the repository's root; the root's README is its first page.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\])\((?!\w+:|#)([^)#\s]+)([^)\s]*)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside and is linked to, and what that links to."""
    todo = list(files.documentation_pages())
    while todo:
        page = todo.pop()
        for found in LINK.finditer(_text(page)):
            path = _in_repository(page, found[1])
            uri = _in_site(path)
            if path and (ROOT / path).is_file() and files.get_file_from_path(uri) is None:
                new = File.generated(config, uri, abs_src_path=str(ROOT / path))
                files.append(new)
                todo += [new] if new.is_documentation_page() else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site needs them; one to a folder of source code becomes its text."""
    text = re.sub(r"\[([^\]]+)\]\(([^)#\s:]+)\)", _without_folders(page.file), markdown)
    return LINK.sub(lambda found: f"({_relative(page.file, found[1])}{found[2]})", text)


def _without_folders(page: File) -> Callable[[re.Match], str]:
    def replace(found: re.Match) -> str:
        path = ROOT / _in_repository(page, found[2])
        return found[1] if path.is_dir() and not (path / "README.md").is_file() else found[0]

    return replace


def _relative(page: File, target: str) -> str:
    return posixpath.relpath(_in_site(_in_repository(page, target)), posixpath.dirname(page.src_uri) or ".")


def _in_repository(page: File, target: str) -> str:
    """The path, from the repository's root, of what a page links to."""
    folder = Path(page.abs_src_path).parent.relative_to(ROOT).as_posix()
    path = posixpath.normpath(posixpath.join(folder, target))
    return posixpath.join(path, "README.md") if (ROOT / path / "README.md").is_file() else path


def _in_site(path: str) -> str:
    return "README.md" if path == "README.md" else path.removeprefix("docs/")


def _text(page: File) -> str:
    return Path(page.abs_src_path).read_text(encoding="utf-8")
