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
from toolkit.report.evidence import Evidence, check_known, stamps_of
from toolkit.report.sections import sections, summarise
from toolkit.report.tables.table import TEMPLATES, Table

PAGE = "report.html"


def write_report(
    folder: str | Path,
    *,
    baseline: str | None = None,
    systems: Collection[str] = (),
    protocol: str | None = None,
    output: str | Path | None = None,
    **options: Any,
) -> Path:
    """Write report.html, whose path is returned, tables/ and figures/; the options are those of `toolkit report`.

    Raises: ExperimentError if the protocol has no finished run, the experiment lacks what an option names, or a file
        is refused.
    """
    evidence = Evidence(folder, baseline, systems)
    protocol = protocol or evidence.protocols[0]
    check_known("--protocol", "protocol", [protocol], evidence.protocols)
    if not evidence.tested(protocol):
        found = f"{folder}: no cell of protocol {protocol} is done, so there is nothing to report"
        raise ExperimentError(f"{found}. `toolkit status` shows why.")
    evidence.check_splits()
    parts = sections(evidence, protocol, **options)
    files: dict[str, bytes | str] = {}
    pictures: dict[str, str] = {}  # figure name -> its SVG in base64
    for item in (item for items in parts.values() for item in items):
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
        summary=summarise(evidence, protocol),
        stamps=stamps_of(evidence.tested()),
        sections=parts,
        pictures=pictures,
    )
    files[PAGE] = re.sub(r"\n\s*\n+", "\n", page).lstrip()  # written last: if it is new, all files are
    target = Path(folder if output is None else output)
    for name, content in files.items():
        write_whole(target / name, content, ExperimentError, "choose another --output")
    return target / PAGE
