"""How utterances are cut into segments, what these weigh, and how they are put into a batch."""

import numpy as np
import soundfile
import torch

from toolkit.corpus import Utterance
from toolkit.corpus.utterance import MIN_SAMPLES
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
    assert batch.inputs.values.shape == (2, 1000)
    assert batch.inputs.lengths.tolist() == [500, 1000]
    assert batch.inputs.values[0, 500:].abs().sum() == 0
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
    assert batch.inputs.values.shape == (1, 1000) and batch.inputs.lengths.tolist() == [1000]
    assert batch.weights.tolist() == [500.0]


def test_a_tail_shorter_than_an_analysis_window_is_padded_up_to_it(tmp_path):
    segments = segment_set(tmp_path, 1003)
    batch = segments.collate([segments[1]])
    assert batch.inputs.lengths.tolist() == [MIN_SAMPLES] and batch.weights.tolist() == [3.0]


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
