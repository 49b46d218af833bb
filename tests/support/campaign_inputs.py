"""The inputs of the robustness campaign: names, options, values, recipes and manifests."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from campaign import Case, odd_files
from campaign_damage import WAV, damaged_audio, damaged_files

SMALL = "WORK/small.yaml"
MANIFEST = "WORK/corpus/manifest.csv"
BUNDLE = "WORK/bundle"
SOUNDS = str(Path(__file__).parents[2] / "recipes/sounds/hparams/mfcc.yaml")

# Where a command reads a name: command line, the suffix of the name, the exit codes that refuse it.
READ = {
    "train NAME": (".yaml", (2,)),
    "check-data NAME": (".yaml", (2,)),
    "experiment NAME --output OWN/out": (".yaml", (2,)),
    "new-recipe NAME --output OWN/n.yaml": (".csv", (2,)),
    "new-recipe NAME --output OWN/n.yaml ": ("", (2,)),
    "train extends.yaml": (".yaml", (2,)),
    "check-data include.yaml": (".yaml", (2,)),
    "check-data weights.yaml": (".yaml", (2,)),
    f"train {SMALL} --corpus.args.path NAME": (".csv", (2,)),
    f"check-data {SMALL} --manifest NAME": (".json", (2,)),
    f"check-data {SOUNDS} --data_folder NAME": ("", (2,)),
    f"check-data {SMALL} --training.init_from NAME": (".zip", (1, 2)),
    "check-data recordings.yaml": (".wav", (1, 2)),
    "export NAME OWN/b.zip": ("", (2,)),
    f"predict NAME {WAV}": (".zip", (2,)),
    f"predict {BUNDLE} NAME": (".wav", (1, 2)),
    f"predict {BUNDLE} NAME ": (".csv", (1, 2)),
    f"predict {BUNDLE} -": (".wav", (1, 2)),
    f"predict {BUNDLE} recordings.csv": (".wav", (1, 2)),
    "demo NAME": (".zip", (2,)),
    f"evaluate NAME {MANIFEST}": (".zip", (2,)),
    f"evaluate {BUNDLE} NAME": (".csv", (2,)),
    f"compare {BUNDLE} NAME {MANIFEST}": (".zip", (2,)),
    f"compare {BUNDLE} WORK/bundle.zip NAME": (".json", (2,)),
    f"stress NAME {MANIFEST}": (".zip", (2,)),
    f"stress {BUNDLE} NAME": (".csv", (2,)),
    f"tune NAME --search {SMALL} --trials 1 --output OWN/out": (".yaml", (2,)),
    f"tune {SMALL} --search NAME --trials 1 --output OWN/out": (".yaml", (2,)),
    "audit-split NAME": (".csv", (2,)),
    "status NAME": ("", (2,)),
    "report NAME": ("", (2,)),
    "check-plugin corpus manifest --data_folder NAME": ("", (1, 2)),
}
EMPTY_IS_FINE = ("predict WORK/bundle -",)  # an empty line of standard input is passed over

# Where a command writes to a name: command line.
WRITE = (
    f"train {SMALL} --output_folder NAME --training.epochs 1",
    f"train {SMALL} --output_folder OWN/r --training.epochs 1 --profile-file NAME",
    f"experiment {SMALL} --output NAME",
    "export WORK/run NAME",
    f"predict {BUNDLE} {WAV} --output NAME",
    f"predict {BUNDLE} {WAV} --format textgrid --output NAME",
    "report WORK/experiment --output NAME",
    "new-plugin head campaign --output NAME",
    f"new-recipe {MANIFEST} --overwrite --output NAME",
)
UNWRITABLE = {
    "below a file": "WORK/small.yaml/x",
    "below a device": "/dev/null/x",
    "a kernel's folder": "/proc/nowhere/x",
    "a loop of links": "loop/x",
    "a long name": "n" * 300,
    "a long path": "n/" * 3000,
    "a NUL": "a\0b",
    "a full device": "full",  # a link to it: a mistake of ours must not replace the device
}

TEXT = (
    "",
    " ",
    "x",
    "\x1b[31mx",
    "[/b]",
    "a\0b",
    "\udcff",
    "n" * 5000,
    "1e308",
    "nan",
    "null",
    "-1",
    "'",
    "{",
    "!ref <x>",
    "!new:os.system",
)
# Options, and what each refuses: command line with VALUE in it.
OPTIONS = {
    f"train {SMALL} --fold VALUE": ("", "x", "\x1b[31mS1", "a\0b", "\udcff", "n" * 5000, "null x", "1e308"),
    f"train {SMALL} --seed VALUE": ("", "x", "1.5", "nan", "-1", "1e308"),
    f"train {SMALL} --device VALUE": ("", "x", "cuda:99", "tpu", "a\0b", "\udcff", "cpu cpu", "meta"),
    f"train {SMALL} --precision VALUE": ("", "x", "fp8", "16", "a\0b", "\udcff"),
    f"train {SMALL} --protocol VALUE": ("", "x", "losso", "a\0b", "\udcff", "given"),
    f"train {SMALL} --VALUE 1": ("x", "model", "training.epoch", "model.levels", "a..b", ".", "extends", "\udcff"),
    f"experiment {SMALL} --output OWN/o --folds VALUE": ("x", "S1,x", "\udcff"),
    f"experiment {SMALL} --output OWN/o --seeds VALUE": ("", "x", "1,", "1.5", "-1", "nan", "1e308", "1,,2", "9" * 20),
    f"experiment {SMALL} --output OWN/o --jobs VALUE": ("0", "-1", "x", "1e308", "nan"),
    f"experiment {SMALL} --output OWN/o --threads VALUE": ("0", "-1", "x", "nan"),
    f"experiment {SMALL} --output OWN/o --gpus VALUE": ("", "x", "99", "0,x", "-1"),
    f"experiment {SMALL} --output OWN/o --protocol VALUE": ("", "x", "loso,x", "\udcff"),
    f"experiment {SMALL} --output OWN/o --resource VALUE": ("x", "GPU=x", "=", "GPU=nan"),
    f"experiment {SMALL} --output OWN/o --scheduler VALUE": ("x", "\udcff"),
    f"predict {BUNDLE} {WAV} --abstain VALUE": ("nan", "-1", "2", "x", "", "1e308", "inf"),
    f"predict {BUNDLE} {WAV} --hop VALUE": ("nan", "-1", "0", "1e9", "x", "", "1e-9", "inf"),
    f"predict {BUNDLE} {WAV} --batch-size VALUE": ("0", "-1", "x", "", "1e308"),
    f"predict {BUNDLE} {WAV} --format VALUE": ("x", "", "CSV "),
    f"predict {BUNDLE} {WAV} --device VALUE": ("x", "cuda:99", "\udcff", "a\0b"),
    f"predict {BUNDLE} {WAV} --covariate VALUE": ("x", "gender=F", "=", "gender=@x", "\udcff=\udcff"),
    f"demo {BUNDLE} --host VALUE": ("", "192.0.2.1", "\udcff", "a\0b", "n" * 5000),
    f"demo {BUNDLE} --port VALUE": ("", "0", "65536", "x", "nan", "1e308"),
    f"demo {BUNDLE} --max-minutes VALUE": ("", "0", "-1", "nan", "inf", "x"),
    f"demo {BUNDLE} --max-megabytes VALUE": ("", "0", "-1", "nan", "inf", "x"),
    f"demo {BUNDLE} --abstain VALUE": ("", "nan", "-1", "2", "x", "coverage:0", "eror:0.1"),
    f"demo {BUNDLE} --hop VALUE": ("", "nan", "-1", "0", "1e9", "inf", "x"),
    f"evaluate {BUNDLE} {MANIFEST} --map VALUE": ("x", "tone=x", "=tone", "tone=noise,tone=tone", "x=tone", "x="),
    f"compare {BUNDLE} WORK/bundle.zip {MANIFEST} --map VALUE": ("", "x", "tone=x"),
    f"stress {BUNDLE} {MANIFEST} --condition VALUE": ("", "x", "telefone", "\udcff", "a\0b"),
    f"stress {BUNDLE} {MANIFEST} --figure VALUE": ("", "x", "x.pdf", "a\0b.png", "\udcff"),
    f"stress {BUNDLE} {MANIFEST} --max-drop VALUE": ("", "x", "-1", "nan"),
    f"tune {SMALL} --search {SMALL} --output OWN/o --trials VALUE": ("", "0", "-1", "x", "1e308", "nan"),
    f"tune {SMALL} --search {SMALL} --output OWN/o --trials 1 --sampler VALUE": ("", "x", "TPE ", "\udcff"),
    "list-recipes VALUE": ("x", "--x", "\udcff"),
    "export WORK/run --push VALUE": ("", "x", "a/b/c", "a b/c", "\udcff/x", "a/b@c", "x/" + "n" * 5000),
    f"predict VALUE {WAV}": ("hf:", "hf:x", "hf:a/b/c", "hf:a b/c", "hf:\udcff/x", "hf:a/b@", "hf:x/\x1b[31m"),
    "report WORK/experiment --output OWN/r --baseline VALUE": ("", "x", "sre", "\udcff", "[/b]"),
    "report WORK/experiment --output OWN/r --pair VALUE": ("", "x", "ser", "ser,x", "ser,mfcc,ser", ","),
    f"audit-split {MANIFEST} --column VALUE": ("x", "", "\udcff", "a\0b"),
    f"audit-split {MANIFEST} --column session --speaker-pattern VALUE": ("x", "(", "[", "\udcff"),
    "report WORK/experiment --output OWN/r --protocol VALUE": ("x", "losso", "\udcff"),
    "report WORK/experiment --output OWN/r --tsne-fold VALUE": ("x", "1m", "\udcff"),
    "report WORK/experiment --output OWN/r --speakers VALUE": ("x", "1M,x", ",", "\udcff"),
    f"predict {BUNDLE} {WAV} --output VALUE": ("", ".", "..", "a\0b"),
    f"check-data {SMALL} --training.VALUE": ("probe.epochs=2", "epochs=0"),
    "list-plugins --kind VALUE": ("x", "heads", "\udcff", ""),
    "show-plugin VALUE": ("x", "mfc", "", "\udcff", ":", "x:mfcc", "a\0b", "n" * 5000),
    "check-plugin head mlp --args VALUE": (
        "{",
        "x",
        "[1]",
        "{hidden: x}",
        "{hidn: 8}",
        "!new:os.system {}",
        "{hidden: [1e308]}",
        "\udcff",
    ),
    "check-plugin VALUE": ("x", "head x", "head", "extractor mlp"),
    "new-plugin head VALUE": ("", "1", "a b", "class", "a/b", "../x", "\udcff", "toolkit", "a\0b", "n" * 300),
    f"new-recipe {MANIFEST} --output OWN/n.yaml --name VALUE": ("a b", "a/b", "../x", "\udcff", "a\0b", "#"),
    f"new-recipe {MANIFEST} --output OWN/n.yaml --protocol VALUE": ("looso", "random", "given", "\udcff", "a\0b"),
    f"new-recipe {MANIFEST} --output OWN/n.yaml --base VALUE": ("whisper", "/", "sounds/mfc", "\udcff", "a\0b"),
    "new-plugin VALUE name": ("x", "", "haed", "\udcff"),
    "cache clear --yes VALUE": ("x", "../x", "\udcff", "/"),
    "cache VALUE": ("x", "cler"),
    "VALUE": ("x", "tarin", "--x", "\udcff"),
}

BIG = ("1e308", "-1e308", "1" + "0" * 400, "-1", "0", "x", "[]", "{}", "nan", "inf")
# Keys of a recipe that hold a number, and values of BIG that are right there.
NUMBERS = {
    "seed": ("0",),
    "audio.sample_rate": (),
    "audio.segment_seconds": (),
    "training.epochs": ("1" + "0" * 18,),
    "training.batch_size": (),
    "training.accumulate": (),
    "training.batch_seconds": ("1e308",),
    "training.checkpoint_minutes": ("0", "1e308"),
    "training.checkpoint_steps": ("0",),
    "training.warmup_steps": ("0",),
    "training.max_grad_norm": ("1e308",),
    "training.patience": (),
    "training.workers": ("0",),
    "training.optimizer.learning_rate": ("0", "1e308"),
    "model.levels.mfcc.args.n_fft": (),
    "model.levels.mfcc.args.n_mels": (),
    "model.levels.mfcc.args.hidden": (),
    "model.levels.mfcc.args.layers": (),
    "model.fusion.args.dim": (),
    "model.fusion.args.dropout": ("0",),
    "model.losses.center.weight": ("0", "1e308"),
}

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
