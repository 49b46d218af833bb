"""No step of the reference system reads a value from the device: on the meta device, which has none, that fails."""

import contextlib
from dataclasses import replace

import pytest
import torch
from reference_system import reference_batch, reference_step
from torch.utils._python_dispatch import TorchDispatchMode

from toolkit.contracts import Seq
from toolkit.data.segments import padded, padded_waves

SECONDS = 0.3


class BlockingCopies(TorchDispatchMode):
    """Collects copies from the CPU to another device that the CPU waits for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.aten._to_copy.default and args[0].device.type == "cpu":
            leaves = torch.device(kwargs.get("device") or "cpu").type != "cpu"
            self.found += [list(args[0].shape)] if leaves and not kwargs.get("non_blocking") else []
        return function(*args, **kwargs)


@pytest.fixture
def train_step(monkeypatch):
    """The reference system on the meta device, for which there is no autocast."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
    return reference_step(f"--audio.segment_seconds={SECONDS}").to("meta")


def test_a_step_reads_no_value_from_the_device(train_step):
    batch = reference_batch(3, seconds=SECONDS)
    train_step(batch.to("meta"), batch.targets)  # the first one makes windows and filters, which are kept
    with BlockingCopies() as copies:
        loss = train_step(batch.to("meta"), batch.targets)
        loss.backward()
        train_step.objective.after_step(torch.ones((), dtype=torch.bool, device="meta"))
    assert copies.found == []
    assert all(parameter.grad is not None for parameter in train_step.parameters())


def test_reading_a_value_would_be_noticed(train_step):
    batch = reference_batch(3, seconds=SECONDS)
    unknown = replace(batch, inputs=Seq(batch.inputs.values, batch.inputs.lengths))
    with pytest.raises(NotImplementedError, match="meta"):  # packing for the LSTM asks for the lengths
        train_step(unknown.to("meta"), batch.targets)
    with BlockingCopies() as copies:
        torch.zeros(3).to("meta")
    assert copies.found == [[3]]


def test_batches_say_whether_every_row_is_full():
    short, long = torch.zeros(400), torch.zeros(1600)
    assert padded([long, long]).full and not padded([short, long]).full
    assert padded_waves([long, long], fixed_samples=None).full
    assert not padded_waves([short, long], fixed_samples=None).full
    assert padded_waves([short, long], fixed_samples=1600).full  # silence counts as real


def test_a_full_seq_stays_full_when_it_moves():
    seq = Seq(torch.ones(2, 3), torch.tensor([3, 3]), full=True)
    assert seq.zeroed() is seq
    assert seq.to("cpu").full and not Seq(seq.values, seq.lengths).full


@pytest.mark.parametrize("level", ["spectrogram", "mfcc", "wav2vec2"])
def test_levels_pass_on_that_rows_are_full_and_give_the_same_frames(level):
    extractor = reference_step(f"--audio.segment_seconds={SECONDS}").system.levels[level].eval()
    wave = reference_batch(2, seconds=SECONDS).inputs
    features = extractor.features(wave)
    frames, unknown = extractor.encode(features), extractor(Seq(wave.values, wave.lengths))
    assert features.full and frames.full
    assert torch.equal(frames.lengths, unknown.lengths)
    torch.testing.assert_close(frames.values, unknown.values)
