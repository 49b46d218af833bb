"""ONNX models of systems: they compute what torch computes, and what cannot be exported is named."""

import gc
import json
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from broken_extractors import GoodExtractor
from broken_fusions import GoodFusion
from broken_heads import GoodHead
from onnx_systems import LABELS, RATE, SEGMENT, SYSTEMS, TEMPERATURE, build, small, usage

from toolkit import __version__
from toolkit.contracts import Seq
from toolkit.corpus.utterance import MIN_SAMPLES
from toolkit.data.segments import padded
from toolkit.errors import BundleError
from toolkit.inference.onnx import export as onnx_export
from toolkit.inference.onnx.export import TOLERANCE, export_onnx

PAGE = Path(__file__).parents[3] / "docs" / "onnx.md"


class Exported:
    """A system, and a session that runs its exported model."""

    def __init__(self, system, path):
        self.system = system
        self.path, self.difference = path, export_onnx(system, usage(system), path)
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def torch(self, rows, genders):
        """The answers to segments [samples] of any length, as the core gives them."""
        lengths = [self.system.fixed_samples or max(len(row), MIN_SAMPLES) for row in rows]
        rows = [torch.nn.functional.pad(row, (0, n - len(row))) for row, n in zip(rows, lengths, strict=True)]
        known = dict.fromkeys(self.system.given_covariates, genders)
        with torch.no_grad():
            return self.system(padded(rows), known).logits["emotion"].div(TEMPERATURE).log_softmax(1).numpy()

    def onnx(self, rows, genders, *, beyond=0.0, extra=0):
        """The answers to the same rows in one batch, with `beyond` after the end of each."""
        width = self.system.fixed_samples or max(len(row) for row in rows) + extra
        values = np.full((len(rows), width), beyond, np.float32)
        for target, row in zip(values, rows, strict=True):
            target[: len(row)] = row
        inputs = {"waveform": values, "lengths": np.array([len(row) for row in rows])}
        known = {f"covariate_{name}": genders.numpy() for name in self.system.given_covariates}
        return self.session.run(None, inputs | known)[0]


@pytest.fixture(scope="module", autouse=True)
def no_collection():
    """The exporter makes millions of objects and keeps them: a tenth of its time would go into looking for cycles."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module", params=SYSTEMS)
def exported(request, tmp_path_factory):
    return Exported(build(**SYSTEMS[request.param]), tmp_path_factory.mktemp("onnx") / "model.onnx")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return Exported(small(), tmp_path_factory.mktemp("onnx") / "model.onnx")


def noise(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [0.1 * 10 ** -(i % 3) * torch.randn(n, generator=generator) for i, n in enumerate(lengths)]


def test_any_batch_is_answered_as_by_torch_whatever_follows_its_real_samples(exported):
    genders = torch.tensor([0, 1, -1, 1])
    for lengths in ((SEGMENT, 3_011, 1_600, 4_001), (1_700, 900), (350,)):
        rows = [*noise(*lengths[:-1]), torch.zeros(lengths[-1])]  # the last one is silent
        expected = exported.torch(rows, genders[: len(rows)])
        for beyond in (0.0, 1e4, np.nan):
            found = exported.onnx(rows, genders[: len(rows)], beyond=beyond, extra=77)
            assert found.shape == (len(rows), len(LABELS)) and np.abs(found - expected).max() < 1e-4
        if len(rows) > 1:
            assert np.ptp(expected, axis=0).max() > 1e-3, "rows that are all answered alike would show nothing"


def test_its_inputs_and_axes_are_those_of_the_system(exported):
    fixed, given = exported.system.fixed_samples, list(exported.system.given_covariates)
    found = {x.name: (x.shape, x.type) for x in exported.session.get_inputs()}
    assert found == {
        "waveform": (["batch", fixed or "samples"], "tensor(float)"),
        "lengths": (["batch"], "tensor(int64)"),
        **{f"covariate_{name}": (["batch"], "tensor(int64)") for name in given},
    }
    (output,) = exported.session.get_outputs()
    assert (output.name, output.shape) == ("log_probabilities", ["batch", len(LABELS)])
    assert 0 <= exported.difference <= TOLERANCE == 1e-4


def test_it_holds_what_is_needed_to_use_it_and_no_path_of_this_machine(exported):
    metadata = exported.session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(value) for key, value in metadata.items()} == {
        "labels": list(LABELS),
        "sample_rate": RATE,
        "segment_samples": SEGMENT,
        "fixed_samples": exported.system.fixed_samples,
        "tail": "weighted",
        "covariates": {name: ["F", "M"] for name in exported.system.given_covariates},
        "stamps": ["random weights"],
        "temperature": TEMPERATURE,
        "toolkit_version": __version__,
    }
    written = exported.path.read_bytes()
    assert not [
        path for path in (Path(__file__).parents[3], sys.prefix, torch.__path__[0]) if str(path).encode() in written
    ]
    assert [file.name for file in exported.path.parent.iterdir()] == ["model.onnx"]


class BranchesOnLengths(GoodExtractor):
    def encode(self, features):
        if bool((features.lengths == features.values.shape[1]).all()):
            return Seq(self.output(features.values * self.scale), features.lengths)
        return super().encode(features)


class AnswersOtherwise(GoodExtractor):
    def encode(self, features):
        output = super().encode(features)
        return Seq(output.values + (0.1 if torch.compiler.is_exporting() else 0.0), output.lengths)


class AiryFusion(GoodFusion):
    def pool(self, seq):
        return torch.special.airy_ai(super().pool(seq))


class FailsWhileExported(GoodHead):
    def forward(self, embedding):
        if torch.compiler.is_exporting():
            raise RuntimeError("not today\nand not tomorrow")
        return super().forward(embedding)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"steady": GoodExtractor, "level": BranchesOnLengths},
            r"The level 'level' \(BranchesOnLengths\) .*: torch's exporter reports GuardOnDataDependentSymNode: "
            r".*\.",
        ),
        (
            {"level": AnswersOtherwise},
            r"The level 'level' \(AnswersOtherwise\) .*: for a batch of 1 x 4800 samples ONNX Runtime and "
            r"torch differ by [\d.e-]+\.",
        ),
        ({"fusion": AiryFusion}, r"The fusion \(AiryFusion\) .*: .* No ONNX function found for .*special_airy_ai.*\."),
        (
            {"head": FailsWhileExported},
            r"The head 'emotion' \(FailsWhileExported\) .*: torch's exporter reports RuntimeError: not today\.",
        ),
    ],
    ids=["level branches", "level differs", "fusion unknown", "head raises"],
)
def test_what_cannot_be_exported_is_named_with_the_reason_and_leaves_what_was_there(parts, said, tmp_path, capfd):
    system = small(**parts)
    (tmp_path / "model.onnx").write_text("the one before")
    with pytest.raises(BundleError) as caught:
        export_onnx(system, usage(system), tmp_path / "model.onnx")
    assert re.fullmatch(said, str(caught.value))
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"model.onnx": "the one before"}
    assert capfd.readouterr() == ("", "")


def test_a_name_that_cannot_be_written_is_one_line(plain, tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "model.onnx"
    with pytest.raises(
        BundleError, match=rf"^{re.escape(str(path))} cannot be written \(File exists\): choose another"
    ):
        export_onnx(plain.system, usage(plain.system), path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_missing_packages_are_named_with_the_command_that_installs_them(plain, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    said = (
        r"^ONNX export needs onnxscript, which is not installed: pip install 'audio-classification-toolkit\[onnx\]'\.$"
    )
    with pytest.raises(BundleError, match=said):
        export_onnx(plain.system, usage(plain.system), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_system_that_no_file_can_hold_is_refused_before_it_is_traced(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "LARGEST_GB", 1e-9)
    with pytest.raises(BundleError, match="one ONNX file can hold"):
        export_onnx(plain.system, usage(plain.system), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_the_page_shows_how_an_utterance_is_answered(plain, tmp_path, monkeypatch):
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "model.onnx").write_bytes(plain.path.read_bytes())
    (wave,) = noise(2 * SEGMENT + 1_900)
    soundfile.write(tmp_path / "clip.wav", wave.numpy(), RATE, subtype="FLOAT")
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(code, found)
    segments = [wave[:SEGMENT], wave[SEGMENT : 2 * SEGMENT], wave[2 * SEGMENT :]]
    scores = plain.torch(segments, torch.zeros(3))
    mean = np.average(scores.astype(np.float64), axis=0, weights=[len(segment) for segment in segments])
    expected = np.exp(mean) / np.exp(mean).sum()
    assert found["probabilities"] == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-5)
