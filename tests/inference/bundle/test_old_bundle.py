"""A bundle that version 0.1.0 wrote, before its modules moved, still loads and predicts the same."""

from pathlib import Path

import numpy as np
import pytest

import toolkit

BUNDLE = Path(__file__).parents[2] / "data" / "bundle-0.1.0.zip"


@pytest.fixture(scope="module")
def model():
    return toolkit.load(BUNDLE, device="cpu")


def sweep():
    """1.5 s of a tone that rises from 200 Hz."""
    time = np.arange(24000) / 16000
    return (0.3 * np.sin(2 * np.pi * (200 + 150 * time) * time)).astype(np.float32)


@pytest.mark.parametrize(("gender", "noise"), [("F", 0.5753520094422574), ("M", 0.5743360762122105)])
def test_it_answers_as_when_it_was_written(model, gender, noise):
    prediction = model.predict(sweep(), sample_rate=16000, covariates={"gender": gender})
    assert prediction.probabilities == pytest.approx({"noise": noise, "tone": 1 - noise}, abs=1e-6)
    assert len(prediction.segments) == 5


def test_it_has_the_same_embeddings_as_when_it_was_written(model):
    embeddings = model.embed(sweep(), sample_rate=16000, covariates={"gender": "F"})
    assert embeddings.keys() == {"fused", "mfcc", "wav2vec2", "nlinear", "dlinear"}
    assert embeddings["fused"] == pytest.approx([0, 0, 0.3069818, 0, 0, 0.0038098, 0.13156375, 0], abs=1e-5)
