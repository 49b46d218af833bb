"""The model card, README.md of a bundle: what the system is, its training data, its scores. Imports no torch.

Every figure comes from config.json; a reader who has only the card has the stamps too. The text is card.md.j2.
"""

import shlex
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from toolkit.corpus.protocols import selects_on
from toolkit.errors import join, one_line
from toolkit.files import DISTRIBUTION
from toolkit.inference.bundle.config import BundleConfig
from toolkit.report.tables.breakdowns import GENDERS
from toolkit.report.tables.files import escape_markdown, to_markdown
from toolkit.report.tables.formats import COUNT, DASH, INTERVAL, PERCENT, TEXT, Format, clock
from toolkit.report.tables.table import Column, Table
from toolkit.statistics import BINS, METRICS, MIN_SPEAKERS


class _Markdown(str):
    """Text that is Markdown already; any other value is escaped."""


def card_text(config: BundleConfig) -> str:
    """The card of a bundle, in Markdown."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        finalize=lambda value: value if isinstance(value, _Markdown) else escape_markdown(value),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"words": join, "percent": PERCENT.show, "clock": clock}
    training, given = config.training, {name: values[0] for name, values in config.covariates.items()}
    options = (f" --covariate {shlex.quote(one_line(f'{name}={value}'))}" for name, value in given.items())
    plugins = (f"{part.plugin.rpartition(':')[2]} ({kind})" for kind, _, part in config.parts())
    return environment.get_template("card.md.j2").render(
        config=config,
        training=training,
        test=training.test,
        labels=config.classes["label"],
        exported_with=f"{DISTRIBUTION} {config.exported_with.get(DISTRIBUTION, '')}".rstrip(),
        options=_Markdown("".join(options)),
        arguments=_Markdown(f", covariates={given}" if given else ""),
        guessed=[name for name, spec in config.model.covariates.items() if spec.source == "predicted"],
        plugins=list(dict.fromkeys(plugins)),
        distributions=[f"{name} {version}" for name, version in config.distributions.items()],
        pretrained=[f"{name} ({level})" for level, name in training.pretrained.items() if name],
        selects_on=selects_on(training.protocol),
        speakers=training.speakers.get("test", 0),
        min_speakers=MIN_SPEAKERS,
        bins=BINS,
        tables=_tables(config),
    )


def _tables(config: BundleConfig) -> dict[str, _Markdown]:
    training, test, labels = config.training, config.training.test, config.classes["label"]
    parts = [(part, number, training.speakers.get(part) or None) for part, number in training.utterances.items()]
    accuracies = [(metric.upper(), getattr(test, metric), test.interval(metric)) for metric in METRICS]
    genders = [(GENDERS.get(gender, gender), found.n, found.wa, found.ua) for gender, found in test.by_gender.items()]
    return {
        "parts": _table(
            f"Utterances and speakers of each part ({DASH}: not known)",
            [("part", TEXT), ("utterances", COUNT), ("speakers", COUNT)],
            parts,
        ),
        "accuracies": _table(
            f"{test.n_utterances:,} utterances of the test part",
            [("metric", TEXT), ("%", PERCENT), ("95 % interval", INTERVAL)],
            [*accuracies, ("macro F1", test.macro_f1, None)],
        ),
        "classes": _table(
            "By class",
            [("class", TEXT), ("recall %", PERCENT), ("F1 %", PERCENT)],
            [(label, test.recall.get(label), test.f1.get(label)) for label in labels],
        ),
        "confusion": _table(
            "Confusion: of each class (row), how many were predicted as (column)",
            [("class", TEXT), *((label, COUNT) for label in labels)],
            [(label, *row) for label, row in zip(labels, test.confusion, strict=True)],
        ),
        "gender": _table(
            "By gender", [("gender", TEXT), ("utterances", COUNT), ("WA %", PERCENT), ("UA %", PERCENT)], genders
        ),
    }


def _table(title: str, heads: Sequence[tuple[str, Format]], rows: Sequence[tuple[Any, ...]]) -> _Markdown:
    columns = [Column(str(i), head, form, value=itemgetter(i)) for i, (head, form) in enumerate(heads)]
    return _Markdown(to_markdown(Table("", title, columns, rows)))
