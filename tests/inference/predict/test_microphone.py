"""`toolkit predict --microphone`, with a microphone that hears a file: it prints the labels of that file."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from fake_sounddevice import FakeSounddevice
from stand_in_bundle import write_bundle

from toolkit.cli.main import main as cli
from toolkit.inference.predict import microphone

pytestmark = pytest.mark.usefixtures("stand_in")

SUPPORT = Path(__file__).parents[2] / "support"
RATE = 22_050


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> Path:
    """A second, in segments of 0.3 s."""
    path = tmp_path_factory.mktemp("audio") / "talk.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.3, 0.3, RATE), RATE, subtype="FLOAT")
    return path


@pytest.fixture
def hears(monkeypatch):
    def hear(*arguments, **options) -> FakeSounddevice:
        device = FakeSounddevice(*arguments, **options)
        monkeypatch.setitem(sys.modules, "sounddevice", device)
        return device

    return hear


def run(bundle, *words):
    return CliRunner().invoke(
        cli, ["predict", *map(str, (bundle, *words))], prog_name="toolkit", catch_exceptions=False
    )


def labelled(bundle, talk, *words) -> str:
    """What is printed for the file, under the name of the microphone."""
    return run(bundle, talk, "--batch-size", "1", *words).stdout.replace(str(talk), "microphone")


@pytest.mark.parametrize("words", [[], ["--format", "csv", "--hop", "0.07"], ["--format", "jsonl", "--abstain", "0.7"]])
def test_the_rows_are_those_of_the_segments_and_ctrl_c_ends_them(hears, bundle, talk, words):
    hears(talk)
    done = run(bundle, "--microphone", *words)
    assert done.stdout == labelled(bundle, talk, "--segments", *words) and done.stdout.count("\n") >= 4
    assert (done.exit_code, done.stderr) == (130, "Listening to file; Ctrl-C ends it.\ntoolkit: Stopped.\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_there_is_a_row_for_each_hop_and_intervals_when_it_ends(hears, bundle, talk, monkeypatch, tmp_path):
    monkeypatch.setattr(microphone, "HOP_S", 0.1)
    hears(talk)
    assert run(bundle, "--microphone").stdout == labelled(bundle, talk, "--segments", "--hop", "0.1")
    assert run(bundle, "--microphone", "--format", "rttm").stdout == labelled(
        bundle, talk, "--format", "rttm", "--hop", "0.1"
    )
    assert run(bundle, "--microphone", "--format", "textgrid", "--output", tmp_path).exit_code == 130
    run(bundle, talk, "--format", "textgrid", "--output", tmp_path, "--hop", "0.1")
    assert (tmp_path / "microphone.TextGrid").read_text() == (tmp_path / "talk.TextGrid").read_text()


def test_rows_come_while_it_listens_and_what_is_left_after_ctrl_c(bundle, talk):
    command = [sys.executable, SUPPORT / "fake_sounddevice.py", talk, "predict", bundle, "--microphone", "--format=csv"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        first = [process.stdout.readline() for _ in range(4)]  # the header, and the three whole segments
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=60)
    assert "".join(first) + rest == labelled(bundle, talk, "--segments", "--format=csv") and rest.count("\n") == 1
    assert (process.returncode, complaints) == (130, "Listening to file; Ctrl-C ends it.\ntoolkit: Stopped.\n")


def test_ctrl_c_before_anything_was_heard_leaves_a_header(hears, bundle, tmp_path):
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), RATE)
    hears(tmp_path / "nothing.wav")
    done = run(bundle, "--microphone", "--format", "csv")
    assert (done.exit_code, done.stdout) == (130, "path,start,end,label,margin,p_noise,p_tone\n")
    done = run(bundle, "--microphone", "--format", "textgrid", "--output", tmp_path / "out")
    assert done.exit_code == 130 and not (tmp_path / "out").exists()


def ends(bundle, *words) -> str:
    """The line of an error."""
    done = run(bundle, "--microphone", *words)
    assert done.exit_code == 2 and done.stderr.splitlines()[-1].startswith("toolkit")
    return done.stderr.splitlines()[-1]


def test_a_microphone_that_goes_away_loses_no_row(hears, bundle, talk, tmp_path):
    device = hears(talk, then=lambda: setattr(device, "active", False))
    line = ends(bundle, "--format", "csv", "--output", tmp_path / "rows.csv")
    assert line == "toolkit: The microphone has stopped: is it still connected?"
    assert (tmp_path / "rows.csv").read_text() == labelled(bundle, talk, "--segments", "--format", "csv")


def test_a_sample_that_is_not_a_number_ends_it_with_the_rows_before(hears, bundle, talk, tmp_path):
    device = hears(talk)
    device.samples[RATE // 2] = np.nan
    line = ends(bundle, "--format", "csv", "--output", tmp_path / "rows.csv")
    assert "NaN" in line
    assert (tmp_path / "rows.csv").read_text().count("microphone") == 2


def test_a_system_that_is_slower_than_the_audio_says_so(hears, bundle, talk, monkeypatch):
    monkeypatch.setattr(microphone, "LONGEST_WAIT_S", 0.5)
    hears(talk, then=lambda: None)
    assert "The system is slower than the audio: 0.5 s of it wait for labels. Give a larger --hop." in ends(bundle)


def test_ctrl_c_ends_a_system_that_is_slower_than_the_audio(hears, bundle, talk, monkeypatch):
    """While what waits is labelled, the microphone hears more than there is room for."""
    monkeypatch.setattr(microphone, "LONGEST_WAIT_S", 1.5)

    def then() -> None:
        signal.raise_signal(signal.SIGINT)
        for _ in range(100):
            device.callback(np.zeros((device.blocksize, 1), np.float32), device.blocksize, None, "")

    device = hears(talk, then=then)
    done = run(bundle, "--microphone", "--format", "csv")
    assert (done.exit_code, done.stdout) == (130, labelled(bundle, talk, "--segments", "--format", "csv"))


def test_audio_that_the_device_lost_is_noted_once(hears, bundle, talk):
    hears(talk).status = "input overflow"
    assert run(bundle, "--microphone").stderr.count("NOTE: the microphone lost audio: input overflow\n") == 1


def test_a_missing_device_is_one_line(hears, bundle):
    hears(None)
    assert "No microphone can be used (Error querying device -1): connect one" in ends(bundle)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (None, "pip install 'audio-classification-toolkit[microphone]'; on Debian and Ubuntu also"),
        ("raise OSError('PortAudio library not found')", "(PortAudio library not found): pip install"),
    ],
)
def test_a_missing_library_is_one_line(bundle, tmp_path, monkeypatch, code, line):
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    if code is None:
        monkeypatch.setitem(sys.modules, "sounddevice", None)
    else:
        (tmp_path / "sounddevice.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
    assert line in ends(bundle)


def test_options_that_contradict_the_microphone_are_refused(hears, bundle, talk, tmp_path):
    hears(talk)
    assert "Name what to label, or give --microphone without a name." in ends(bundle, talk)
    done = run(bundle)
    assert done.exit_code == 2 and "Name what to label, or give --microphone without a name." in done.stderr
    gendered = write_bundle(tmp_path / "gendered", covariate="{source: label}")
    assert "--covariate gender=F" in ends(gendered)
    assert "The hop is 0.5 s" in ends(bundle, "--hop", "0.5")
