"""Features on disk: computed once, the same bits whatever is stored, their size known before they are computed."""

import pickle
from contextlib import closing

import pytest
import soundfile
import torch
from cached_features import Parts, same, stored_files

from toolkit.contracts import Seq
from toolkit.data.cache.store import stored_front_ends
from toolkit.data.front_ends import rounded
from toolkit.data.loaders import SegmentLoader, in_order
from toolkit.errors import AudioError, RecipeError, ToolkitError

UTTERANCES = 24  # three sessions of two speakers with four each

pytestmark = pytest.mark.usefixtures("own_cache")


def test_stored_features_give_what_the_waveform_gives(recipe):
    parts = Parts(recipe)
    (expected,) = [parts.system(batch.inputs, batch.covariates) for batch in in_order(parts.data.train)]
    with closing(parts.cache()) as cache:
        (batch,) = in_order(parts.data.train, cache)
    assert batch.inputs["mfcc"].lengths.max() == 30  # 0.3 s in steps of 10 ms
    found = parts.system(batch.inputs, batch.covariates)
    for name, embedding in expected.embeddings.items():
        assert torch.allclose(found.embeddings[name], embedding, atol=1e-6)


def test_a_second_run_computes_nothing_and_has_the_same_bits(recipe):
    first, second = Parts(recipe).fill(), Parts(recipe).fill()
    assert (len(first.computed), len(second.computed)) == (UTTERANCES, 0)
    assert same(first.rows(), second.rows()) and len(first.rows()) > UTTERANCES


def test_a_part_of_the_data_gets_the_same_bits_in_any_order(recipe):
    whole = Parts(recipe).fill().rows()
    reordered = Parts(recipe)
    reordered.data.train = reordered.data.segments(reordered.data.train.utterances[::-1])
    with closing(reordered.cache(code="2")) as cache:
        cache.fill([reordered.data.train])
    assert len(reordered.computed) == len(reordered.data.train.utterances) < UTTERANCES
    reordered.fill(code="2")
    assert len(reordered.computed) == UTTERANCES and same(reordered.rows(), whole)


def test_levels_with_one_front_end_share_it_and_others_are_completed_alone(recipe):
    Parts(recipe).fill()
    level = "mfcc: {plugin: mfcc, args: {n_mfcc: 13, n_fft: 512, n_mels: 20, hidden: 4, layers: 1, normalize: standard"
    more = f"    twin{level[4:]}ize}}}}\n    other{level[4:].replace('13', '12')}ize}}}}\n  fusion:"
    recipe.write_text(recipe.read_text().replace("  fusion:", more, 1))
    parts = Parts(recipe).fill()
    assert set(parts.computed) == {"other"} and len(parts.computed) == UTTERANCES
    assert same(parts.rows("twin"), parts.rows("mfcc")) and not same(parts.rows("other"), parts.rows("mfcc"))
    assert len(stored_front_ends()) == 2


def test_other_audio_under_the_same_name_is_computed_again(recipe):
    before = Parts(recipe).fill().rows()
    path = recipe.parent / "corpus" / "1F0.wav"
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples * 0.5, rate)
    parts = Parts(recipe).fill()
    assert parts.computed == ["mfcc"]
    after = parts.rows()
    assert {key[0] for key in before if not torch.equal(before[key], after[key])} == {"1F0.wav"}


@pytest.mark.parametrize("option", ["--audio.segment_seconds=0.2", "--audio.sample_rate=8000"])
def test_other_segments_are_other_entries(recipe, option):
    front_end = "--model.levels.mfcc.args.n_fft=256"
    Parts(recipe, front_end).fill()
    assert len(Parts(recipe, front_end, option).fill().computed) == UTTERANCES


def test_what_does_not_fit_is_computed_for_every_batch(recipe, own_cache):
    parts = Parts(recipe)
    # 24 utterances of at least 0.25 s in steps of 10 ms, of 13 float32: above 31,200 bytes
    with closing(parts.cache(limit_mb=0.03)) as cache:
        loader = SegmentLoader(parts.data.train, cache)
        assert not cache.front_ends and not loader.dataset.files and cache.fill(parts.sets) == []
    assert not parts.computed and "feature_cache_mb is 0.03" in parts.said[0] and not own_cache.exists()
    assert len(parts.fill(limit_mb=0.05).computed) == UTTERANCES


def test_the_size_is_known_before_anything_is_computed(recipe):
    parts = Parts(recipe)
    stored = sum(values.nbytes for values in parts.fill().rows().values())
    rounded_down = parts.cache(limit_mb=stored * 0.95 / 1e6), parts.cache(limit_mb=stored * 1.1 / 1e6)
    assert [bool(cache.front_ends) for cache in rounded_down] == [False, True]


def test_more_than_the_whole_cache_may_hold_is_refused(recipe, monkeypatch):
    monkeypatch.setenv("TOOLKIT_CACHE_GB", "0.00002")
    with pytest.raises(ToolkitError, match=r"take about 0\.0 MB, and TOOLKIT_CACHE_GB allows .*feature_cache_mb 0"):
        Parts(recipe).fill()


def test_half_precision_is_what_rounding_gives_at_first_and_later(recipe):
    full = Parts(recipe).fill().rows()
    first, second = Parts(recipe).fill(precision="fp16"), Parts(recipe).fill(precision="fp16")
    assert first.computed and not second.computed
    assert same(first.rows(), second.rows())
    for name, values in full.items():
        assert torch.equal(first.rows()[name], values.half().float())


def test_features_computed_on_the_fly_are_rounded_alike(recipe):
    parts = Parts(recipe)
    with closing(parts.cache(limit_mb=0, precision="fp16")) as cache:
        (batch,) = in_order(parts.data.train, cache)
    values = batch.inputs["mfcc"].values
    assert values.dtype == torch.float32 and torch.equal(values, values.half().float())


def test_a_value_that_overflows_is_refused_with_its_level(recipe):
    parts = Parts(recipe)
    level = parts.system.levels["mfcc"]
    features = level.features
    level.features = lambda wave: Seq(features(wave).values * 0 + 70000, features(wave).lengths)
    with pytest.raises(RecipeError, match=r"'fp16', and features of level 'mfcc' reach 70000, above 65504: use fp32\."):
        parts.fill(precision="fp16")


def test_garbage_behind_a_length_does_not_overflow():
    seq = Seq(torch.tensor([[[1.0], [1e9]]]), torch.tensor([1]))
    assert rounded(seq, level="x", precision="fp16").values[0, 0] == 1


def test_a_process_that_starts_afresh_gets_names_of_files_and_no_features(recipe):
    parts = Parts(recipe)
    with closing(parts.cache()) as cache:
        dataset = SegmentLoader(parts.data.train, cache).dataset
        data = pickle.dumps(dataset)
        assert len(data) < sum(path.stat().st_size for path in stored_files()) / 4
        assert torch.equal(pickle.loads(data)[0][1]["mfcc"], dataset[0][1]["mfcc"])


def test_batches_of_stored_features_are_padded_to_the_longest(recipe):
    parts = Parts(recipe)
    with closing(parts.cache()) as cache:
        train, dataset = parts.data.train, SegmentLoader(parts.data.train, cache).dataset
        lengths = [len(dataset[index][1]["mfcc"]) for index in range(len(dataset))]
        shortest, longest = lengths.index(min(lengths)), lengths.index(max(lengths))
        seq = train.collate([dataset[shortest], dataset[longest]]).inputs["mfcc"]
    assert seq.lengths.tolist() == [min(lengths), max(lengths)]
    assert seq.values[0, min(lengths) :].abs().sum() == 0


def test_every_segment_of_a_long_utterance_has_its_features(recipe, monkeypatch):
    expected = Parts(recipe).fill().rows()
    monkeypatch.setattr("toolkit.data.cache.features.BATCH_SIZE", 1)
    parts = Parts(recipe).fill(code="2")
    assert len(parts.computed) == len(expected) > UTTERANCES
    assert all(torch.allclose(rows, expected[name], atol=1e-5) for name, rows in parts.rows().items())


def test_an_audio_file_that_is_gone_is_named(recipe):
    parts = Parts(recipe)
    (recipe.parent / "corpus" / "3F1.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"3F1\.wav"):
        parts.fill()


def test_what_was_computed_before_an_error_stays(recipe):
    broken = recipe.parent / "corpus" / "2F3.wav"
    whole = broken.read_bytes()
    soundfile.write(broken, torch.full((4800,), float("nan")).numpy(), 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"2F3.wav holds NaN"):
        Parts(recipe).fill()
    broken.write_bytes(whole)
    assert 0 < len(Parts(recipe).fill().computed) < UTTERANCES
