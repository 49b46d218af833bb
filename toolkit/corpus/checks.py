"""What `toolkit check-data` checks: labels, speakers, genders and every audio file."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit.corpus.folds import Fold, check_fold, hear
from toolkit.corpus.listening import Sounds, listen
from toolkit.corpus.utterance import MIN_SAMPLES, Problem, Utterance, counted_ids, label_faults, speaker_order
from toolkit.errors import counted, listed
from toolkit.recipe.schema import Recipe

SHOWN = 3  # problems of a kind, in a summary


@dataclass(frozen=True)
class CheckReport:
    """The result of a check; counts are by speaker (or "all") and class, both in order, zeros included."""

    counts: Mapping[str, Mapping[str, int]]
    problems: Sequence[Problem]  # errors first
    notes: Sequence[str]  # facts that are not problems, one line each
    folds: Sequence[Mapping[str, Any]] = ()  # as `fold_table` gives them

    @property
    def stops(self) -> bool:
        """Whether something would stop training."""
        return any(problem.severity == "error" for problem in self.problems)

    def as_dict(self) -> dict:
        """{"counts": {"1M": {"ang": 82, ...}}, "folds": ..., "problems": [{kind, severity, message, where}, ...]}."""
        return {"counts": self.counts, "folds": list(self.folds), "problems": list(map(vars, self.problems))}


def check_corpus(
    utterances: Sequence[Utterance],  # with the corpus's own labels
    recipe: Recipe,
    folds: Sequence[Fold] = (),  # whose parts may not share audio
) -> CheckReport:
    """Check a corpus as its recipe will use it, without the utterances that label_map leaves out."""
    sample_rate = recipe.audio.sample_rate
    mapped = [(u, recipe.label_map.get(u.label, u.label)) for u in utterances]
    classes = list(recipe.labels or sorted({label for _, label in mapped} - {None}))
    used = [replace(u, label=label) for u, label in mapped if label in classes]
    heard = listen(used)
    covariates = [name for name, spec in recipe.model.covariates.items() if spec.source == "label"]
    problems = [*label_faults(utterances, recipe.labels, recipe.label_map), *_speaker_problems(used, covariates)]
    problems += [*_faults(heard, sample_rate), *_shared(heard, folds)]
    hours = sum(sound.frames / sound.rate for _, sound in heard if sound.rate) / 3600
    segments = sum(-(-sound.samples(sample_rate) // recipe.audio.segment_samples) for _, sound in heard)
    notes = [f"{counted(len(used), 'utterance')}, {hours:.2f} h could be read, {counted(segments, 'segment')}"]
    if left_out := Counter(u.label for u, label in mapped if label is None):
        labels = ", ".join(f"{label} ({count})" for label, count in sorted(left_out.items()))
        notes.append(f"left out on purpose by label_map: {labels}")
    speakers = speaker_order(used)
    counts = {speaker: dict.fromkeys(classes, 0) for speaker in speakers}
    for u in used:
        row = counts.setdefault(u.speaker or ("no speaker" if speakers else "all"), dict.fromkeys(classes, 0))
        row[u.label] += 1
    return CheckReport(counts, sorted(dict.fromkeys(problems), key=lambda problem: problem.severity), notes)


def _speaker_problems(utterances: Sequence[Utterance], covariates: Sequence[str]) -> Iterator[Problem]:
    female, male = ({u.speaker for u in utterances if u.speaker and u.gender == gender} for gender in "FM")
    for speaker in sorted(female & male):
        yield Problem("two-genders", "error", f"speaker {speaker!r} is F and M in different utterances", speaker)
    for name in covariates:
        if missing := [u.id for u in utterances if u.value(name) is None]:
            text = f"the recipe's covariate {name!r} is missing for {counted_ids(missing)}"
            yield Problem(f"{name}-missing", "error", text, missing[0])


def _faults(heard: Sounds, sample_rate: int) -> Iterator[Problem]:
    rates: dict[int, list[str]] = {}
    for u, sound in heard:
        path, samples = str(u.path), sound.samples(sample_rate)
        if sound.error:
            yield Problem(sound.error.kind, "error", str(sound.error), path)
        elif samples < MIN_SAMPLES:
            found = f"{samples} samples at {sample_rate} Hz, fewer than {MIN_SAMPLES}"
            yield Problem("too-short", "warning", f"{path} ({u.id}) has {found}; it is padded with silence", path)
        elif sound.digest is None:
            text = f"{path} ({u.id}) is silent: no sample is above -60 dB of full scale"
            yield Problem("silent", "warning", text, path)
        if sound.channels > 1:
            yield Problem("stereo", "warning", f"{path} has {sound.channels} channels; their mean is used", path)
        if sound.rate != sample_rate and samples >= MIN_SAMPLES:
            rates.setdefault(sound.rate, []).append(path)
    for rate, paths in sorted(rates.items()):
        found = f"{counted(len(paths), 'utterance')} at {rate} Hz ({paths[0]} first)"
        yield Problem("odd-rate", "warning", f"{found}, resampled to {sample_rate} Hz when read", paths[0])


def _shared(heard: Sounds, folds: Sequence[Fold]) -> Iterator[Problem]:
    """The audit's findings, each kind in the first fold that has it; if none shares audio, also repeated audio."""
    audio, used = hear(heard) if folds else {}, [u for u, _ in heard]
    problems = [problem for fold in folds for problem in check_fold(fold, used, audio)]
    found = {problem.kind: problem for problem in reversed(problems)}
    yield from found.values()
    same: dict[bytes, list[Utterance]] = {}
    for u, sound in heard:
        if sound.digest is not None and "shared-audio" not in found:
            same.setdefault(sound.digest, []).append(u)
    for alike in same.values():
        if len(alike) > 1:
            labels, shown = listed(sorted({u.label for u in alike})), listed((str(u.path) for u in alike), most=3)
            text = f"{len(alike)} utterances are the same audio, labelled {labels}: {shown}"
            yield Problem("duplicate", "warning", text, str(alike[0].path))


def summarise(problems: Sequence[Problem]) -> list[str]:
    """Lines for a terminal: the number of problems of each severity and kind, and the first few messages."""
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(f"{problem.severity}: {problem.kind}", []).append(f"  {problem.message}")
    lines = []
    for kind, messages in kinds.items():
        more = [f"  and {len(messages) - SHOWN} more; --json lists all"] if len(messages) > SHOWN else []
        lines += [f"{kind} ({len(messages)})", *messages[:SHOWN], *more]
    return lines
