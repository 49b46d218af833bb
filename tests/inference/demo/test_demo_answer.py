"""Answers as the page shows them, and wrong commands; numbers can be checked by hand."""

import os
import re
import time

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from toolkit.audio.reading import stretch
from toolkit.cli.main import main
from toolkit.inference.demo.page import COLUMNS, PALETTE, answer_html, colours_of, outline
from toolkit.inference.demo.serving import sweep
from toolkit.inference.predict.predictions import Prediction


def prediction(*shares: float) -> Prediction:
    """The prediction for segments of 2 s, with these probabilities of the first class, <b>."""

    def segment(share: float, start: float, end: float, segments: tuple = ()) -> Prediction:
        return Prediction({"<b>": share, "sad": 1 - share}, start_s=start, end_s=end, segments=segments)

    segments = tuple(segment(share, 2 * i, 2 * i + 2) for i, share in enumerate(shares))
    return segment(sum(shares) / len(shares), 0, 2 * len(shares), segments)


def shown(found: Prediction, abstain: float = 0) -> str:
    return answer_html(found, np.zeros(COLUMNS), abstain=abstain, colours=colours_of(["<b>", "sad"]))


def test_segments_of_one_label_are_one_stretch_with_its_colour_and_name():
    html = shown(prediction(0.9, 0.8, 0.3, 0.6))
    items = re.findall(
        r'<li title="(.*?)" style="left: (.*?)%; width: (.*?)%; --colour: (.*?)"><span>(.*?)</span>', html
    )
    assert items == [
        ("&lt;b&gt;, 0.0 to 4.0 s", "0.000", "50.000", PALETTE[0], "&lt;b&gt;"),
        ("sad, 4.0 to 6.0 s", "50.000", "25.000", PALETTE[1], "sad"),
        ("&lt;b&gt;, 6.0 to 8.0 s", "75.000", "25.000", PALETTE[0], "&lt;b&gt;"),
    ]
    assert "<strong>&lt;b&gt;</strong>\n65%" in html
    assert "&lt;b&gt;, 6.0 s</li>" in html and "sad, 2.0 s</li>" in html and "<b>," not in html


def test_what_is_below_the_threshold_has_no_label():
    html = shown(prediction(0.9, 0.4), abstain=0.7)
    assert "<strong>no answer</strong>\n&lt;b&gt; has 65%, below 70%" in html
    assert '<li class="none" title="no answer, 2.0 to 4.0 s"' in html
    assert "<td>2.00</td><td>4.00</td><td>no answer</td><td>60%</td>" in html


def test_colours_differ_for_eight_classes_and_repeat_for_more():
    labels = [str(number) for number in range(9)]
    colours = list(colours_of([*labels, "0"]).values())
    assert len(set(colours[:8])) == 8 and colours[8] == colours[0] and len(colours) == 9


@pytest.mark.parametrize("channels", [1, 2])
def test_an_outline_holds_the_peaks(tmp_path, channels):
    samples = np.zeros((COLUMNS * 50 + 7, channels))
    samples[-1] = -0.5  # the highest, in the last column
    samples[0, -1] = 0.25
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    peaks = outline(stretch(tmp_path / "a.wav"))
    assert peaks[0] == 0.5 and peaks[-1] == 1 and peaks[1:-1].max() == 0


def test_the_outline_of_silence_is_flat(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(10), 16_000)
    assert outline(stretch(tmp_path / "a.wav")).tolist() == [0] * COLUMNS


def test_what_was_never_labelled_is_deleted_after_a_while(tmp_path):
    for name, age_s in (("a/old.wav", 700), ("b/new.wav", 500), ("half", 700)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
        os.utime(path, (time.time() - age_s,) * 2)
    sweep(tmp_path, 600)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["new.wav"]


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setattr("toolkit.inference.demo.serving.find_spec", lambda name: None)
    done = CliRunner().invoke(main, ["demo", "x"], prog_name="toolkit")
    assert done.exit_code == 2
    assert done.stderr == "toolkit: demo needs gradio: pip install 'audio-classification-toolkit[demo]'.\n"
