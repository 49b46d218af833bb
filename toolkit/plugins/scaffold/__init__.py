"""A package for a plugin of one's own, written from templates: `toolkit new-plugin`."""

import contextlib
import keyword
import re
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from toolkit.errors import PluginError
from toolkit.hookspecs import CONTRACT_VERSION
from toolkit.plugins.catalogue import Catalogue, check_kind
from toolkit.plugins.declarations import OWN

TEMPLATES = Path(__file__).parent / "template"
SUMMARIES = {
    "extractor": "Level, zero crossings and spectral centroid of short frames",
    "fusion": "Mean over time of every level, projected and averaged",
    "head": "Cosine to a learned direction for each class",
    "loss": "Focal loss: cross entropy in which easy rows count less",
    "corpus": "Recordings in one folder for each class",
}
# Names that the templates import: a class called so would hide them.
IMPORTED = ("Corpus", "CorpusError", "Extractor", "Fusion", "Head", "LevelShape", "Loss", "Mapping", "Path", "Seq")
TAKEN_CLASSES = frozenset({*IMPORTED, "Tensor", "Utterance"})
TAKEN_MODULES = frozenset({"tests"})


@dataclass(frozen=True)
class Package:
    """The names in a plugin's package.

    Args:
        kind: one of the kinds.
        name: of the plugin and of the distribution, as "my-prosody".

    Raises:
        PluginError: if there is no such kind, or the name cannot name a distribution, a module and a class.
    """

    kind: str
    name: str

    def __post_init__(self):
        check_kind(self.kind)
        if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", self.name):
            near = "-".join(re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", self.name).lower()))
            hint = f" Write {near!r}." if re.match("[a-z]", near) else ""
            raise PluginError(
                f"A plugin cannot be called {self.name!r}: words of lower case letters and digits, joined by '-', the "
                f"first character a letter.{hint}"
            )
        if keyword.iskeyword(self.module) or self.module in TAKEN_MODULES or self.class_name in TAKEN_CLASSES:
            raise PluginError(f"A plugin cannot be called {self.name!r}: the name has a meaning in its package.")

    @property
    def module(self) -> str:
        """The importable package: my_prosody."""
        return self.name.replace("-", "_")

    @property
    def source(self) -> str:
        """Its folder inside the package's: src/my_prosody."""
        return f"src/{self.module}"

    @property
    def class_name(self) -> str:
        """The plugin's class: MyProsody."""
        return "".join(word.capitalize() for word in re.split("[-_]", self.name))

    @property
    def article(self) -> str:
        """Of the kind: a or an."""
        return "an" if self.kind == "extractor" else "a"

    def files(self) -> dict[str, str]:
        """Path inside the package's folder -> template.

        The module lies in src/: the package's folder may have its name, and would hide it beside that folder.
        """
        found = {
            "pyproject.toml": "package/pyproject.toml.j2",
            "README.md": "package/README.md.j2",
            f"{self.name}.yaml": f"{self.kind}/recipe.yaml.j2",
            f"{self.source}/__init__.py": "package/declaration.py.j2",
            f"{self.source}/{self.kind}.py": f"{self.kind}/component.py.j2",
            f"tests/test_{self.module}.py": f"{self.kind}/test.py.j2",
        }
        if self.kind == "corpus":
            found[f"{self.source}/sounds.py"] = "corpus/sounds.py.j2"
        return found

    def render(self) -> dict[str, str]:
        """Path inside the package's folder -> content."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
            autoescape=False,  # it is Python, YAML and TOML; all names are checked
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        names = {
            "kind": self.kind,
            "name": self.name,
            "module": self.module,
            "source": self.source,
            "class_name": self.class_name,
            "article": self.article,
            "summary": SUMMARIES[self.kind],
            "contract": f">={CONTRACT_VERSION},<{CONTRACT_VERSION + 1}",
            "toolkit_version": version(OWN),
        }
        return {path: environment.get_template(template).render(names) for path, template in self.files().items()}


def write_package(catalogue: Catalogue, kind: str, name: str, *, folder: str | Path | None = None) -> Path:
    """Write a package with a plugin that works as it is.

    Args:
        catalogue: the plugins that there are.
        kind: one of the kinds.
        name: of the plugin.
        folder: where to; a folder of that name in the working directory where None.

    Returns:
        The folder. It appears whole or not at all.

    Raises:
        PluginError: if the kind or the name is none, the name is taken, or the folder is there or cannot be written.
    """
    package = Package(kind, name)
    _refuse_taken(catalogue, package)
    folder = Path(name if folder is None else folder)
    if folder.exists():
        raise PluginError(f"{folder} is there already; name another folder with --output DIR.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        try:
            for path, text in package.render().items():
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                (partial / path).write_text(text, encoding="utf-8")
            partial.chmod(0o755)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise PluginError(f"{folder} cannot be written: {error.strerror or error}.") from None
    return folder


def next_commands(kind: str, name: str, folder: Path) -> str:
    """What to type next, for a reader."""
    package, place = Package(kind, name), shlex.quote(str(folder))
    data = " --data_folder sounds" if kind == "corpus" else ""
    source = folder / package.source / f"{kind}.py"
    lines = [
        f"{folder} holds {package.article} {kind} that works as it is. The class is in {source}. Next:",
        "",
        f"    cd {place}",
        "    python -m pip install --editable '.[test]'",
        *([f"    python -m {package.module}.sounds sounds"] if kind == "corpus" else []),
        f"    toolkit check-plugin {kind} {name}{data}",
        "    python -m pytest",
        f"    toolkit train {name}.yaml{data}",
    ]
    return "\n".join(lines)


def _refuse_taken(catalogue: Catalogue, package: Package) -> None:
    """Refuse a name that another plugin of the kind, a distribution or a module has."""
    kind, name = package.kind, package.name
    for info in catalogue.list_plugins(kind):
        if info.name == name:
            raise PluginError(
                f"{info.distribution} {info.version} declares {kind} {name!r} already, and recipes would have to write "
                f"'distribution:{name}'. Choose another name."
            )
    with contextlib.suppress(PackageNotFoundError):
        found = f"{name} {version(name)}"
        raise PluginError(f"A distribution {found} is installed, and yours would replace it. Choose another name.")
    spec = find_spec(package.module)
    if package.module in sys.stdlib_module_names or (spec is not None and spec.origin is not None):
        raise PluginError(f"There is a module {package.module} already, and yours would hide it. Choose another name.")
