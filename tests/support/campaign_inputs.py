"""The cases of the robustness campaign: names and values for every command, recipes and manifests."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from campaign import Case, odd_files
from campaign_commands import (
    BIG,
    BUNDLE,
    EMPTY_IS_FINE,
    NUMBERS,
    OPTIONS,
    READ,
    SMALL,
    UNWRITABLE,
    WRITE,
)
from campaign_damage import WAV, damaged_audio, damaged_files

RECIPES = {
    "not YAML": "a: [",
    "a tab": "model:\n\tx: 1",
    "a list": "- 1\n- 2\n",
    "text": "hello",
    "a number": "42",
    "null": "null",
    "NUL": "corpus: a\0b",
    "a control character": "corpus: \x01",
    "deep": "a: " + "[" * 2000 + "]" * 2000,
    "deep mappings": "".join(f"{' ' * i}a:\n" for i in range(400)),
    "an alias of itself": "corpus: &a {plugin: *a}",
    "a bomb": "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
    "references that multiply": "name: x\nlabel_map:\n  a0: aaaaaaaaaa\n"
    + "".join(f"  a{i}: !ref {f'<label_map.a{i - 1}>' * 10}\n" for i in range(1, 9)),
    "a reference to itself": "seed: !ref <seed>",
    "a reference to nothing": "seed: !ref <sead>",
    "a division by zero": "seed: !ref <training.epochs> // 0",
    "a power": "seed: !ref <training.epochs> ** 99999999",
    "5,000 digits": "seed: " + "1" * 5000,
    "code": "seed: !new:os.system {command: x}",
    "python": "seed: !!python/object/apply:os.system [x]",
    "a tag": "seed: !x 1",
    "a binary tag": "seed: !!binary aGVsbG8=",
    "extends itself": "extends: recipe.yaml",
    "extends a list": "extends: [a, b]",
    "extends a number": "extends: 1e308",
    "a key twice": "seed: 1\nseed: 2",
    "a key that is not text": "1: 2",
    "an unknown key": "modle: {}",
    "a merge key": "<<: {seed: 1}",
    "no model": "corpus: {plugin: manifest}",
    "an unknown plugin": "extends: BASE\nmodel: {fusion: {plugin: atention}}",
    "a number for a plugin": "extends: BASE\nmodel: {fusion: {plugin: 1e308}}",
    "a list for args": "extends: BASE\nmodel: {fusion: {plugin: attention, args: [1]}}",
    "a level that is null": "extends: BASE\nmodel: {levels: {mfc: null}}",
    "no level": "extends: BASE\nmodel: {levels: {mfcc: null}}",
    "no head": "extends: BASE\nmodel: {heads: {emotion: null, level: null}}",
    "a head on nothing": "extends: BASE\nmodel: {heads: {emotion: {plugin: mlp, on: x}}}",
    "a level called fused": "extends: BASE\nmodel: {levels: {fused: {plugin: mfcc}}}",
    "a level with markup": "extends: BASE\nmodel: {levels: {'[/b]': {plugin: mfcc}}}",
    "a level with a NUL": 'extends: BASE\nmodel: {levels: {"a\\0b": {plugin: mfcc}}}',
    "a level with a dot": "extends: BASE\nmodel: {levels: {a.b: {plugin: mfcc}}}",
    "a surrogate": 'extends: BASE\nname: "\\udcff"\nsead: 1',
    "a name with a slash": "extends: BASE\nname: ../../x",
    "a long name": f"extends: BASE\nname: {'n' * 5000}",
    "a NUL in the name": 'extends: BASE\nname: "a\\0b"',
    "a NUL in the output": 'extends: BASE\noutput_folder: "a\\0b"',
    "predicts from nothing": "extends: BASE\npredict_from: x",
    "labels twice": "extends: BASE\nlabels: [tone, tone]",
    "labels that are unknown": "extends: BASE\nlabels: [x, y]",
    "one label": "extends: BASE\nlabels: [tone]",
    "a protocol's unknown argument": "extends: BASE\nprotocol: {name: groups, args: {x: 1}}",
    "no folds": "extends: BASE\nprotocol: {name: groups, args: {k: 0}}",
    "1e308 folds": "extends: BASE\nprotocol: {name: groups, args: {k: 1e308}}",
    "an unknown optimizer": "extends: BASE\ntraining: {optimizer: {name: adamx}}",
    "an optimizer's unknown argument": "extends: BASE\ntraining: {optimizer: {args: {x: 1}}}",
    "YAML 1.1": "%YAML 1.1\n---\nseed: 1",
    "two documents": "seed: 1\n---\nseed: 2",
    "a byte order mark alone": "\ufeff",
}

ROW = "path,label,speaker,gender,session\n"
GOOD = "".join(
    f"WORK/corpus/{s}{g}{n}.wav,{('tone', 'noise')[n % 2]},{s}{g},{g},S{s}\n"
    for s in (1, 2, 3)
    for g in "FM"
    for n in (0, 1)
)
# Manifests: suffix, text, and the exit codes of check-data.
MANIFESTS = {
    "empty": (".csv", "", (2,)),
    "a header alone": (".csv", ROW, (2,)),
    "a header twice": (".csv", "path,path,label\nx,y,z\n", (2,)),
    "semicolons": (".csv", "path;label\nx;y\n", (2,)),
    "no label": (".csv", "path,speaker\nx,y\n", (2,)),
    "a misspelt column": (".csv", "path,lable\nx,y\n", (2,)),
    "an empty label": (".csv", f"{ROW}x.wav,,1F,F,S1\n", (2,)),
    "an empty path": (".csv", f"{ROW},tone,1F,F,S1\n", (2,)),
    "too many fields": (".csv", f"{ROW}x.wav,tone,1F,F,S1,more\n", (2,)),
    "an open quote": (".csv", f'{ROW}"x.wav,tone,1F,F,S1\n', (2,)),
    "Latin-1": (".csv", b"path,label\nx\xe9.wav,y\n", (2,)),
    "UTF-16": (".csv", "path,label\nx,y\n".encode("utf-16"), (2,)),
    "numbers": (".csv", f"{ROW}{WAV},10 %,1F,F,S1\n{WAV},\u22121/2,1M,M,S1\n{WAV},nan,2F,F,S2\n", (1, 2)),
    "a key twice": (".json", '[{"path": "x.wav", "path": "y.wav", "label": "tone"}]', (2,)),
    "a NUL in it": (".csv", f"{ROW}a\0b.wav,tone,1F,F,S1\n", (1, 2)),
    "a field of a megabyte": (".csv", f"{ROW}{'n' * 1_000_000}.wav,tone,1F,F,S1\n", (1, 2)),
    "one speaker": (".csv", f"{ROW}{WAV},tone,1F,F,S1\n", (1, 2)),
    "no session": (".csv", f"path,label,speaker\n{WAV},tone,1F\n", (1, 2)),
    "an unknown gender": (".csv", f"{ROW}{WAV},tone,1F,?,S1\n", (1, 2)),
    "a start of 1e308": (".csv", f"path,label,start,end,speaker,session\n{WAV},tone,1e308,,1F,S1\n", (1, 2)),
    "an end of nan": (".csv", f"path,label,start,end,speaker,session\n{WAV},tone,0,nan,1F,S1\n", (1, 2)),
    "an end before the start": (".csv", f"path,label,start,end,speaker,session\n{WAV},tone,0.2,0.1,1F,S1\n", (1, 2)),
    "a negative start": (".csv", f"path,label,start,end,speaker,session\n{WAV},tone,-1,0.1,1F,S1\n", (1, 2)),
    "an id twice": (".csv", f"id,path,label,speaker,session\na,{WAV},tone,1F,S1\na,{WAV},tone,1F,S1\n", (2,)),
    "a list of numbers": (".json", "[1, 2]", (2,)),
    "an object": (".json", "{}", (2,)),
    "cut": (".json", '[{"path": "x"', (2,)),
    "null": (".json", "null", (2,)),
    "deep": (".json", "[" * 10_000 + "]" * 10_000, (2,)),
    "deep inside": (".json", '[{"path": ' + "[" * 10_000 + "]" * 10_000 + "}]", (2,)),
    "5,000 digits": (".json", f'[{{"path": "x", "label": {"1" * 5000}}}]', (2,)),
    "5,000 digits in the list": (".json", f"[{'1' * 5000}]", (2,)),
    "a NUL": (".json", '[{"path": "a\\u0000b.wav", "label": "tone", "speaker": "1F", "session": "S1"}]', (1, 2)),
    "a surrogate": (
        ".json",
        '[{"path": "\\udcff.wav", "label": "\\udcff", "speaker": "\\udcff", "session": "S"}]',
        (1, 2),
    ),
    "NaN": (".json", '[{"path": NaN, "label": NaN}]', (1, 2)),
    "an escape": (".json", '[{"path": "x.wav", "label": "\\u001b[31m", "speaker": "[/b]", "session": "S"}]', (1, 2)),
    "a list in it": (".json", '[{"path": ["x"], "label": "y"}]', (2,)),
    "another suffix": (".txt", ROW + GOOD, (2,)),
}


def cases() -> Iterator[Case]:
    """Every case of the campaign, in an order that never changes."""
    yield from _read_names()
    for line in WRITE:
        for about, name in UNWRITABLE.items():
            exits = (0, 2) if line.endswith("--output NAME") and name == "full" and "predict" not in line else (2,)
            yield Case(_writes(line, name), f"{line}: {about}", exits)
    for line, values in OPTIONS.items():
        for value in values:
            yield Case(
                [value if w == "VALUE" else w.replace("VALUE", value) for w in line.split(" ")],
                f"{line}: {value[:40]!r}",
                (1, 2),
            )
    for key, right in NUMBERS.items():
        for value in BIG:
            if value not in right:
                yield Case(["check-data", SMALL, f"--{key}={value}"], f"--{key} {value[:20]}", (1, 2))
    for about, text in RECIPES.items():
        for command in ("train", "check-data"):
            yield Case(
                _with_file("recipe.yaml", text, [command, "recipe.yaml"]), f"{command} of a recipe: {about}", (1, 2)
            )
    for about, (suffix, text, exits) in MANIFESTS.items():
        right = (0,) if about in ("one speaker", "no session") else ()  # enough for a test, not for a training
        for words, also in ((["check-data", SMALL, "--manifest"], ()), (["evaluate", BUNDLE], right)):
            name = f"m{suffix}"
            yield Case(_with_file(name, text, [*words, name]), f"{words[0]} of a manifest: {about}", (1, *exits, *also))
    yield from damaged_files()
    yield from damaged_audio()


def _read_names() -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as folder:
        kinds = list(odd_files(Path(folder), ""))
    for line, (suffix, exits) in READ.items():
        for kind in kinds:
            fine = kind in ("nothing", "a space") and line in EMPTY_IS_FINE
            yield Case(
                _reads(line, suffix, kind),
                f"{line}: {kind}",
                (0, *exits) if fine else exits,
                given=_lines(line, suffix, kind),
            )


def _lines(line: str, suffix: str, kind: str) -> bytes:
    """Standard input with the name; what makes the files runs later, in the folder of the case."""
    with tempfile.TemporaryDirectory() as folder:
        name = odd_files(Path(folder), suffix)[kind]
    return f"{name}\n".encode("utf-8", "surrogateescape") if line.endswith(" -") else b""


def _reads(line: str, suffix: str, kind: str):
    def words(work: Path, own: Path) -> list[str]:
        name = odd_files(own, suffix)[kind]
        quoted = json.dumps(name)
        (own / "extends.yaml").write_text(f"extends: {quoted}\n")
        (own / "include.yaml").write_text(
            f"model: !include:{name}\n".replace("\n", " ", 1).replace("\n", "") + "\n", errors="surrogateescape"
        )
        (own / "weights.yaml").write_text(
            f"extends: {json.dumps(str(work / 'small.yaml'))}\ncorpus: {{args: {{path: {quoted}}}}}\n"
        )
        text = json.dumps(
            [
                {"path": name or " ", "label": label, "speaker": f"{i}", "session": f"S{i}"}
                for i in (1, 2, 3)
                for label in ("tone", "noise")
            ]
        )
        (own / "recordings.json").write_text(text)
        (own / "recordings.csv").write_text(f'path,label\n"{name}",x\n', errors="surrogateescape")
        (own / "recordings.yaml").write_text(
            f"extends: {json.dumps(str(work / 'small.yaml'))}\ncorpus: {{args: {{path: recordings.json}}}}\n"
        )
        return [name if word == "NAME" else word for word in line.split()]

    return words


def _writes(line: str, name: str):
    def words(work: Path, own: Path) -> list[str]:
        (own / "loop").symlink_to(own / "loop")
        (own / "full").symlink_to("/dev/full")
        return [name if word == "NAME" else word for word in line.split()]

    return words


def _with_file(name: str, text: str | bytes, words: list[str]):
    def make(work: Path, own: Path) -> list[str]:
        if isinstance(text, bytes):
            (own / name).write_bytes(text)
        else:
            full = text.replace("BASE", str(work / "small.yaml")).replace("WORK", str(work))
            (own / name).write_text(full, encoding="utf-8", errors="surrogateescape")
        return words

    return make
