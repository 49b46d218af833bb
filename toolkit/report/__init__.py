"""An experiment's report: tables, figures and one HTML page. Light to import: what draws is imported where it draws.

Everything on the page comes from the runs' files. The same experiment always gives the same bytes.
"""

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.errors import ExperimentError
from toolkit.experiment.outcome import Outcome
from toolkit.report.choices import choose
from toolkit.report.drawings import Drawing
from toolkit.report.evidence import Evidence
from toolkit.report.page import render_page
from toolkit.report.sections import in_short, sections
from toolkit.report.tables.files import to_csv, to_latex, to_markdown
from toolkit.report.tables.table import Table

PAGE = "report.html"
TABLES = "tables"
FIGURES = "figures"


def write_report(
    outcome: Outcome,
    *,
    pair: Sequence[str] | None = None,
    protocol: str | None = None,
    tsne_fold: str | None = None,
    speakers: Sequence[str] | None = None,
    output: str | Path | None = None,
) -> Path:
    """Write report.html, tables/ (Markdown, CSV, LaTeX) and figures/ (PNG, SVG).

    Args:
        outcome: the experiment, finished or not.
        pair: two systems to draw side by side; the baseline and the system of most parts where not given.
        protocol: the one whose figures are shown; the experiment's first where not given.
        tsne_fold: the fold whose embeddings are drawn; the first that the pair has where not given.
        speakers: test folds whose accuracy is drawn against epochs; the first three where not given.
        output: the folder; the experiment's where not given.

    Returns:
        The path of report.html.

    Raises:
        ExperimentError: if something is asked for that the experiment has not, or the folder cannot be written.
    """
    evidence = Evidence(outcome)
    choices = choose(evidence, protocol=protocol, pair=pair, tsne_fold=tsne_fold, speakers=speakers)
    parts = sections(evidence, choices)
    files: dict[str, bytes] = {}
    pictures: dict[str, str] = {}
    for item in (item for section in parts for item in section.items):
        if isinstance(item, Table):
            files |= _table_files(item)
        else:
            found, pictures[item.name] = _drawing_files(item)
            files |= found
    page = render_page(
        title=f"Experiment {outcome.folder.resolve().name}",
        in_short=in_short(evidence, choices),
        stamps=evidence.stamps(),
        sections=parts,
        pictures=pictures,
    )
    folder = Path(outcome.folder if output is None else output)
    _write(folder, files | {PAGE: page.encode()})  # the page last: where it is new, all is
    return folder / PAGE


def _table_files(table: Table) -> dict[str, bytes]:
    texts = {"md": to_markdown(table), "csv": to_csv(table), "tex": to_latex(table)}
    return {f"{TABLES}/{table.name}.{ending}": text.encode() for ending, text in texts.items()}


def _drawing_files(drawing: Drawing) -> tuple[dict[str, bytes], str]:
    """Its files, and its SVG for the page."""
    from toolkit.report.figures.files import lay_out, page_svg, png_bytes, svg_text
    from toolkit.report.figures.style import styled

    with styled():
        figure = drawing.draw()
        lay_out(figure)
        svg, png = svg_text(figure), png_bytes(figure)
    name = f"{FIGURES}/{drawing.name}"
    picture = page_svg(svg, name=drawing.name, label=html.escape(drawing.label))
    return {f"{name}.svg": svg.encode(), f"{name}.png": png}, picture


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files aside, then rename them."""
    for name, data in files.items():
        path = folder / name
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            raise ExperimentError(f"{path} cannot be written ({error.strerror}): choose another --output.") from error
