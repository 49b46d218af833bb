"""Writes a first recipe for a manifest, which decides protocol, segments and class weights; a base decides the rest."""

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from toolkit.audio.reading import stretch
from toolkit.corpus import Utterance, speaker_order
from toolkit.corpus.columns import usual_columns
from toolkit.corpus.folds import fold_table
from toolkit.corpus.targets import LABEL
from toolkit.errors import counted, listed, printable
from toolkit.files import resolved, templates
from toolkit.plugins.registry import find_part
from toolkit.plugins.signatures import read_arguments
from toolkit.recipe.schema import ProtocolSpec
from toolkit.training.preparation import load_source, prepare_folds

SPEECH, SOUNDS, SCRATCH = "speech/whisper", "sounds/mfcc", "speech/functionals"
ALONE = 10  # with at most this many speakers, each is tested alone; more are dealt into five groups
LARGE = 3  # from this ratio between the largest and the smallest class on, classes are weighted
LONGEST_S = 10.0  # the longest segment that is proposed
UNKNOWN = "speakers are not known: the parts may share some, and results may look too good. Add a column speaker"


def propose(manifest: str, overrides: list[str], *, base: str | None, protocol: str | None) -> tuple[str, list, list]:
    """Write a recipe that extends `base` for a manifest.

    Args: manifest: a file, or a folder of class folders; overrides: the recipe's name, and columns of the manifest;
        base: by default the recipe for speech if speakers are known, else the one for sounds; protocol: by default the
        one that the columns allow.
    Returns: the YAML, which begins with a summary of the data; the `fold_table`; notes on what may surprise.
    Raises: ToolkitError for anything that a training would refuse, and for a file that cannot be read.
    """
    utterances = load_source(base or SOUNDS, overrides, manifest=manifest).read()
    speakers = speaker_order(utterances)
    base = base or (SPEECH if speakers else SOUNDS)
    source = load_source(base, overrides, manifest=manifest)
    chosen, why = (ProtocolSpec(name=protocol), "asked for") if protocol else _protocol(utterances, speakers)
    recipe = replace(source.recipe, labels=None, label_map={}, protocol=chosen)
    prepared = prepare_folds(replace(source, recipe=recipe), utterances)
    notes = [problem.message for problem in prepared[0].warnings] + ([] if speakers else [UNKNOWN])
    extra = dict.fromkeys(name for u in utterances for name in u.extra)
    for column, name in usual_columns(extra).items():
        if not any(u.value(column) for u in utterances):
            notes.append(f"column {name} is not used: if it is the {column}, give --columns {column}={name}")
    for each in prepared:
        if missing := {*each.targets[LABEL].classes} - {u.label for u in each.part("train")}:
            notes.append(f"fold {each.fold.name} cannot be trained: its training part lacks {listed(sorted(missing))}")
    classes = Counter(u.label for u in utterances).most_common()
    (most, many), (least, few) = classes[0], classes[-1]
    imbalance, unweighted = f"{most} has {many / few:.0f} times the utterances of {least}: judge by UA, not by WA", []
    if many >= LARGE * few:
        notes.append(imbalance)
        for loss, part in recipe.model.losses.items():
            able = "class_weights" in [argument.name for argument in read_arguments(find_part("loss", part).load())]
            unweighted += [loss] * (able and part.args.get("class_weights", "none") == "none")
    for key, weights in ((k, w) for k, w in recipe.model.pretrained.items() if not os.path.exists(w)):
        notes.append(f"{weights} will be downloaded. Without a network: --{key} FOLDER. From scratch: --base {SCRATCH}")
    audio = [stretch(u.path, start_s=u.start, end_s=u.end) for u in utterances]
    seconds = sorted(each.frames / each.rate for each in audio)
    genders = Counter({u.speaker: u.gender for u in utterances if u.gender}.values())
    people = ", ".join([counted(len(speakers), "speaker"), *(f"{n} {gender}" for gender, n in sorted(genders.items()))])
    found = [
        f"{manifest}: {counted(len(utterances), 'utterance')} of {people if speakers else 'unknown speakers'}",
        f"{len(classes)} classes: {listed(f'{label} {count}' for label, count in classes)}",
        f"{seconds[0]:.1f} to {seconds[-1]:.1f} s at {listed(sorted({f'{each.rate} Hz' for each in audio}))}",
    ]
    text = templates(Path(__file__).parent / "template").get_template("recipe.yaml.j2")
    facts = {"found": printable("; ".join(found)), "recipe": recipe, "inherited": source.recipe, "why": why}
    inherited = source.recipe.protocol
    unset = dict.fromkeys(inherited.args) if inherited.name == chosen.name else {}
    facts["protocol_args"] = ", ".join(f"{key}: {json.dumps(value)}" for key, value in {**unset, **chosen.args}.items())
    facts |= {"unweighted": unweighted, "imbalance": printable(imbalance)}
    facts["base"] = str(resolved(base)) if os.path.isfile(base) else base
    length = min(max(math.ceil(2 * seconds[-(-19 * len(seconds) // 20) - 1]) / 2, 1.0), LONGEST_S)
    whole = 100 * sum(each <= length for each in seconds) // len(seconds)
    facts |= {"segment_seconds": length, "whole": whole}
    return text.render(facts), fold_table([each.fold for each in prepared], utterances), notes


def _protocol(utterances: Sequence[Utterance], speakers: Sequence[str]) -> tuple[ProtocolSpec, str]:
    """The protocol that the columns allow, and why; no speaker is in two parts."""
    for name, column in (("given", "split"), ("groups", "group")):
        if any(u.value(column) for u in utterances):
            return ProtocolSpec(name=name), f"by the column {column}"
    if not speakers:
        return ProtocolSpec(name="random"), UNKNOWN
    pairs = {(u.session, u.speaker) for u in utterances}
    sessions = Counter(session for session, _ in pairs)
    if len(pairs) == len(speakers) <= ALONE and {*sessions.values()} == {2} and len(sessions) > 1:
        return ProtocolSpec(name="loso"), "one speaker tests, the other of the session validates, the others train"
    k = len(speakers) if len(speakers) <= ALONE else 5
    return ProtocolSpec(name="groups", args={"k": k}), "a group of speakers tests, the next validates, the others train"
