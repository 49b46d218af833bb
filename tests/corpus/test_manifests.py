import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.corpus import (
    Utterance,
    apply_labels,
    natural_key,
    read_manifest,
    speaker_order,
)
from toolkit.corpus.manifests import file_and_times, manifest_text
from toolkit.corpus.targets import Target
from toolkit.errors import CorpusError


def manifest(folder: Path, text: str, name: str = "m.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def refusal(folder: Path, text: str, name: str = "m.csv") -> str:
    with pytest.raises(CorpusError) as caught:
        read_manifest(manifest(folder, text, name))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder), "")


def utterances(*labels: str) -> list[Utterance]:
    return [Utterance(id=f"u{i}", path=Path(f"/d/{i}.wav"), label=label) for i, label in enumerate(labels)]


def test_a_manifest_of_path_and_label_is_enough(tmp_path):
    (a, b) = read_manifest(manifest(tmp_path, "path,label\nwav/a.wav,dog\n/abs/b.wav,cat\n"))
    assert (a.id, a.path, a.label) == ("a", tmp_path / "wav/a.wav", "dog")
    assert b.path == Path("/abs/b.wav")
    assert (a.speaker, a.start, a.extra) == (None, None, {})


def test_all_known_columns_and_further_ones_are_read(tmp_path):
    header = "id,path,label,start,end,speaker,gender,session,group,split,text,room"
    (u,) = read_manifest(manifest(tmp_path, header + "\n1,a.wav,x,0.5,2,s,female,S1,g,train,hi,hall\n"))
    assert (u.start, u.end, u.speaker, u.gender, u.session) == (0.5, 2.0, "s", "F", "S1")
    assert (u.group, u.split, u.text, u.extra) == ("g", "train", "hi", {"room": "hall"})


def test_csv_and_json_hold_the_same(tmp_path):
    objects = [{"path": "a.wav", "label": "x", "start": 1, "age": 30, "speaker": None}, {"path": "b.wav", "label": 3}]
    a = read_manifest(manifest(tmp_path, json.dumps(objects), "m.json"))
    b = read_manifest(manifest(tmp_path, "path,label,start,age\na.wav,x,1,30\nb.wav,3,,\n"))
    assert a == b
    assert a[0].extra == {"age": "30"} and a[1].label == "3"


def test_a_round_trip_is_exact_whatever_the_fields_hold(tmp_path):
    draw = random.Random(7)
    alphabet = "aä,;\"'\n\r\t \\/{}[]:#é漢\u2028 "

    def text() -> str:
        return "".join(draw.choices(alphabet, k=draw.randint(1, 12)))

    made = []
    for i in range(200):
        start = draw.choice([None, draw.random() * 9])
        made.append(
            Utterance(
                id=f"{i}{text()}",
                path=draw.choice([tmp_path / "x y", Path("/elsewhere"), tmp_path / ".."]) / f"{i}.wav",
                label="l" + text(),
                start=start,
                end=draw.choice([None, (start or 0) + 1e-3 + draw.random()]),
                speaker=draw.choice([None, "s" + text()]),
                gender=draw.choice([None, "F", "male"]),
                session=draw.choice([None, text()]),
                text=draw.choice([None, text()]),
                extra={"lable": text(), "more": draw.choice(["", text()])},
            )
        )
    (tmp_path / "m.csv").write_bytes(manifest_text(made, tmp_path / "m.csv").encode())
    assert read_manifest(tmp_path / "m.csv") == made


def test_paths_inside_the_manifests_folder_are_written_relative_so_that_it_can_move(tmp_path):
    text = manifest_text([Utterance(id="a", path=tmp_path / "wav" / "a.wav", label="x")], tmp_path / "m.csv")
    assert ",x," in text and str(tmp_path) not in text


def test_the_default_id_is_the_file_name_and_grows_where_that_is_not_unique(tmp_path):
    text = "path,label,start,end\na/1.wav,x,,\nb/1.wav,x,,\nc/2.wav,x,,\nd/3.wav,x,0,1\nd/3.wav,x,1,2\n"
    ids = [u.id for u in read_manifest(manifest(tmp_path, text))]
    assert ids == ["a/1", "b/1", "2", "d/3@0-1", "d/3@1-2"]
    text = "path,label,start,end\nhalf.au,x,,\nhalf.w64,y,,\n1.au,x,0,1\n1.w64,x,0,1\n1.w64,x,1,2\n"
    ids = [u.id for u in read_manifest(manifest(tmp_path, text))]
    assert ids == ["half.au", "half.w64", "1.au", "1.w64@0-1", "1@1-2"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "path;label;start;end\na,b.wav;x;0:00:01.50;0 days 00:01:00\nc.wav;y;;\n"),
        ("m.tsv", "path\tlabel\tstart\tend\na,b.wav\tx\t1.5\t60\nc.wav\ty\t\tNaT\n"),
        ("m.csv", "path|label|start|end\na,b.wav|x|1.5|60\nc.wav|y||\n"),
        ("m.csv", ',path,label,start,end\n0,"a,b.wav",x,1.5,60\n1,c.wav,y,,\n'),
        ("m.csv", ',index,path,label,start,end\n0,0,"a,b.wav",x,1.5,60\n1,1,c.wav,y,,\n'),
        ("m.csv", '"path"\t"label"\t"start"\t"end"\n"a,b.wav"\tx\t1.5\t60\nc.wav\ty\t\t\n'),
        ("m.jsonl", '{"path": "a,b.wav", "label": "x", "start": 1.5, "end": 60}\n{"path": "c.wav", "label": "y"}\n'),
        (
            "m.json",
            '{"path": "a,b.wav", "label": "x", "start": "1.5", "end": "0:01:00"}\r\n{"path": "c.wav", "label": "y"}',
        ),
    ],
)
def test_semicolons_tabs_bars_lines_of_json_and_durations_are_read(tmp_path, name, text):
    a, b = read_manifest(manifest(tmp_path, text, name))
    assert (a.path, a.label, a.start, a.end) == (tmp_path / "a,b.wav", "x", 1.5, 60.0)
    assert (b.path, b.label, b.start, b.end) == (tmp_path / "c.wav", "y", None, None)


def test_a_quotation_mark_does_not_swallow_the_lines_of_a_table_with_tabs(tmp_path):
    path = manifest(tmp_path, 'path\tlabel\ttext\na.wav\thap\t"Wait\nb.wav\tsad\tfine\nc.wav\tang\tno"\n', "m.tsv")
    with pytest.raises(CorpusError, match=r"m\.tsv:2: a quotation mark opens a field of several lines: remove it"):
        read_manifest(path)


def test_spaces_around_the_values_of_further_columns_do_not_count(tmp_path):
    us = read_manifest(manifest(tmp_path, "path, label, arousal\na.wav, x, high\nb.wav, y, low\nc.wav, y, \n"))
    assert [u.value("arousal") for u in us] == ["high", "low", None]
    assert Target.of_column("arousal", us).classes == ("high", "low")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0 days", 0), ("1 day, 0:00:01", 86401), ("2 days 01:01:01.25", 176461.25), ("10:00:00", 36000)],
)
def test_a_duration_of_pandas_or_python_is_seconds(tmp_path, text, seconds):
    _, start, _ = file_and_times(tmp_path / "m.csv", {"path": "a.wav", "start": text})
    assert start == seconds


def test_columns_with_other_names_are_read_and_the_rest_keep_theirs(tmp_path):
    text = "name,folder,class,start,label\n1.wav,a,dog,77,0\n"
    columns = {"path": "{folder}/{name}", "label": "class", "start": ""}
    (u,) = read_manifest(manifest(tmp_path, text), columns)
    assert (u.path, u.label, u.start, u.extra) == (
        tmp_path / "a" / "1.wav",
        "dog",
        None,
        {"name": "1.wav", "folder": "a"},
    )
    lines = '{"file": "1.wav", "emo": "sad"}\n{"file": "2.wav", "emo": "joy", "spk": "eve"}\n'
    a, b = read_manifest(manifest(tmp_path, lines, "m.jsonl"), {"path": "file", "label": "emo", "speaker": "spk"})
    assert (a.label, a.speaker, b.speaker, b.extra) == ("sad", None, "eve", {})


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            {"path": "filname"},
            "/m.csv: no column 'filname' for path; found filename, class. Did you mean 'filename'?",
        ),
        ({"path": "{dir}/{filename}"}, "no column 'dir' for path; found filename, class"),
        ({"gender": ""}, "no column 'gender' for gender"),
        (
            {"path": "filename"},
            "no column 'label'; found class, path. Say which it is: --columns path=filename,label=class",
        ),
        ({"pth": "filename", "label": "class"}, "unknown column 'pth'. Did you mean 'path'?"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path, columns, says):
    with pytest.raises(CorpusError) as caught:
        read_manifest(manifest(tmp_path, "filename,class\na.wav,x\n"), columns)
    assert says in str(caught.value)


def test_an_empty_last_column_without_a_name_is_ignored(tmp_path):
    """As a spreadsheet writes it, in all rows or in some."""
    found = read_manifest(manifest(tmp_path, "path;label;\na.wav;x;\nb.wav;y\n"))
    assert [(u.id, u.label, u.extra) for u in found] == [("a", "x", {}), ("b", "y", {})]
    assert refusal(tmp_path, "path;label;\na.wav;x;1\n").startswith("/m.csv:2: 3 fields, but the header has 2")


def test_the_same_row_twice_is_refused_with_both_lines(tmp_path):
    same = "the same stretch of a file, or the same id, is on line 2 already"
    assert refusal(tmp_path, "path,label\na.wav,x\nb.wav,x\na.wav,y\n").startswith(f"/m.csv:4: {same}")
    assert refusal(tmp_path, "id,path,label\nq,a.wav,x\nq,b.wav,x\n").startswith(f"/m.csv:3: {same}")


def test_several_wrong_rows_are_named_in_one_message(tmp_path):
    """The first five, in the order of their lines; a row that repeats a wrong one is wrong in itself."""
    rows = ["a.wav,x,f", "a.wav,y,f", ",x,f", "b.wav,,f", "c.wav,x,q", "c.wav,x,q", "d.wav,,f", "e.wav,x,m", ",x,f"]
    found = refusal(tmp_path, "path,label,gender\n" + "\n".join(rows[:4]))
    assert found == (
        "/m.csv:3: the same stretch of a file, or the same id, is on line 2 already; remove the row or give "
        "different ids; line 4: path is empty; line 5: label is empty; every utterance needs one"
    )
    found = refusal(tmp_path, "path,label,gender\n" + "\n".join(rows))
    assert found.startswith("/m.csv:3: ") and found.endswith("; and 2 more wrong rows")
    assert [part.split(":")[0] for part in found.split("; line ")[1:]] == ["4", "5", "6", "7"]
    found = refusal(tmp_path, '{"path": "", "label": "x"}\n{"path": "a.wav", "label": ""}', "m.jsonl")
    assert found.startswith("/m.jsonl:1: path is empty; line 2: label is empty")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,lable\na.wav,x\n", "/m.csv: unknown column 'lable'. Did you mean 'label'?"),
        ("path,label,speeker\na.wav,x,1\n", "/m.csv: unknown column 'speeker'. Did you mean 'speaker'?"),
        ("Path,label\na.wav,x\n", "Did you mean 'path'?"),
        ("path,emotion\na.wav,x\n", "no column 'label'; found path, emotion"),
        ("file,label\na.wav,x\n", "no column 'path'; found file, label"),
        ("path;label\na.wav;x;y\n", "/m.csv:2: 3 fields, but the header has 2"),
        ("path,,label\na.wav,0,x\n", "a column has no name, or two have the same: path, , label"),
        ("path,label,label\na.wav,x,x\n", "a column has no name, or two have the same: path, label, label"),
        ("path,label\na.wav,x\nb.wav\n", "/m.csv:3: 1 fields, but the header has 2"),
        ("path,label\na.wav,\n", "/m.csv:2: label is empty"),
        ("path,label\n\n\n ,x\n", "/m.csv:4: path is empty"),
        ('path,label,text\na.wav,x,"two\nlines"\nb.wav,,\n', "/m.csv:4: label is empty"),
        ("path,label,gender\na.wav,x,woman\n", "gender 'woman' of 'a' is not f, female, m or male"),
        ("path,label,start\na.wav,x,1s\n", "start is '1s'; seconds are needed"),
        ("path,label,start,end\na.wav,x,2,1\n", "end 1.0 s is not after start 2.0 s"),
        ("path,label,start\na.wav,x,-1\n", "start is -1.0; seconds from the beginning of the file are needed"),
        ("path,label,end\na.wav,x,nan\n", "end is nan"),
        ("path,label\n", "holds no utterance"),
        ("", "holds no utterance"),
        (
            "file,Emotion,speaker_id,sex\na.wav,x,1,f\n",
            "no column 'path' and 'label'; found file, Emotion, speaker_id, sex. "
            "Say which it is: --columns path=file,label=Emotion,speaker=speaker_id,gender=sex",
        ),
        ('path,label\n"a.wav,x\n', "not CSV"),
        ('"path,label\n' + "a.wav,x\n" * 20_000, "/m.csv:1: not CSV: field larger than field limit"),
    ],
)
def test_a_wrong_csv_is_one_line_that_says_where_and_what(tmp_path, text, says):
    assert says in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[\n {"path": "a.wav", "label": "x"},\n {"path": "b.wav", "lable": "x"}\n]',
            "/m.json:3: label is empty",
        ),
        ('[\n\n\n {"path": "a.wav"}]', "/m.json: no column 'label'"),
        ('"a.wav"', "/m.json:1: an object is needed"),
        ('{"path": "a.wav", "label": "x"}\n\n{"path": "b.wav"}', "/m.json:3: label is empty"),
        ('{"path": "a.wav", "label": "x"}\n{"path": }', "/m.json:2: not JSON"),
        ('[\n{"path": "a.wav", "label": "x"},\n 7]', "/m.json:3: an object is needed, not 7"),
        ('[{"path": "a.wav", "label": ["x"]}]', "'label' has to be text or a number"),
        ('[\n{"path": }]', "/m.json:2: not JSON"),
        ('[\n{"path": "a.wav", "path": "b.wav", "label": "x"}]', "/m.json:2: not JSON: a key occurs twice"),
        ('[{"path": "a.wav", "label": "x"},', "not JSON: it ends before its array"),
        ('[{"path": "a.wav", "label": "x"}][]', "or continues after it"),
        ('[{"path": "a", "label": "x"}, {"path": "a", "label": "x"}]', "is on line 1"),
        (
            '[{"id": "q", "path": "a", "label": "x"}, {"id": " q", "path": "b", "label": "x"}]',
            "is on line 1",
        ),
        ("[]", "holds no utterance"),
    ],
)
def test_a_wrong_json_is_one_line_that_says_where_and_what(tmp_path, text, says):
    assert says in refusal(tmp_path, text, "m.json")


def test_other_files_are_refused(tmp_path):
    assert "ends in .csv, .tsv, .json or .jsonl" in refusal(tmp_path, "path,label\n", "m.xlsx")
    with pytest.raises(CorpusError, match=r"No manifest at .*nowhere.csv"):
        read_manifest(tmp_path / "nowhere.csv")
    (tmp_path / "m.csv").write_bytes("path,label\nä.wav,x\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"No manifest at .*n.csv; .* Did you mean 'm.csv'?"):
        read_manifest(tmp_path / "n.csv")
    with pytest.raises(CorpusError, match="UTF-8"):
        read_manifest(tmp_path / "m.csv")


def test_a_byte_order_mark_of_a_spreadsheet_is_not_part_of_the_first_column(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbfpath,label\r\na.wav,x\r\n")
    assert read_manifest(tmp_path / "m.csv")[0].label == "x"


@pytest.mark.parametrize(("written", "means"), [("f", "F"), ("Female", "F"), (" M ", "M"), ("male", "M"), ("", None)])
def test_genders_are_normalised(written, means):
    assert Utterance(id="a", path="a.wav", label="x", gender=written).gender == means


def test_an_utterance_checks_itself():
    with pytest.raises(CorpusError, match="id is empty"):
        Utterance(id=" ", path=Path("a"), label="x")
    with pytest.raises(CorpusError, match="extra may not hold 'label'"):
        Utterance(id="a", path=Path("a"), label="x", extra={"label": "y"})
    assert Utterance(id=" a ", path="rel.wav", label="x", speaker=" ").speaker is None
    assert Utterance(id="a", path="rel.wav", label="x").path == Path.cwd() / "rel.wav"
    assert len({Utterance(id="a", path="p", label="x", extra={"k": "v"})}) == 1


def test_numbers_in_names_sort_as_numbers():
    assert sorted(["s10", "s9", "b", "10", "9"], key=natural_key) == ["9", "10", "b", "s9", "s10"]


def test_speakers_of_sessions_come_by_session_men_first_and_others_in_natural_order():
    def u(speaker, session=None, gender=None):
        return Utterance(id=f"{speaker}{session}", path="x", label="l", speaker=speaker, session=session, gender=gender)

    assert speaker_order([u("2F", "S2", "F"), u("1F", "S1", "F"), u("2M", "S2", "M"), u("1M", "S1", "M")]) == [
        "1M",
        "1F",
        "2M",
        "2F",
    ]
    assert speaker_order([u("10", None, "F"), u("9", None, "M"), u("2", None, "F"), u(None)]) == ["2", "9", "10"]


def test_labels_are_mapped_left_out_and_kept_in_the_recipes_order():
    kept, order = apply_labels(
        utterances("neu", "exc", "fru", "hap", "ang"), ["hap", "neu", "ang"], {"exc": "hap", "fru": None}
    )
    assert [u.label for u in kept] == ["neu", "hap", "hap", "ang"]
    assert [u.id for u in kept] == ["u0", "u1", "u3", "u4"]
    assert order == ["hap", "neu", "ang"]


def test_without_given_labels_the_order_is_sorted():
    assert apply_labels(utterances("b", "c", "a"))[1] == ["a", "b", "c"]
    others = {"anger": "ang", "hapy": "hap", "angry": "ang"}  # one map for several corpora
    assert apply_labels(utterances("anger", "hap"), None, others)[1] == ["ang", "hap"]


@pytest.mark.parametrize(
    ("labels", "label_map", "says"),
    [
        (["ang", "hap"], {}, "label 'angr' (2 utterances) is neither in labels (ang, hap) nor in label_map"),
        (["ang", "hap"], {}, "Did you mean 'ang'?"),
        (["ang", "hap"], {}, 'Add {"angr": null} to label_map to leave it out'),
        (["ang", "hap", "sad"], {"angr": None}, "class 'sad' has no utterance; the corpus has ang (1), hap (1)"),
        (["ang"], {"angr": None, "hap": "ang"}, "only 'ang' is left after label_map"),
        (None, {"angrr": None}, "label_map names 'angrr', which no utterance has. Did you mean 'angr'?"),
    ],
)
def test_labels_that_nothing_maps_are_named_with_what_to_do(labels, label_map, says):
    with pytest.raises(CorpusError) as caught:
        apply_labels(utterances("ang", "hap", "angr", "angr"), labels, label_map)
    assert says in str(caught.value)


def test_corpus_code_imports_no_torch():
    code = (
        "import sys, toolkit.corpus, toolkit.corpus.checks, toolkit.corpus.protocols, toolkit_plugins.corpora.iemocap;"
        "import toolkit_plugins.corpora.ravdess, toolkit_plugins.corpora.manifest, toolkit_plugins.corpora.synthetic;"
        "print(sorted({'torch', 'soundfile', 'scipy', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
