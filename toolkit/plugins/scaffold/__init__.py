"""Write a package for a new plugin from templates: `toolkit new-plugin`.

Each template in template/package and in the kind's own folder becomes a file of the package; in file names, MODULE and
NAME stand for the plugin's module and name.
"""

import re
import shlex
from collections.abc import Mapping
from importlib.metadata import distributions, version
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from typing import Any

from toolkit.errors import PluginError
from toolkit.files import DISTRIBUTION, replacing, templates
from toolkit.hookspecs import CONTRACT_VERSION
from toolkit.plugins.kinds import Kind, kind_called
from toolkit.plugins.registry import Registry

TEMPLATES = Path(__file__).parent / "template"


def template_values(kind: Kind, name: str) -> dict[str, Any]:
    """What templates need; PluginError if `name` cannot be that of a distribution, a module and a class."""
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name) or iskeyword(module):
        needed = "words of lower case letters and digits joined by '-', such as my-plugin, with a letter first"
        raise PluginError(f"A plugin cannot be called {name!r}: write {needed}, and not a keyword of Python.")
    source = (TEMPLATES / kind.name / "src/MODULE" / f"{kind.name}.py.j2").read_text(encoding="utf-8")
    return {
        "kind": kind.name,
        "reads_folder": kind.reads_folder,
        "summary": source.partition("\n")[0].strip('."'),  # the first line of the plugin's module
        "name": name,
        "module": module,
        "class_name": "".join(word.capitalize() for word in module.split("_")),
        "contract": f">={CONTRACT_VERSION},<{CONTRACT_VERSION + 1}",
        "toolkit_version": version(DISTRIBUTION),
    }


def render_package(values: Mapping[str, Any]) -> dict[str, str]:
    """Path inside the package's folder -> content.

    The module lies in src/: Python, started beside a package folder of the same name, would import that folder.
    """
    environment = templates(TEMPLATES)  # Python, YAML and TOML: nothing is escaped, since all names are checked
    content = {}
    for folder in (TEMPLATES / "package", TEMPLATES / values["kind"]):
        for file in sorted(folder.rglob("*.j2")):
            path = str(file.relative_to(folder).with_suffix("")).replace("MODULE", values["module"])
            template = environment.from_string(file.read_text(encoding="utf-8"))
            content[path.replace("NAME", values["name"])] = template.render(values)
    return content


def write_package(registry: Registry, kind: str, name: str, *, folder: str | Path | None = None) -> str:
    """Write a package with a plugin that works as it is; by default its folder is NAME in the working directory.

    Returns: what was written, and the commands to type next.
    """
    values = template_values(kind_called(kind), name)
    declared = any(info.name == name for info in registry.list_plugins(kind))
    spec = find_spec(values["module"])
    if declared or list(distributions(name=name)) or (spec is not None and spec.origin is not None):
        raise PluginError(f"A plugin, distribution or module {name!r} is installed already. Choose another name.")
    folder = Path(name if folder is None else folder)
    content = render_package(values)
    with replacing(folder, PluginError, "name another folder with --output DIR") as partial:
        for path, text in content.items():
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            (partial / path).write_text(text, encoding="utf-8")
    summary = templates(TEMPLATES).get_template("summary.txt.j2")
    return summary.render(values, folder=folder, quoted=shlex.quote(str(folder)))
