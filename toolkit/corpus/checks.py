"""What `toolkit check-data` checks: labels, speakers, genders and every audio file. Imports no torch."""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from toolkit.corpus.labels import label_faults, map_label
from toolkit.corpus.utterance import MIN_SAMPLES, Utterance, natural_key, speaker_order
from toolkit.errors import AudioError, counted

SILENT_PEAK = 10 ** (-60 / 20)  # full scale is 1
NO_SPEAKERS = "all"
NAMELESS = "no speaker"


@dataclass(frozen=True)
class Problem:
    """Something wrong with a corpus.

    Args:
        kind: as "missing" or "unmapped-label".
        severity: "error" would stop training or spoil its result, "warning" would not.
        message: one line that says what was found and what to do.
        where: the file, label or speaker.

    Raises:
        ValueError: for another severity.
    """

    kind: str
    severity: str
    message: str
    where: str

    def __post_init__(self):
        if self.severity not in ("error", "warning"):
            raise ValueError(f"severity {self.severity!r} is neither error nor warning")


@dataclass(frozen=True)
class CheckReport:
    """What was found.

    Args:
        counts: speaker (or "all") -> class -> utterances, both in order; classes without utterances count 0.
        problems: errors first.
        left_out: label of the corpus -> utterances that label_map leaves out on purpose.
        seconds: audio that could be read, of the utterances that count.
        segments: segments of it.
    """

    counts: Mapping[str, Mapping[str, int]]
    problems: Sequence[Problem]
    left_out: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    segments: int = 0

    @property
    def stops(self) -> bool:
        """Whether something would stop training."""
        return any(problem.severity == "error" for problem in self.problems)

    @property
    def notes(self) -> list[str]:
        """What is no problem, but good to know; one line each."""
        utterances = sum(sum(row.values()) for row in self.counts.values())
        read = f"{self.seconds / 3600:.2f} h could be read"
        notes = [f"{counted(utterances, 'utterance')}, {read}, {counted(self.segments, 'segment')}"]
        if self.left_out:
            listed = ", ".join(f"{label} {count}" for label, count in sorted(self.left_out.items()))
            notes.append(f"left out on purpose by label_map: {listed}")
        return notes

    def as_json(self) -> dict:
        """{"counts": {"1M": {"ang": 82, ...}}, "problems": [{kind, severity, message, where}, ...]}."""
        return {
            "counts": {speaker: dict(row) for speaker, row in self.counts.items()},
            "problems": [vars(problem) for problem in self.problems],
        }


def check_corpus(
    utterances: Sequence[Utterance],
    *,
    labels: Sequence[str] | None,
    label_map: Mapping[str, str | None] | None,
    sample_rate: int,
    segment_samples: int,
    min_samples: int = MIN_SAMPLES,
    covariates: Sequence[str] = (),
) -> CheckReport:
    """Check a corpus as its recipe will use it; utterances that label_map leaves out are not looked at.

    Args:
        utterances: as the corpus plugin reads them, with the corpus's own labels.
        labels: the recipe's classes, None for all.
        label_map: label of the corpus -> class, or None to leave it out.
        sample_rate: the system's, in Hz.
        segment_samples: samples of a segment at that rate.
        min_samples: an utterance below it is padded with silence, at that rate.
        covariates: fields that every utterance needs, as "gender".
    """
    mapped = [(u, map_label(str(u.label), {str(k): v for k, v in (label_map or {}).items()})) for u in utterances]
    classes = [str(label) for label in labels] if labels else sorted({label for _, label in mapped} - {None})
    kept = [(u, label) for u, label in mapped if label in classes]
    problems = [Problem(kind, "error", text, at) for kind, text, at in label_faults(utterances, labels, label_map)]
    problems += _speaker_problems([u for u, _ in kept], covariates)
    heard = _Heard()
    for u, found in _listen([u for u, _ in kept], sample_rate, min_samples):
        problems += heard.add(u, found, sample_rate, segment_samples)
    problems += heard.duplicates()
    return CheckReport(
        counts=_counts(kept, classes),
        problems=sorted(dict.fromkeys(problems), key=lambda problem: problem.severity),
        left_out=Counter(u.label for u, label in mapped if label is None),
        seconds=heard.seconds,
        segments=heard.segments,
    )


def _counts(kept: Sequence[tuple[Utterance, str]], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    speakers = speaker_order(u for u, _ in kept)
    nameless = NAMELESS if speakers else NO_SPEAKERS
    counts = {speaker: dict.fromkeys(classes, 0) for speaker in speakers}
    for u, label in kept:
        row = counts.setdefault(u.speaker or nameless, dict.fromkeys(classes, 0))
        row[label] += 1
    return counts


def _speaker_problems(utterances: Sequence[Utterance], covariates: Sequence[str]) -> Iterator[Problem]:
    genders: dict[str, set[str]] = {}
    for u in utterances:
        if u.speaker and u.gender:
            genders.setdefault(u.speaker, set()).add(u.gender)
    for speaker in sorted(genders, key=natural_key):
        if len(genders[speaker]) > 1:
            yield Problem("two-genders", "error", f"speaker {speaker!r} is F and M in different utterances", speaker)
    nameless = [u.id for u in utterances if u.speaker is None]
    if 0 < len(nameless) < len(utterances):
        text = f"no speaker of {counted(len(nameless), 'utterance')}, {nameless[0]!r} first; most protocols need all"
        yield Problem("speaker-missing", "warning", text, nameless[0])
    for name in covariates:
        lacking = [u.id for u in utterances if getattr(u, name, None) is None and name not in u.extra]
        if lacking:
            text = f"the recipe's covariate {name!r} is missing for {counted(len(lacking), 'utterance')}"
            text += f", {lacking[0]!r} first"
            yield Problem(f"{name}-missing", "error", text, lacking[0])


@dataclass(frozen=True)
class _Sound:
    """What one utterance's audio is like; `problem` instead where it cannot be read."""

    problem: Problem | None = None
    rate: int = 0
    channels: int = 0
    samples: int = 0
    seconds: float = 0.0
    peak: float = 0.0
    digest: bytes = b""


def _examine(u: Utterance, sample_rate: int, min_samples: int) -> _Sound:
    from toolkit.audio.reading import decode, resampled_length

    try:
        sound, rate = decode(u.path, start_s=u.start, end_s=u.end)
    except AudioError as error:
        return _Sound(Problem(getattr(error, "kind", "unreadable"), "error", str(error), str(u.path)))
    samples = resampled_length(len(sound), rate, sample_rate)
    if samples < min_samples:
        found = f"{samples} samples at {sample_rate} Hz, fewer than {min_samples}"
        text = f"{u.path} ({u.id}) has {found}; it is padded with silence"
        return _Sound(Problem("too-short", "warning", text, str(u.path)))
    return _Sound(
        rate=rate,
        channels=sound.shape[1],
        samples=samples,
        seconds=len(sound) / rate,
        peak=max(float(sound.max()), -float(sound.min())),
        digest=hashlib.blake2b(sound.tobytes(), digest_size=16).digest(),
    )


class _Heard:
    """Sums over the files, and which of them sound the same."""

    def __init__(self):
        self.seconds = 0.0
        self.segments = 0
        self.same: dict[bytes, list[Utterance]] = {}

    def add(self, u: Utterance, found: _Sound, sample_rate: int, segment_samples: int) -> Iterator[Problem]:
        where = str(u.path)
        if found.problem:
            yield found.problem
            return
        self.seconds += found.seconds
        self.segments += -(-found.samples // segment_samples)
        if found.peak < SILENT_PEAK:
            text = f"{u.path} ({u.id}) is silent: no sample is above -60 dB of full scale"
            yield Problem("silent", "warning", text, where)
        else:
            self.same.setdefault(found.digest, []).append(u)
        if found.channels > 1:
            text = f"{u.path} has {found.channels} channels; their mean is used"
            yield Problem("stereo", "warning", text, where)
        if found.rate != sample_rate:
            text = f"{u.path} is at {found.rate} Hz; it is resampled to {sample_rate} Hz each time it is read"
            yield Problem("odd-rate", "warning", text, where)

    def duplicates(self) -> Iterator[Problem]:
        for alike in self.same.values():
            if len(alike) > 1:
                labels = sorted({u.label for u in alike})
                shown = ", ".join(str(u.path) for u in alike[:3]) + (", ..." if len(alike) > 3 else "")
                text = f"{len(alike)} utterances are the same audio, labelled {', '.join(labels)}: {shown}"
                yield Problem("duplicate", "warning", text, str(alike[0].path))


def _listen(utterances: Sequence[Utterance], sample_rate: int, min_samples: int) -> Iterator[tuple[Utterance, _Sound]]:
    """Read all audio in a few threads (libsndfile works without the interpreter's lock), in order."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    threads = min(8, 2 * (os.cpu_count() or 1))
    with (
        Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as progress,
        ThreadPoolExecutor(threads) as pool,
    ):
        found = pool.map(lambda u: _examine(u, sample_rate, min_samples), utterances)
        found = progress.track(found, len(utterances), description="audio files")
        try:
            yield from zip(utterances, found, strict=True)
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the files that are left


def summarise(problems: Sequence[Problem], *, shown: int = 3) -> list[str]:
    """Return lines for a terminal: by severity and kind, how many, and the first few messages."""
    kinds: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        kinds.setdefault((problem.severity, problem.kind), []).append(problem)
    lines = []
    for (severity, kind), alike in kinds.items():
        lines.append(f"{severity}: {kind} ({len(alike)})")
        lines += [f"  {problem.message}" for problem in alike[:shown]]
        if len(alike) > shown:
            lines.append(f"  and {len(alike) - shown} more; --json lists all")
    return lines
