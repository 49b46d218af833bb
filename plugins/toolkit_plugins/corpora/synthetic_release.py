"""Writes a release in IEMOCAP's shape: its folders, label files and file names, ten speakers in five sessions."""

import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit.files import flush
from toolkit_plugins.corpora.iemocap import RELEASE
from toolkit_plugins.corpora.synthetic_speech import SAMPLE_RATE, draw_manner, draw_voice, speak

# Fractions of the four classes, about as in IEMOCAP; hap and exc are one class.
FRACTIONS = {"neu": 0.28, "ang": 0.24, "sad": 0.24, "hap": 0.12, "exc": 0.12}
LEFT_OUT = ("fru", "xxx")
RATERS = {"ang": "Anger", "hap": "Happiness", "exc": "Excited", "sad": "Sadness", "fru": "Frustration"}
VAD = {"ang": (1.8, 4.0, 4.0), "hap": (4.0, 3.5, 3.2), "exc": (4.2, 4.0, 3.4), "sad": (2.0, 2.0, 2.2)}
# Each dialog was recorded twice, once with each of the two wearing the markers.
DIALOGS = ("impro01", "impro05a", "impro08b", "script01_1", "script01_1b", "script02_2")


@dataclass(frozen=True)
class Turn:
    """One utterance to generate."""

    session: int  # 1 to 5
    dialog: str  # for example "Ses01F_impro01"; F wears the markers
    gender: str  # the speaker's
    number: int  # of the speaker's turns in the dialog, from 0
    label: str  # the release's
    key: tuple[int, ...]  # seeds its random numbers, together with the seed

    @property
    def name(self) -> str:
        """For example "Ses01F_impro01_M000"."""
        return f"{self.dialog}_{self.gender}{self.number:03d}"


def plan(utterances_per_speaker: int, seed: int) -> list[Turn]:
    """List all turns: `utterances_per_speaker` of the four classes for each speaker, and some that are left out."""
    turns = []
    for session in range(1, 6):
        for who, gender in enumerate("MF"):
            labels = _labels(utterances_per_speaker)
            np.random.default_rng([seed, session, who]).shuffle(labels)
            count: dict[str, int] = {}
            for i, label in enumerate(labels):
                dialog = f"Ses0{session}{'FM'[i % 2]}_{DIALOGS[i // 2 % len(DIALOGS)]}"
                number = count.get(dialog, 0)
                count[dialog] = number + 1
                turns.append(Turn(session, dialog, gender, number, label, (session, who, i)))
    return turns


def write_release(
    folder: Path, turns: Sequence[Turn], *, seed: int, min_seconds: float, max_seconds: float, **_: int
) -> Iterator[Turn]:
    """Write the release into a folder and flush it to the disk; yields each turn that is written."""
    voices = {
        (session, gender): draw_voice(gender, np.random.default_rng([seed, session, who, 1 << 20]))
        for session in range(1, 6)
        for who, gender in enumerate("MF")
    }
    root = folder / RELEASE
    written: dict[str, list[tuple[Turn, float]]] = {}
    for turn in turns:
        rng = np.random.default_rng([seed, *turn.key])
        seconds = float(rng.uniform(min_seconds, max_seconds))
        label = "hap" if turn.label == "exc" else turn.label
        speech = speak(voices[turn.session, turn.gender], draw_manner(label, rng), seconds=seconds, rng=rng)
        wav = root / f"Session{turn.session}" / "sentences" / "wav" / turn.dialog / f"{turn.name}.wav"
        wav.parent.mkdir(parents=True, exist_ok=True)
        _write_wav(wav, speech)
        written.setdefault(turn.dialog, []).append((turn, seconds))
        yield turn
    for dialog, members in written.items():
        file = root / f"Session{members[0][0].session}" / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_label_file(members), encoding="utf-8")
    for path in (*folder.rglob("*"), folder):
        flush(path)


def _labels(utterances: int) -> list[str]:
    """Whole numbers near the fractions, at least one of each class, and a tenth more of the labels to leave out."""
    exact = {label: fraction * utterances for label, fraction in FRACTIONS.items()}
    counts = {label: int(number) for label, number in exact.items()}
    for label in sorted(exact, key=lambda label: counts[label] - exact[label]):
        counts[label] += sum(counts.values()) < utterances
    for label in ("ang", "sad", "hap"):
        if not counts[label]:
            counts[label], counts["neu"] = 1, counts["neu"] - 1
    for label in LEFT_OUT:
        counts[label] = max(1, round(0.05 * utterances))
    return [label for label, count in counts.items() for _ in range(count)]


def _label_file(members: list[tuple[Turn, float]]) -> str:
    """As the release has them: a header, the label line of each turn, the raters' lines after it."""
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    at = 1.0
    for turn, seconds in members:
        valence, activation, dominance = VAD.get(turn.label, (2.5, 2.5, 2.5))
        times = f"[{at:.4f} - {at + seconds:.4f}]"
        lines.append(f"{times}\t{turn.name}\t{turn.label}\t[{valence:.4f}, {activation:.4f}, {dominance:.4f}]")
        lines += [f"C-E{i}:\t{RATERS.get(turn.label, 'Neutral')};\t()" for i in (2, 3, 4)]
        lines += [f"C-{turn.gender}1:\tNeutral;\t()"]
        lines += [f"A-E{i}:\tval {valence:.0f}; act {activation:.0f}; dom  {dominance:.0f};\t()" for i in (3, 4)]
        lines.append("")
        at += seconds + 0.5
    return "\n".join(lines) + "\n"


def _write_wav(path: Path, speech: np.ndarray) -> None:
    """16-bit mono."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(np.rint(speech * 32767).astype("<i2").tobytes())
