"""What `toolkit check-data` checks: labels, speakers, genders and every audio file."""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from toolkit.corpus.folds import Fold
from toolkit.corpus.labels import label_faults
from toolkit.corpus.utterance import MIN_SAMPLES, Utterance, counted_ids, natural_key, speaker_order
from toolkit.errors import AudioError, CorpusError, counted

SILENT_PEAK = 10 ** (-60 / 20)  # full scale is 1
NO_SPEAKERS = "all"
NAMELESS = "no speaker"


@dataclass(frozen=True)
class Problem:
    """Something wrong with a corpus, at a file, label or speaker; an "error" would stop or spoil a training."""

    kind: str
    severity: Literal["error", "warning"]
    message: str
    where: str


@dataclass(frozen=True)
class CheckReport:
    """The result of a check; counts are by speaker (or "all") and class, both in order, 0 for those without any."""

    counts: Mapping[str, Mapping[str, int]]
    problems: Sequence[Problem]  # errors first
    left_out: Mapping[str, int] = field(default_factory=dict)  # label of the corpus -> left out by label_map
    seconds: float = 0.0  # of audio that could be read
    segments: int = 0  # that it makes
    folds: Sequence[Mapping[str, Any]] = ()  # as `fold_table` gives them

    @property
    def stops(self) -> bool:
        """Whether something would stop training."""
        return any(problem.severity == "error" for problem in self.problems)

    @property
    def notes(self) -> list[str]:
        """Facts that are not problems; one line each."""
        found = counted(sum(sum(row.values()) for row in self.counts.values()), "utterance")
        notes = [f"{found}, {self.seconds / 3600:.2f} h could be read, {counted(self.segments, 'segment')}"]
        if self.left_out:
            listed = ", ".join(f"{label} {count}" for label, count in sorted(self.left_out.items()))
            notes.append(f"left out on purpose by label_map: {listed}")
        return notes

    def as_json(self) -> dict:
        """{"counts": {"1M": {"ang": 82, ...}}, "folds": ..., "problems": [{kind, severity, message, where}, ...]}."""
        return {
            "counts": {speaker: dict(row) for speaker, row in self.counts.items()},
            "folds": list(self.folds),
            "problems": [vars(problem) for problem in self.problems],
        }


def check_corpus(
    utterances: Sequence[Utterance],  # with the corpus's own labels
    *,
    labels: Sequence[str] | None,  # the recipe's classes, None for all
    label_map: Mapping[str, str | None] | None,  # label of the corpus -> class, or None to leave it out
    sample_rate: int,  # the system's, in Hz
    segment_samples: int,  # of a segment at that rate
    covariates: Sequence[str] = (),  # columns that every utterance needs, for example "gender"
    folds: Sequence[Fold] = (),  # in which the same audio may not be in two parts
) -> CheckReport:
    """Check a corpus as its recipe will use it, but for utterances that label_map leaves out."""
    mapped = [(u, (label_map or {}).get(u.label, u.label)) for u in utterances]
    classes = list(labels) if labels else sorted({label for _, label in mapped} - {None})
    kept = [(u, label) for u, label in mapped if label in classes]
    problems = [Problem(kind, "error", text, at) for kind, text, at in label_faults(utterances, labels, label_map)]
    problems += _speaker_problems([u for u, _ in kept], covariates)
    audio = _examine_all([u for u, _ in kept], sample_rate)
    problems += [problem for found in audio for problem in found.problems]
    problems += [*_other_rates(audio, sample_rate), *_duplicates(audio, folds)]
    return CheckReport(
        counts=_counts(kept, classes),
        problems=sorted(dict.fromkeys(problems), key=lambda problem: problem.severity),
        left_out=Counter(u.label for u, label in mapped if label is None),
        seconds=sum(found.seconds for found in audio),
        segments=sum(-(-found.samples // segment_samples) for found in audio),
    )


def _counts(kept: Sequence[tuple[Utterance, str]], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    speakers = speaker_order(u for u, _ in kept)
    counts = Counter((u.speaker, label) for u, label in kept)
    if any(speaker is None for speaker, _ in counts):
        speakers.append(None)
    nameless = NAMELESS if speakers[1:] else NO_SPEAKERS
    return {who or nameless: {label: counts[who, label] for label in classes} for who in speakers}


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
        text = f"{counted_ids(nameless)} without a speaker; most protocols need all"
        yield Problem("speaker-missing", "warning", text, nameless[0])
    for name in covariates:
        if lacking := [u.id for u in utterances if u.value(name) is None]:
            text = f"the recipe's covariate {name!r} is missing for {counted_ids(lacking)}"
            yield Problem(f"{name}-missing", "error", text, lacking[0])


@dataclass(frozen=True)
class _Audio:
    """The audio of one utterance; nothing but problems where it cannot be read or is too short."""

    utterance: Utterance
    problems: tuple[Problem, ...]
    seconds: float = 0.0
    samples: int = 0
    rate: int = 0
    digest: bytes | None = None  # None where it is silent, too


def _examine(u: Utterance, sample_rate: int) -> _Audio:
    from toolkit.audio.reading import stretch

    def warning(kind: str, text: str) -> Problem:
        return Problem(kind, "warning", f"{u.path} {text}", str(u.path))

    digest, peak, channels = hashlib.blake2b(digest_size=16), 0.0, 1
    try:
        sound = stretch(u.path, start_s=u.start, end_s=u.end)
        for block in sound.blocks():
            digest.update(block)
            peak, channels = max(peak, float(block.max()), -float(block.min())), block.shape[1]
    except AudioError as error:
        return _Audio(u, (Problem(error.kind, "error", str(error), str(u.path)),))
    samples, silent, problems = sound.samples(sample_rate), peak < SILENT_PEAK, []
    if samples < MIN_SAMPLES:
        found = f"{samples} samples at {sample_rate} Hz, fewer than {MIN_SAMPLES}"
        return _Audio(u, (warning("too-short", f"({u.id}) has {found}; it is padded with silence"),))
    if silent:
        problems.append(warning("silent", f"({u.id}) is silent: no sample is above -60 dB of full scale"))
    if channels > 1:
        problems.append(warning("stereo", f"has {channels} channels; their mean is used"))
    found = None if silent else digest.digest()
    return _Audio(u, tuple(problems), sound.frames / sound.rate, samples, sound.rate, found)


def _examine_all(utterances: Sequence[Utterance], sample_rate: int) -> list[_Audio]:
    """Read all audio in a few threads (libsndfile releases the interpreter's lock), in order."""
    from toolkit.terminal import progress

    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        found = pool.map(lambda u: _examine(u, sample_rate), utterances)
        try:
            return list(progress(found, "audio files", total=len(utterances), shown=sys.stderr.isatty()))
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the files that are left


def _other_rates(audio: Sequence[_Audio], sample_rate: int) -> Iterator[Problem]:
    for rate in sorted({found.rate for found in audio} - {0, sample_rate}):
        at = [str(found.utterance.path) for found in audio if found.rate == rate]
        text = f"{counted(len(at), 'utterance')} at {rate} Hz ({at[0]} first), resampled to {sample_rate} Hz when read"
        yield Problem("odd-rate", "warning", text, at[0])


def refuse_shared_audio(fold: Fold, utterances: Sequence[Utterance], sample_rate: int) -> None:
    """Raise CorpusError if the same audio is in two parts of a fold; what differs in length or middle is not read."""
    from toolkit.audio.reading import stretch

    part_of, groups = fold.part_of, {}
    for u in (u for u in utterances if u.id in part_of):
        sound = stretch(u.path, start_s=u.start, end_s=u.end)
        middle = b"".join(block.tobytes() for block in sound.blocks(sound.frames // 2, sound.frames // 2 + 64))
        groups.setdefault((sound.frames, sound.rate, middle), []).append(u)
    read = [u for alike in groups.values() if len({part_of[u.id] for u in alike}) > 1 for u in alike]
    for problem in _duplicates(_examine_all(read, sample_rate), [fold]):
        if problem.severity == "error":
            raise CorpusError(problem.message)


def _duplicates(audio: Sequence[_Audio], folds: Sequence[Fold]) -> Iterator[Problem]:
    same: dict[bytes, list[Utterance]] = {}
    for found in audio:
        if found.digest is not None:
            same.setdefault(found.digest, []).append(found.utterance)
    parts = [(fold.name, fold.part_of) for fold in folds]
    for alike in same.values():
        if len(alike) > 1 and (text := _parted(alike, parts)):
            yield Problem("shared-audio", "error", text, str(alike[0].path))
        elif len(alike) > 1:
            labels = ", ".join(sorted({u.label for u in alike}))
            shown = ", ".join(str(u.path) for u in alike[:3]) + (", ..." if len(alike) > 3 else "")
            text = f"{len(alike)} utterances are the same audio, labelled {labels}: {shown}"
            yield Problem("duplicate", "warning", text, str(alike[0].path))


def _parted(alike: Sequence[Utterance], parts: Sequence[tuple[str, Mapping[str, str]]]) -> str | None:
    """Which two utterances of the same audio are in two parts of the first such fold, in words."""
    for fold, part_of in parts:
        one, *others = {part_of[u.id]: u for u in reversed(alike) if u.id in part_of}.items() or [None]
        if others:
            shown = " and ".join(
                f"{u.path}{f' (speaker {u.speaker!r})' if u.speaker else ''} in {part}" for part, u in (one, others[0])
            )
            return f"the same audio is in two parts of fold {fold!r}: {shown}; remove one, or give --shared_audio allow"
    return None


def summarise(problems: Sequence[Problem], *, shown: int = 3) -> list[str]:
    """Lines for a terminal: the number of problems of each severity and kind, and the first few messages."""
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
