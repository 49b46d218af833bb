"""The cells that failed or are not done."""

from toolkit.report.evidence import Evidence
from toolkit.report.tables.formats import LONG_TEXT
from toolkit.report.tables.table import Column, Table


def missing_table(evidence: Evidence) -> Table | None:
    """Cells that failed, then those that are not done; None where all are done."""
    outcome = evidence.outcome
    done = {(run.system, run.protocol, run.fold, run.seed) for run in outcome.runs}
    missing = [cell for cell in outcome.plan.cells if cell.key not in done]
    if not missing:
        return None
    missing.sort(key=lambda cell: cell.key not in outcome.failures)
    columns = [
        *(Column(key, key) for key in ("system", "protocol", "fold")),
        Column("seed", "seed", value=lambda cell: str(cell.seed)),
        Column("state", "state", value=lambda cell: "failed" if cell.key in outcome.failures else "not done"),
        Column("error", "error", LONG_TEXT, value=lambda cell: outcome.failures.get(cell.key) or None),
    ]
    return Table("missing_cells", "Cells that failed or are not done", columns, missing, evidence.stamps(), shown=100)
