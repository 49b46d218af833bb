"""The model card, README.md of a bundle, made from its config.json alone. Imports no torch."""

import shlex
from pathlib import Path

from toolkit.corpus.protocols import selects_on
from toolkit.errors import join, one_line
from toolkit.files import DISTRIBUTION, templates
from toolkit.inference.bundle.config import BundleConfig
from toolkit.report.tables.accuracy import GENDERS
from toolkit.report.tables.table import COUNT, INTERVAL, NATS, PERCENT, escape_markdown
from toolkit.statistics.comparison import MIN_SPEAKERS
from toolkit.statistics.confidence import BINS, RULES
from toolkit.statistics.metrics import METRICS
from toolkit.terminal import clock


def card_text(config: BundleConfig, license: str | None = None) -> str:
    """The card of a bundle: a YAML header for the Hugging Face hub, then Markdown."""
    environment = templates(Path(__file__).parent, escape=escape_markdown)
    formats = {"count": COUNT, "nats": NATS, "percent": PERCENT, "interval": INTERVAL}
    environment.filters |= {"words": join, "clock": clock, **{name: format.show for name, format in formats.items()}}
    training, test = config.training, config.training.test
    given = {name: values[0] for name, values in config.covariates.items()}
    options = (f" --covariate {shlex.quote(one_line(f'{name}={value}'))}" for name, value in given.items())
    plugins = (f"{part.plugin.rpartition(':')[2]} ({kind})" for kind, _, part in config.parts())
    return environment.get_template("card.md.j2").render(
        config=config,
        license=license,
        base_model=[name.partition("@")[0] for name in training.pretrained.values() if name and "/" in name],
        extractors=[part.plugin.rpartition(":")[2] for kind, _, part in config.parts() if kind == "extractor"],
        training=training,
        test=test,
        exported_with=f"{DISTRIBUTION} {config.exported_with.get(DISTRIBUTION, '')}".rstrip(),
        options="".join(options),
        arguments=f", covariates={given}" if given else "",
        plugins=list(dict.fromkeys(plugins)),
        pretrained=[f"{name} ({level})" for level, name in training.pretrained.items() if name],
        selects_on=selects_on(training.protocol),
        speakers=training.speakers.get("test", 0),
        min_speakers=MIN_SPEAKERS,
        bins=BINS,
        rules=RULES,
        accuracies=[(metric.upper(), getattr(test, metric), getattr(test, f"{metric}_interval")) for metric in METRICS],
        genders=GENDERS,
    )
