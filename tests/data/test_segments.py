"""Segments, their weights and their batches; what is drawn depends on seed and epoch alone."""

from itertools import chain

import numpy as np
import pytest
import soundfile
import torch

from toolkit.corpus import Utterance
from toolkit.corpus.utterance import MIN_SAMPLES
from toolkit.data.batches import EpochBatches, LengthBatches
from toolkit.data.segments import SegmentSet


def utterance(folder, name: str, samples: int) -> Utterance:
    path = folder / f"{name}.wav"
    soundfile.write(path, np.linspace(0.1, 0.5, samples), 16000, subtype="FLOAT")
    return Utterance(id=name, path=path, label="ang")


def segment_set(folder, *samples: int, **settings) -> SegmentSet:
    utterances = [utterance(folder, f"u{i}", count) for i, count in enumerate(samples)]
    indices = list(range(len(samples)))
    return SegmentSet(
        utterances,
        {"label": indices},
        {"gender": indices},
        sample_rate=16000,
        segment_samples=1000,
        **settings,
    )


def test_an_utterance_is_cut_without_overlap_and_its_tail_is_shorter(tmp_path):
    found = [(s.utterance, s.start, s.stop) for s in segment_set(tmp_path, 2500, 1000, 1001, 5).segments]
    assert found == [
        (0, 0, 1000),
        (0, 1000, 2000),
        (0, 2000, 2500),
        (1, 0, 1000),
        (2, 0, 1000),
        (2, 1000, 1001),
        (3, 0, 5),
    ]


def test_a_batch_has_real_lengths_zeros_behind_them_and_weights_by_length(tmp_path):
    segments = segment_set(tmp_path, 1500)
    batch = segments.collate([segments[1], segments[0]])
    assert batch.wave.values.shape == (2, 1000)
    assert batch.wave.lengths.tolist() == [500, 1000]
    assert batch.wave.values[0, 500:].abs().sum() == 0
    assert batch.weights.tolist() == [500.0, 1000.0]
    assert batch.targets["label"].tolist() == [0, 0]
    whole = torch.cat([segments[0][1], segments[1][1]])
    assert torch.allclose(whole, torch.linspace(0.1, 0.5, 1500), atol=1e-6)


def test_equal_tails_weigh_as_much_as_whole_segments(tmp_path):
    segments = segment_set(tmp_path, 1500, tail="equal")
    assert segments.collate([segments[0], segments[1]]).weights.tolist() == [1.0, 1.0]


def test_a_fixed_length_makes_silence_real(tmp_path):
    segments = segment_set(tmp_path, 1500, fixed_samples=1000)
    batch = segments.collate([segments[1]])
    assert batch.wave.values.shape == (1, 1000) and batch.wave.lengths.tolist() == [1000]
    assert batch.weights.tolist() == [500.0]


def test_a_tail_shorter_than_an_analysis_window_is_padded_up_to_it(tmp_path):
    segments = segment_set(tmp_path, 1003)
    batch = segments.collate([segments[1]])
    assert batch.wave.lengths.tolist() == [MIN_SAMPLES] and batch.weights.tolist() == [3.0]


def test_every_segment_comes_once_an_epoch_in_an_order_of_seed_and_epoch():
    batches = EpochBatches(torch.zeros(10, dtype=torch.int64), batch_size=4, seed=1)
    first = list(batches)
    assert sorted(chain.from_iterable(first)) == list(range(10)) and [len(b) for b in first] == [4, 4, 2]
    torch.manual_seed(99)  # the global generator plays no part
    assert list(batches) == first
    batches.set_epoch(2)
    assert list(batches) != first
    assert list(EpochBatches(torch.zeros(10, dtype=torch.int64), batch_size=4, seed=2)) != first


def test_a_resumed_epoch_gives_the_batches_that_are_left():
    batches = EpochBatches(torch.zeros(10, dtype=torch.int64), batch_size=4, seed=1)
    whole = list(batches)
    batches.skip = 2
    assert list(batches) == whole[2:]
    assert list(batches) == whole


def test_balanced_batches_draw_every_class_equally_often():
    classes = torch.tensor([0] * 900 + [1] * 100)
    drawn = list(chain.from_iterable(EpochBatches(classes, batch_size=64, seed=1, sampler="balanced")))
    share = classes[torch.tensor(drawn)].float().mean().item()
    assert len(drawn) == 1000
    assert share == pytest.approx(0.5, abs=0.06)  # 4 standard deviations


def test_batches_by_length_are_drawn_by_seed_and_epoch_and_resumed_like_others():
    by_length = LengthBatches(list(range(1, 31)), limit=60, most=8)
    batches = EpochBatches(torch.zeros(30, dtype=torch.int64), batch_size=4, seed=1, by_length=by_length)
    first = list(batches)
    assert len(first) == len(batches) == len(by_length)
    assert sorted(chain.from_iterable(first)) == list(range(30))
    batches.set_epoch(2)
    second = list(batches)
    assert second != first and len(second) == len(first)
    batches.skip = 3
    assert list(batches) == second[3:]


def test_a_segment_is_read_without_the_rest_of_its_file(tmp_path, monkeypatch):
    segments = segment_set(tmp_path, 2500)
    expected = torch.cat([segments.read(index) for index in range(3)])
    assert torch.allclose(expected, torch.linspace(0.1, 0.5, 2500), atol=1e-6)
    read, frames = soundfile.SoundFile.read, []

    def counted(file, count, **options):
        frames.append(count)
        return read(file, count, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    assert torch.equal(segments.read(1), expected[1000:2000])
    assert torch.equal(segments.waves(0).values[2, :500], expected[2000:])
    assert frames[0] == 1000 and sum(frames) == 3500


def test_segments_of_a_file_at_another_rate_equal_those_of_the_whole(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(6000) / 20), 48000, subtype="FLOAT")
    one = Utterance(id="a", path=tmp_path / "a.wav", label="ang")
    segments = SegmentSet([one], {"label": [0]}, {}, sample_rate=16000, segment_samples=1000)
    assert [s.samples for s in segments.segments] == [1000, 1000]
    together = segments.waves(0)
    assert all(torch.allclose(segments.read(index), together.values[index], atol=1e-6) for index in range(2))
