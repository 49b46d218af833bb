"""The model card, README.md of a bundle: what the system is, its training data, its scores. Imports no torch.

Every figure comes from config.json; a reader who has only the card has the stamps too.
"""

import shlex
from collections.abc import Sequence

from toolkit.corpus.protocols import selects_on
from toolkit.errors import join, one_line
from toolkit.files import DISTRIBUTION
from toolkit.inference.bundle.config import BundleConfig
from toolkit.report.tables.breakdowns import GENDERS
from toolkit.report.tables.files import escape_markdown as escape
from toolkit.report.tables.files import to_markdown
from toolkit.report.tables.formats import COUNT, DASH, INTERVAL, PERCENT, clock
from toolkit.report.tables.table import Column, Table
from toolkit.statistics import BINS, MIN_SPEAKERS


def card_text(config: BundleConfig) -> str:
    """The card of a bundle, in Markdown."""
    parts = [
        f"# {escape(config.name)}",
        f"An audio classifier with the classes {escape(', '.join(config.classes['label']))}. Trained and exported with "
        f"{DISTRIBUTION} {config.exported_with.get(DISTRIBUTION, '')}".rstrip()
        + ".",
        *(f"> NOTE: {escape(stamp)}" for stamp in config.training.stamps),
        *_use(config),
        *_data(config),
        *_protocol(config),
        *_results(config),
        *_limits(config),
        *_licence(config),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _use(config: BundleConfig) -> list[str]:
    given = {name: values[0] for name, values in config.covariates.items()}
    options = "".join(f" --covariate {shlex.quote(one_line(f'{name}={value}'))}" for name, value in given.items())
    more = f", covariates={given}" if given else ""
    wanted = [f"{escape(name)} ({escape(', '.join(values))})" for name, values in config.covariates.items()]
    guessed = [escape(n) for n, spec in config.model.covariates.items() if spec.source == "predicted"]
    plugins = [f"{escape(part.plugin.rpartition(':')[2])} ({kind})" for kind, _, part in config.parts()]
    sources = [f"{escape(name)} {escape(version)}" for name, version in config.distributions.items()]
    return [
        "## Use",
        f"```sh\ntoolkit predict BUNDLE recording.wav{options}\n```",
        f'```python\nimport toolkit\n\nmodel = toolkit.load("BUNDLE")\nmodel.predict("recording.wav"{more})\n```',
        f"Audio is read as one channel at {config.audio.sample_rate} Hz and cut into segments of at most "
        f"{config.audio.segment_seconds:g} s; an utterance's answer is the mean over its segments.",
        *([f"It needs with every recording: {join(wanted)}."] if wanted else []),
        *([f"It guesses from the audio itself: {join(guessed)}."] if guessed else []),
        f"It is built from the plugins {', '.join(dict.fromkeys(plugins))} of {join(sources)}, which must be "
        "installed. The bundle holds no code.",
    ]


def _data(config: BundleConfig) -> list[str]:
    training = config.training
    pretrained = [f"{escape(name)} ({escape(level)})" for level, name in training.pretrained.items() if name]
    random = [escape(name) for name in training.random_backbones]
    columns = [Column("part", "part"), Column("utterances", "utterances", COUNT), Column("speakers", "speakers", COUNT)]
    rows = [
        {"part": part, "utterances": number, "speakers": training.speakers.get(part) or None}
        for part, number in training.utterances.items()
    ]
    return [
        "## Data",
        f"Corpus: {escape(training.corpus)}. {escape(training.description or 'What is recorded in it is not stated.')}",
        _table("data", f"Utterances and speakers of each part ({DASH}: not known)", columns, rows),
        (f"Pre-trained weights that it started from: {join(pretrained)}." if pretrained else "No part was pre-trained.")
        + (f" Random weights instead of the usual pre-trained ones: {join(random)}." if random else ""),
    ]


def _protocol(config: BundleConfig) -> list[str]:
    training = config.training
    return [
        "## Protocol",
        f"{escape(training.protocol)}, fold {escape(training.fold)}, seed {training.seed}. The weights are those of "
        f"epoch {training.epoch} of {training.epochs}, chosen on the {selects_on(training.protocol)} part. "
        f"{training.parameters:,} parameters, {escape(training.precision)}, {clock(training.seconds)} on "
        f"{escape(training.hardware)}.",
    ]


def _results(config: BundleConfig) -> list[str]:
    test, labels = config.training.test, config.classes["label"]
    accuracies = [
        {"metric": "WA", "value": test.wa, "interval": test.interval("wa")},
        {"metric": "UA", "value": test.ua, "interval": test.interval("ua")},
        {"metric": "macro F1", "value": test.macro_f1, "interval": None},
    ]
    columns = [Column("metric", "metric"), Column("value", "%", PERCENT), Column("interval", "95 % interval", INTERVAL)]
    by_class = [Column("class", "class"), Column("recall", "recall %", PERCENT), Column("f1", "F1 %", PERCENT)]
    classes = [{"class": label, "recall": test.recall.get(label), "f1": test.f1.get(label)} for label in labels]
    predicted = [Column("reference", "class"), *(Column(f"as {label}", label, COUNT) for label in labels)]
    confusion = [
        {"reference": label, **dict(zip((f"as {label}" for label in labels), row, strict=True))}
        for label, row in zip(labels, test.confusion, strict=True)
    ]
    return [
        "## Results",
        _table("results", f"{test.n_utterances:,} utterances of the test part", columns, accuracies),
        "WA: the share of utterances that are right. UA: the mean recall of the classes. " + _about_intervals(config),
        _table("classes", "By class", by_class, classes),
        _table(
            "confusion", "Confusion: of each class (row), how many were predicted as (column)", predicted, confusion
        ),
        *_by_gender(config),
        f"Calibration: expected calibration error {100 * test.ece:.2f} % in {BINS} bins, 0 is best. Predictions have "
        f"a mean probability of {100 * test.confidence:.2f} %, and {100 * test.wa:.2f} % of them are right.",
    ]


def _about_intervals(config: BundleConfig) -> str:
    if config.training.test.wa_interval is not None:
        return "Intervals: of the accuracy over speakers like these, by a bootstrap over the speakers."
    speakers = config.training.speakers.get("test", 0)
    if speakers == 0:
        return "No interval is given: the speakers are not known."
    if speakers >= MIN_SPEAKERS:
        return "No interval is given: some utterances have no speaker."
    return f"No interval is given: {speakers} test speakers are too few, {MIN_SPEAKERS} are needed."


def _by_gender(config: BundleConfig) -> list[str]:
    found = config.training.test.by_gender
    if not found:
        return ["By gender: not known."]
    columns = [
        Column("gender", "gender"),
        Column("n", "utterances", COUNT),
        Column("wa", "WA %", PERCENT),
        Column("ua", "UA %", PERCENT),
    ]
    rows = [{"gender": GENDERS.get(gender, gender), "n": a.n, "wa": a.wa, "ua": a.ua} for gender, a in found.items()]
    return [_table("gender", "By gender", columns, rows)]


def _limits(config: BundleConfig) -> list[str]:
    training = config.training
    return [
        "## Limits",
        "\n".join(
            [
                f"- The figures are of one fold of {escape(training.corpus)} with one seed. Other speakers, languages, "
                "microphones and rooms were not tested, and accuracy on them may be far lower.",
                f"- {escape(training.description or 'What was recorded, and in which language, is not stated.')}",
                "- It always gives one of its classes, for silence, music and noise too.",
                "- Its probabilities are not corrected. Their calibration was measured on the test part only.",
                "- It predicts how a recording sounds to those who labelled the data. If the classes are emotions, "
                "that is not what a person feels, and not a basis for decisions about anyone.",
            ]
        ),
    ]


def _licence(config: BundleConfig) -> list[str]:
    training = config.training
    pretrained = [escape(name) for name in training.pretrained.values() if name]
    advice = "Ask the data's owner" if training.licence is None else "Read it"
    return [
        "## Licence",
        f"Of the data: {escape(training.licence or 'not stated.')}",
        "The weights were learned from these data, whose licence may restrict the use of the model. "
        f"{advice} before passing it on."
        + (f" So may the licence of the pre-trained weights: {join(pretrained)}." if pretrained else ""),
    ]


def _table(name: str, title: str, columns: Sequence[Column], rows: Sequence[dict]) -> str:
    return to_markdown(Table(name, title, columns, rows))
