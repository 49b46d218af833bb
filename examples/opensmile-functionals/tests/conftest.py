import numpy as np
import pytest
import soundfile


@pytest.fixture
def actors(tmp_path, monkeypatch):
    """RAVDESS's folders and names, a second of noise in every file; a feature cache of its own."""
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for actor in range(1, 25):
        folder = tmp_path / "ravdess" / f"Actor_{actor:02d}"
        folder.mkdir(parents=True)
        for emotion in range(1, 9):
            wave = 0.1 * rng.standard_normal(16_000)
            soundfile.write(folder / f"03-01-{emotion:02d}-01-01-01-{actor:02d}.wav", wave, 16_000)
    return tmp_path / "ravdess"
