"""A test recognises the speakers and audio that trained a bundle, and nothing else."""

import json

from toolkit.corpus import Utterance
from toolkit.model.seen import Seen


def utterances(folder, **contents):
    """One utterance for each speaker, in a file with this content."""
    for name, content in contents.items():
        (folder / f"{name}.wav").write_bytes(content)
    return [Utterance(id=name, path=folder / f"{name}.wav", label="x", speaker=name) for name in contents]


def test_speakers_and_audio_of_the_training_are_counted_in_a_test(tmp_path):
    trained = utterances(tmp_path, anna=b"1", bob=b"2")
    seen = Seen(**json.loads(json.dumps(vars(Seen.of(trained)))))
    assert seen == Seen.of(trained) and all(len(name) == 12 for name in (*seen.speakers, *seen.audio))
    (tmp_path / "test").mkdir()
    tested = utterances(tmp_path / "test", Anna=b"3", carl=b"2", dora=b"4")
    assert seen.stamps(tested) == ("trained on part of this test: 1 of 3 speakers, by name, 1 of 3 utterances",)
    assert seen.stamps(tested[2:]) == ()


def test_a_stretch_is_another_recording_than_its_file_and_missing_audio_is_left_out(tmp_path):
    (whole,) = utterances(tmp_path, anna=b"1")
    part = Utterance(id="p", path=whole.path, label="x", speaker="eve", start=1.0)
    gone = Utterance(id="g", path=tmp_path / "gone.wav", label="x")
    seen = Seen.of([part, gone])
    assert len(seen.audio) == 1 and seen.stamps([whole, gone]) == ()


def test_a_bundle_without_hashes_says_nothing(tmp_path):
    assert Seen().stamps(utterances(tmp_path, anna=b"1")) == ()
