"""Features kept in memory: computed once, equal to what the front end gives, all of them or none."""

import pytest
import torch
from small_system import write_recipe

from toolkit.cache import in_order, keep_features
from toolkit.model import build_system
from toolkit.preparation import load_source, prepare
from toolkit.run_data import RunData


@pytest.fixture
def parts(tmp_path):
    """The small system and its data."""
    preparation = prepare(load_source(write_recipe(tmp_path)))
    torch.manual_seed(0)
    system = build_system(preparation.source.recipe, preparation.classes).eval()
    return system, RunData(preparation, fixed_samples=system.fixed_samples)


def test_kept_features_give_what_the_waveform_gives(parts):
    system, data = parts
    (expected,) = [system(batch.inputs, batch.covariates) for batch in in_order(data.train)]
    assert keep_features(system, [data.train, data.evaluation], limit_mb=10, device="cpu")
    (batch,) = in_order(data.train)
    assert batch.wave is None and batch.features["mfcc"].lengths.max() == 30  # 0.3 s in steps of 10 ms
    found = system(batch.inputs, batch.covariates)
    for name, embedding in expected.embeddings.items():
        assert torch.allclose(found.embeddings[name], embedding, atol=1e-6)


def test_the_audio_is_not_read_again(parts, tmp_path):
    system, data = parts
    keep_features(system, [data.train], limit_mb=10, device="cpu")
    for file in (tmp_path / "corpus").glob("*.wav"):
        file.unlink()
    assert sum(len(batch.weights) for batch in in_order(data.train)) == len(data.train)


def test_what_does_not_fit_is_not_kept_at_all(parts):
    system, data = parts
    # 20 segments of at most 30 frames of 13 float32 are 31,200 bytes
    assert not keep_features(system, [data.train, data.evaluation], limit_mb=0.03, device="cpu")
    assert data.train.features is None and data.evaluation.features is None
    assert keep_features(system, [data.train, data.evaluation], limit_mb=0.05, device="cpu")


def test_batches_of_kept_features_are_padded_to_the_longest(parts):
    system, data = parts
    keep_features(system, [data.train], limit_mb=10, device="cpu")
    lengths = [len(rows) for rows in data.train.features["mfcc"]]
    shortest, longest = lengths.index(min(lengths)), lengths.index(max(lengths))
    batch = data.train.collate([data.train[shortest], data.train[longest]])
    seq = batch.features["mfcc"]
    assert seq.lengths.tolist() == [min(lengths), max(lengths)]
    assert seq.values[0, min(lengths) :].abs().sum() == 0
