"""Writes a first recipe for a manifest, which decides protocol, segments and class weights; a base decides the rest."""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.audio.reading import AudioStretch, stretch
from toolkit.corpus import Utterance, speaker_order
from toolkit.corpus.folds import fold_table
from toolkit.corpus.manifests import SUFFIXES, usual_columns
from toolkit.errors import counted, listed, nearest, printable
from toolkit.files import resolved, templates
from toolkit.plugins.registry import find_part
from toolkit.plugins.signatures import read_arguments
from toolkit.recipe.schema import LossSpec, ProtocolSpec
from toolkit.training.preparation import Preparation, load_source, prepare_folds

SPEECH, SOUNDS, SCRATCH = "speech/whisper", "sounds/mfcc", "speech/functionals"
ALONE = 10  # with at most this many speakers, each is tested alone; more are dealt into five groups
LARGE = 3  # classes are weighted if the largest has at least this many times the utterances of the smallest
LONGEST_S = 10.0  # the longest segment that is proposed
UNKNOWN_SPEAKERS = "speakers are not known: parts may share some, and results may look too good. Add a column speaker"


@dataclass(frozen=True)
class Proposal:
    """A recipe for a manifest, before it is written to a file."""

    recipe: str  # YAML, which begins with a summary of the data
    folds: list[dict[str, Any]]  # their `fold_table`
    notes: list[str]  # on what may surprise
    trainable: bool  # whether the first fold can be trained


def propose(manifest: str, overrides: list[str], *, base: str | None, protocol: str | None) -> Proposal:
    """Propose a recipe that extends `base` for a manifest, a file or a folder of class folders.

    By default `base` is the recipe for speech if speakers are known, else the one for sounds, and `protocol` the one
    that the columns allow. Raises: ToolkitError for anything that a training would refuse.
    """
    utterances = load_source(base or SOUNDS, overrides, manifest=manifest).read()
    speakers = speaker_order(utterances)
    base = base or (SPEECH if speakers else SOUNDS)
    source = load_source(base, overrides, manifest=manifest)
    chosen, why = (ProtocolSpec(name=protocol), "asked for") if protocol else _protocol(utterances, speakers)
    recipe = replace(source.recipe, labels=None, label_map={}, protocol=chosen)
    prepared = prepare_folds(replace(source, recipe=recipe), utterances)
    classes = Counter(u.label for u in utterances)
    imbalance = _imbalance(classes)
    audio = [stretch(u.path, start_s=u.start, end_s=u.end) for u in utterances]
    seconds = [each.frames / each.rate for each in audio]
    longest = np.quantile(seconds, 0.95, method="inverted_cdf")  # of the utterances that are whole in one segment
    segment_seconds = min(max(math.ceil(2 * longest) / 2, 1.0), LONGEST_S)
    inherited = source.recipe.protocol
    unset = dict.fromkeys(inherited.args) if inherited.name == chosen.name else {}
    environment = templates(Path(__file__).parent / "template")
    environment.filters["tojson"] = _as_json
    text = environment.get_template("recipe.yaml.j2").render(
        summary=printable(f"{manifest}: {_summary(utterances, classes, audio)}"),
        base=str(resolved(base)) if os.path.isfile(base) else base,
        recipe=recipe,
        inherited=source.recipe,
        protocol_args=", ".join(f"{key}: {json.dumps(value)}" for key, value in {**unset, **chosen.args}.items()),
        why=why,
        segment_seconds=segment_seconds,
        whole=100 * sum(each <= segment_seconds for each in seconds) // len(seconds),
        unweighted=_unweighted_losses(recipe.model.losses) if imbalance else [],
        imbalance=printable(imbalance),
    )
    folds = fold_table([each.fold for each in prepared], utterances)
    return Proposal(text, folds, _notes(prepared, utterances, classes, imbalance), not prepared[0].missing)


def _as_json(value: Any) -> str:
    """A value as JSON that YAML reads, too; letters of any language stay as they are."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _summary(utterances: Sequence[Utterance], classes: Counter[str], audio: Sequence[AudioStretch]) -> str:
    speakers = speaker_order(utterances)
    genders = Counter({u.speaker: u.gender for u in utterances if u.gender}.values())
    people = ", ".join([counted(len(speakers), "speaker"), *(f"{n} {gender}" for gender, n in sorted(genders.items()))])
    seconds = [each.frames / each.rate for each in audio]
    low, high = f"{min(seconds):.1f}", f"{max(seconds):.1f}"
    lengths = f"{low} s each" if low == high else f"{low} to {high} s"
    rates = sorted({f"{each.rate} Hz" for each in audio})
    return (
        f"{counted(len(utterances), 'utterance')} of {people if speakers else 'unknown speakers'}; "
        f"{len(classes)} classes: {listed(f'{label} {count}' for label, count in classes.most_common())}; "
        f"{lengths} at {listed(rates)}"
    )


def _notes(
    prepared: Sequence[Preparation], utterances: Sequence[Utterance], classes: Counter[str], imbalance: str
) -> list[str]:
    notes = [problem.message for problem in prepared[0].warnings]
    if os.path.isdir(folder := Path(prepared[0].source.recipe.corpus.args["path"])):
        tables = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        notes += [f"{folder} also holds tables: {listed(tables)}; name one to use it"] if tables else []
    for label in (label for label, count in classes.items() if count == 1):
        if near := nearest(label, (other for other, count in classes.items() if count > 1)):
            remedy = f"Write label_map: {_as_json({label: near})} into the recipe"
            notes.append(f"only one utterance has the label {label!r}. Did you mean {near!r}? {remedy}")
    notes += [] if any(u.speaker for u in utterances) else [UNKNOWN_SPEAKERS]
    extra = dict.fromkeys(name for u in utterances for name in u.extra)
    for column, name in usual_columns(extra).items():
        if not any(u.value(column) for u in utterances):
            notes.append(f"column {name} is not used: if it is the {column}, give --columns {column}={name}")
    for each in prepared:
        if each.missing:
            notes.append(f"fold {each.fold.name} cannot be trained: its training part lacks {listed(each.missing)}")
    notes += [imbalance] if imbalance else []
    for key, weights in prepared[0].source.recipe.model.pretrained.items():
        if not os.path.exists(weights):
            instead = f"Without a network: --{key} FOLDER. From scratch: --base {SCRATCH}"
            notes.append(f"{weights} will be downloaded. {instead}")
    return notes


def _imbalance(classes: Counter[str]) -> str:
    """A note if the largest class has at least `LARGE` times the utterances of the smallest, else nothing."""
    ranked = classes.most_common()
    (most, many), (least, few) = ranked[0], ranked[-1]
    if many < LARGE * few:
        return ""
    return f"{most} has {many / few:.0f} times the utterances of {least}: judge by UA, not by WA"


def _unweighted_losses(losses: Mapping[str, LossSpec]) -> list[str]:
    """The losses that could weight classes, and do not."""
    plain = [name for name, loss in losses.items() if loss.args.get("class_weights", "none") == "none"]
    plugins = {name: find_part("loss", losses[name]).load() for name in plain}
    return [name for name, cls in plugins.items() if "class_weights" in [each.name for each in read_arguments(cls)]]


def _protocol(utterances: Sequence[Utterance], speakers: Sequence[str]) -> tuple[ProtocolSpec, str]:
    """The protocol that the columns allow, and why; no speaker is in two parts."""
    for name, column in (("given", "split"), ("groups", "group")):
        if any(u.value(column) for u in utterances):
            return ProtocolSpec(name=name), f"by the column {column}"
    if not speakers:
        return ProtocolSpec(name="random"), UNKNOWN_SPEAKERS
    pairs = {(u.session, u.speaker) for u in utterances}
    sessions = Counter(session for session, _ in pairs)
    if len(pairs) == len(speakers) <= ALONE and {*sessions.values()} == {2} and len(sessions) > 1:
        return ProtocolSpec(name="loso"), "one speaker tests, the other of the session validates, the others train"
    k = len(speakers) if len(speakers) <= ALONE else 5
    return ProtocolSpec(name="groups", args={"k": k}), "a group of speakers tests, the next validates, the others train"
