"""An experiment's report: tables, figures and one HTML page.

Everything on the page comes from the runs' files. The same experiment always gives the same bytes.
"""

import base64
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from toolkit.errors import ExperimentError
from toolkit.files import resolved, templates, write_whole
from toolkit.report.evidence import Evidence, stamps_of
from toolkit.report.sections import choose, sections, summarise
from toolkit.report.tables.table import TEMPLATES, Table

PAGE = "report.html"


def write_report(
    folder: str | Path,
    *,
    baseline: str | None = None,
    systems: Collection[str] = (),
    output: str | Path | None = None,
    **options: Any,
) -> Path:
    """Write report.html, tables/ (Markdown, CSV, LaTeX) and figures/ (PNG, SVG, PDF).

    Args: folder: the experiment's folder, finished or not; baseline: the system to compare with, by default the first;
        systems: those that are shown, by default all; output: where to write, by default the same folder; options:
        pair, protocol, tsne_fold and speakers, as in `toolkit report`.
    Returns: the path of report.html.
    Raises: ExperimentError if the experiment has no finished run, lacks what an option names, or a file is refused.
    """
    evidence = Evidence(folder, baseline, systems)
    if not evidence.runs:
        raise ExperimentError(f"{folder}: no cell is done, so there is nothing to report. `toolkit status` shows why.")
    evidence.check_splits()
    choices = choose(evidence, **options)
    target = Path(folder if output is None else output)
    parts = sections(evidence, choices)
    files: dict[str, bytes | str] = {}
    pictures: dict[str, str] = {}  # figure name -> its SVG in base64
    for item in (item for section in parts for item in section.items):
        if isinstance(item, Table):
            texts = {"md": item.markdown(), "csv": item.csv(), "tex": item.latex()}
            files |= {f"tables/{item.name}.{ending}": text for ending, text in texts.items()}
        else:
            images = item.files()
            pictures[item.name] = base64.b64encode(images["svg"]).decode()
            files |= {f"figures/{item.name}.{ending}": image for ending, image in images.items()}
    template = templates(TEMPLATES, autoescape=True).get_template("page.html.j2")
    page = template.render(
        title=f"Experiment {resolved(evidence.folder).name}",
        summary=summarise(evidence, choices.protocol),
        stamps=stamps_of(evidence.tested()),
        sections=parts,
        pictures=pictures,
    )
    files[PAGE] = re.sub(r"\n\s*\n+", "\n", page).lstrip()  # written last: if it is new, all files are
    for name, content in files.items():
        write_whole(target / name, content, ExperimentError, "choose another --output")
    return target / PAGE
