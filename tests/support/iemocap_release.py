"""A release tree with IEMOCAP's real file names and the counts of its publication, for tests."""

from pathlib import Path

COUNTS = {  # speaker: ang, sad, hap + exc, neu
    "1M": (82, 116, 146, 213),
    "1F": (147, 78, 132, 171),
    "2M": (70, 84, 161, 227),
    "2F": (67, 113, 166, 135),
    "3M": (148, 133, 158, 190),
    "3F": (92, 172, 128, 130),
    "4M": (122, 81, 118, 182),
    "4F": (205, 62, 185, 76),
    "5M": (92, 113, 283, 163),
    "5F": (78, 132, 159, 221),
}
LEFT_OUT = {"fru": 1849, "sur": 107, "fea": 40, "dis": 2, "oth": 3, "xxx": 2507}
HAP, PARTNER_WEARS, WOMEN_IN_LONG_NAMES = 595, 2750, 65
DIALOGS = ("impro01", "impro02", "impro07", "script01_1", "script01_3", "script02_2", "script03_2")
LONG_DIALOGS = ("impro05a", "impro05b", "impro08a", "script01_1b")  # fixed character positions fail on these


def build_release(folder: Path, wav: Path | None = None) -> Path:
    """Write IEMOCAP_full_release into a folder; each turn of the four classes is a hard link to `wav`."""
    root = folder / "IEMOCAP_full_release"
    turns = _turns()
    by_dialog: dict[str, list[tuple[str, str]]] = {}
    for dialog, gender, label in turns:
        members = by_dialog.setdefault(dialog, [])
        number = sum(name[-4] == gender for name, _ in members)
        members.append((f"{dialog}_{gender}{number:03d}", label))
    for dialog, members in by_dialog.items():
        session = root / f"Session{dialog[4]}"
        labels = session / "dialog" / "EmoEvaluation"
        (labels / "Categorical").mkdir(parents=True, exist_ok=True)
        (labels / f"{dialog}.txt").write_text(_label_file(members))
        (labels / f"._{dialog}.txt").write_bytes(b"\0\5\26\7[not a label file]\xff")
        (labels / "Categorical" / f"{dialog}_e1_cat.txt").write_text(f"{members[0][0]} :Anger; ()\n")
        if wav is not None:
            wavs = session / "sentences" / "wav" / dialog
            wavs.mkdir(parents=True)
            (wavs / f"._{members[0][0]}.wav").write_bytes(b"\0\5\26\7")
            for name, label in members:
                if label not in LEFT_OUT:
                    (wavs / f"{name}.wav").hardlink_to(wav)
    return root


def _turns() -> list[tuple[str, str, str]]:
    """(dialog, the speaker's gender, label): who wears the markers is somebody else for 2,750 of the 5,531."""
    turns, happy, long_names, used = [], 0, 0, 0
    left_out = [label for label, count in LEFT_OUT.items() for _ in range(count)]
    for speaker, row in COUNTS.items():
        session, gender = speaker
        labels = [label for label, count in zip(("ang", "sad", "hap", "neu"), row, strict=True) for _ in range(count)]
        labels += left_out[: len(left_out) if speaker == "5F" else 451]
        left_out = left_out[451:]
        for i, label in enumerate(labels):
            wearer = "FM"[i % 2]
            dialog = DIALOGS[i // 2 % len(DIALOGS)]
            if label not in LEFT_OUT:
                used += 1
                partner_wears = used * PARTNER_WEARS // 5531 != (used - 1) * PARTNER_WEARS // 5531
                wearer = {"M": "F", "F": "M"}[gender] if partner_wears else gender
                if gender == "F" and i % 40 == 0 and long_names < WOMEN_IN_LONG_NAMES:
                    dialog = LONG_DIALOGS[long_names % len(LONG_DIALOGS)]
                    long_names += 1
            if label == "hap":
                happy += 1
                label = "hap" if happy <= HAP else "exc"
            turns.append((f"Ses0{session}{wearer}_{dialog}", gender, label))
    return turns


def _label_file(members: list[tuple[str, str]]) -> str:
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for i, (name, label) in enumerate(members):
        lines.append(f"[{5 * i:.4f} - {5 * i + 3.1:.4f}]\t{name}\t{label}\t[2.5000, 2.5000, 2.5000]")
        lines += ["C-E2:\tNeutral;\t()", "C-E3:\tAnger; Frustration;\t(it is [not] clear)", "C-F1:\tNeutral;\t()"]
        lines += ["A-E3:\tval 3; act 2; dom  2;\t()", "A-F1:\tval 3; act 2; dom  1;\t()", ""]
    return "\n".join(lines)
