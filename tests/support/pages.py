"""The pages of docs/ and the READMEs, and what they show: blocks of code, tables, commands."""

import re
import shutil
from pathlib import Path

import toolkit

ROOT = Path(toolkit.__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
READMES = [path for folder in ("recipes", "examples") for path in sorted((ROOT / folder).glob("*/README.md"))]
SHOWN = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", *READMES]
SHELL = ("sh", "bash", "console", "shell")


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in some languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def without_fences(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def named(page: Path, language: str) -> dict[str, str]:
    """The blocks that say in their first line where they stand: file -> text."""
    return {text.partition("\n")[0].removeprefix("# "): text for text in blocks(page, language)}


def table(page: Path, header: str, *, after: str = "") -> list[list[str]]:
    """The rows of the first table, after some line, whose first column is called so, without the marks of code."""
    lines = page.read_text().splitlines()
    lines = lines[lines.index(after) :] if after else lines
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    return rows


def command_lines() -> list[tuple[str, str]]:
    """Page and command, of every toolkit, python and make command in a shell block or in indented code."""
    found = []
    for page in SHOWN:
        indented = re.findall(r"^ {4}(\S.*)$", without_fences(page), re.MULTILINE)
        for text in [*blocks(page, *SHELL), "\n".join(indented)]:
            for line in text.replace("\\\n", " ").splitlines():
                line = line.removeprefix("$ ").strip()
                if re.match(r"(toolkit|python|make) ", line):
                    found.append((page.relative_to(ROOT).as_posix(), line))
    return found


def copy_of_recipes(root: Path) -> Path:
    """A copy of recipes/ in a folder, with the recipes that the pages show."""
    shutil.copytree(ROOT / "recipes", root / "recipes")
    for page in PAGES:
        for name, text in named(page, "yaml").items():
            if (root / name).exists():
                there = (root / name).read_text()
                assert text.partition("\n")[2] == there, f"{page.name} shows another {name} than there is"
            (root / name).write_text(text)
    return root
