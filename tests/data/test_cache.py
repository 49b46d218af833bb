"""Features on disk: computed once, equal to the bit whatever is stored, judged before they are computed."""

import errno
import json
import pickle
import re

import pytest
import soundfile
import torch
from broken_extractors import GoodExtractor
from cached_features import Parts, same
from small_system import write_recipe
from throwaway import good, install

from toolkit.contracts import Extractor, Seq
from toolkit.data.cache import shards as cache_shards
from toolkit.data.cache.features import in_order
from toolkit.data.cache.store import features_folder, stored_front_ends
from toolkit.data.front_ends import code_of_levels, front_end_description, front_end_key, rounded, rows_of
from toolkit.data.segments import SegmentLoader
from toolkit.errors import AudioError, CacheError, RecipeError, ShapeError
from toolkit.plugins.registry import default_registry
from toolkit.training.preparation import load_source

UTTERANCES = 24  # three sessions of two speakers with four each


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path)


def filled(recipe, **options):
    parts = Parts(recipe)
    assert parts.cache(**options).give(parts.sets)
    return parts


def shards():
    return sorted(features_folder().glob("*/*.npy"))


def test_stored_features_give_what_the_waveform_gives(recipe):
    parts = Parts(recipe)
    (expected,) = [parts.system(batch.inputs, batch.covariates) for batch in in_order(parts.data.train)]
    assert parts.cache().give(parts.sets)
    (batch,) = in_order(parts.data.train)
    assert batch.wave is None and batch.features["mfcc"].lengths.max() == 30  # 0.3 s in steps of 10 ms
    found = parts.system(batch.inputs, batch.covariates)
    for name, embedding in expected.embeddings.items():
        assert torch.allclose(found.embeddings[name], embedding, atol=1e-6)


def test_a_second_run_computes_nothing_and_has_the_same_bits(recipe):
    first, second = filled(recipe), filled(recipe)
    assert (len(first.computed), len(second.computed)) == (UTTERANCES, 0)
    assert same(first.rows(), second.rows()) and len(first.rows()) > UTTERANCES


def test_the_audio_is_not_decoded_where_everything_is_stored(recipe, monkeypatch):
    filled(recipe)
    monkeypatch.setattr("toolkit.data.segments.read_audio", lambda *args, **options: pytest.fail("decoded"))
    filled(recipe)


def test_a_part_of_the_data_gets_the_same_bits_in_any_order(recipe):
    whole = filled(recipe).rows()
    reordered = Parts(recipe)
    reordered.data.train = reordered.data.segments(reordered.data.train.utterances[::-1])
    assert reordered.cache(code="2").give([reordered.data.train])
    assert len(reordered.computed) == len(reordered.data.train.utterances) < UTTERANCES
    assert reordered.cache(code="2").give(reordered.sets)
    assert len(reordered.computed) == UTTERANCES and same(reordered.rows(), whole)


def test_levels_with_one_front_end_share_it_and_others_are_completed_alone(recipe):
    filled(recipe)
    level = "mfcc: {plugin: mfcc, args: {n_mfcc: 13, n_fft: 512, n_mels: 20, hidden: 4, layers: 1, normalize: standard"
    more = f"    twin{level[4:]}ize}}}}\n    other{level[4:].replace('13', '12')}ize}}}}\n  fusion:"
    recipe.write_text(recipe.read_text().replace("  fusion:", more, 1))
    parts = filled(recipe)
    assert set(parts.computed) == {"other"} and len(parts.computed) == UTTERANCES
    assert same(parts.rows("twin"), parts.rows("mfcc")) and not same(parts.rows("other"), parts.rows("mfcc"))
    assert len(stored_front_ends(features_folder())) == 2


def test_other_audio_under_the_same_name_is_computed_again(recipe):
    before = filled(recipe).rows()
    path = recipe.parent / "corpus" / "1F0.wav"
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples * 0.5, rate)
    parts = filled(recipe)
    assert parts.computed == ["mfcc"]
    after = parts.rows()
    assert {key[0] for key in before if not torch.equal(before[key], after[key])} == {"1F0.wav"}


@pytest.mark.parametrize("option", ["--audio.segment_seconds=0.2", "--audio.sample_rate=8000"])
def test_other_segments_are_other_entries(recipe, option):
    filled(recipe)
    parts = Parts(recipe, option, "--model.levels.mfcc.args.n_fft=256")
    assert parts.cache().give(parts.sets) and len(parts.computed) == UTTERANCES


class One(Extractor):
    channels = 1
    front_end_args: dict = {"a": 1}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.frozen = torch.nn.Linear(2, 2).requires_grad_(False)


class Two(One):
    pass


def key(extractor, **changed):
    settings = {"code": {"plugins": "1.0"}, "sample_rate": 16000, "fixed_samples": None, "precision": "fp32"}
    return front_end_key(front_end_description(extractor, level="x", **{**settings, "device": "cpu", **changed}))


def test_what_features_depend_on_makes_another_key():
    torch.manual_seed(0)
    one, again, two = One(), One(), Two()
    again.load_state_dict(one.state_dict())
    two.load_state_dict(one.state_dict())
    assert key(one) == key(again) and key(one, device="cuda:0") == key(one, device="cuda:1")
    changed = [key(two), key(One()), key(one, code={"plugins": "1.1"}), key(one, sample_rate=8000)]
    changed += [key(one, fixed_samples=48000), key(one, precision="fp16"), key(one, device="cuda")]
    again.front_end_args = {"a": 2}
    assert len({key(one), *changed, key(again)}) == 9


def test_arguments_that_are_no_json_are_refused_by_level():
    one = One()
    one.front_end_args = {"a": object()}
    with pytest.raises(CacheError, match="Level 'x': front_end_args cannot be written as JSON"):
        key(one)


def test_the_code_of_a_level_is_the_toolkits_and_its_distributions(recipe):
    (code,) = code_of_levels(load_source(recipe).recipe).values()
    assert list(code) == ["audio-classification-toolkit"]


def test_all_arguments_of_another_distributions_extractor_count(tmp_path, monkeypatch, recipe):
    """Its front_end_args may forget one, and features of another value would be taken for this one's."""
    install(tmp_path / "installed", "my-levels", good("extractor", "magnitude", "broken_extractors:GoodExtractor"))
    monkeypatch.syspath_prepend(tmp_path / "installed")
    default_registry.cache_clear()
    keys = []
    for hop in (80, 160):
        text = re.sub(
            r"mfcc: \{plugin: mfcc.*", f"mfcc: {{plugin: magnitude, args: {{hop: {hop}}}}}", recipe.read_text()
        )
        (recipe.parent / "other.yaml").write_text(text)
        (code,) = code_of_levels(load_source(recipe.parent / "other.yaml").recipe).values()
        assert list(code) == ["audio-classification-toolkit", "my-levels", "arguments"]
        keys.append(key(One(), code=code))
    default_registry.cache_clear()
    assert keys[0] != keys[1]


def test_lengths_beyond_the_features_are_refused(recipe):
    class Long(GoodExtractor):
        def features(self, wave):
            found = super().features(wave)
            return Seq(found.values, found.lengths + 1)

    wave = Seq(torch.zeros(1, 400), torch.tensor([400]))
    with pytest.raises(ShapeError, match=r"Level 'x': features have \d+ frames, and their lengths say \d+: mend"):
        rows_of(Long(), wave, level="x", precision="fp32")


def test_what_does_not_fit_is_not_computed(recipe):
    parts = Parts(recipe)
    # 24 utterances of at least 0.25 s in steps of 10 ms, of 13 float32: above 31,200 bytes
    assert not parts.cache(limit_mb=0.03).give(parts.sets)
    assert parts.data.train.features is None and parts.data.evaluation.features is None
    assert len(parts.computed) == 4 and "feature_cache_mb is 0.03" in parts.said[0]
    assert parts.cache(limit_mb=0.05).give(parts.sets)
    assert len(parts.computed) == UTTERANCES


def test_a_limit_of_nothing_touches_no_disk(recipe, own_cache):
    parts = Parts(recipe)
    assert not parts.cache(limit_mb=0).give(parts.sets)
    assert not own_cache.exists() and not parts.computed


def test_more_than_the_whole_cache_may_hold_is_refused(recipe, monkeypatch):
    monkeypatch.setenv("TOOLKIT_CACHE_GB", "0.00002")
    parts = Parts(recipe)
    with pytest.raises(CacheError, match=r"take about 0\.0 MB, and TOOLKIT_CACHE_GB allows .*feature_cache_mb 0"):
        parts.cache().give(parts.sets)


def test_half_precision_is_what_rounding_gives_at_first_and_later(recipe):
    full = filled(recipe).rows()
    first, second = filled(recipe, precision="fp16"), filled(recipe, precision="fp16")
    assert first.computed and not second.computed
    assert same(first.rows(), second.rows())
    for name, values in full.items():
        assert torch.equal(first.rows()[name], values.half().float())


def test_features_computed_on_the_fly_are_rounded_alike(recipe):
    parts = Parts(recipe)
    cache = parts.cache(limit_mb=0, precision="fp16")
    (batch,) = in_order(parts.data.train, cache.front_end)
    values = batch.features["mfcc"].values
    assert batch.wave is None and values.dtype == torch.float32 and torch.equal(values, values.half().float())


def test_a_value_that_overflows_is_refused_by_level(recipe):
    parts = Parts(recipe)
    level = parts.system.levels["mfcc"]
    features = level.features
    level.features = lambda wave: Seq(features(wave).values * 0 + 70000, features(wave).lengths)
    with pytest.raises(RecipeError, match=r"'fp16', and features of level 'mfcc' reach 70000, above 65504: use fp32\."):
        parts.cache(precision="fp16").give(parts.sets)


def test_garbage_behind_a_length_does_not_overflow():
    seq = Seq(torch.tensor([[[1.0], [1e9]]]), torch.tensor([1]))
    assert rounded(seq, level="x", precision="fp16").values[0, 0] == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_read_the_same_and_an_evicted_file_can_still_be_read(recipe, workers):
    parts = filled(recipe)
    expected = parts.rows()
    for stored in stored_front_ends(features_folder()):
        assert stored.remove()
    assert not shards()
    train = parts.data.train
    loader = SegmentLoader(train, batch_size=1, collate_fn=train.collate, num_workers=workers)
    for segment, batch in zip(train.segments, loader, strict=True):
        name = train.utterances[segment.utterance].path.name
        assert torch.equal(batch.features["mfcc"].values[0], expected[name, segment.start])


def test_a_process_that_gets_features_maps_the_files_itself(recipe):
    parts = filled(recipe)
    data = pickle.dumps(parts.data.train.features["mfcc"])
    assert len(data) < sum(path.stat().st_size for path in shards()) / 4
    for rows, expected in zip(pickle.loads(data), parts.data.train.features["mfcc"], strict=True):
        assert torch.equal(rows, expected)


def test_what_may_not_be_read_is_neither_deleted_nor_passed_over(recipe, monkeypatch):
    filled(recipe)

    def refuse(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied")

    before = shards()
    monkeypatch.setattr(cache_shards.np.lib.format, "open_memmap", refuse)
    parts = Parts(recipe)
    with pytest.raises(CacheError, match=r"cannot be read \(Permission denied\): make room, set TOOLKIT_CACHE"):
        parts.cache().give(parts.sets)
    assert shards() == before and not parts.computed


def test_a_tensor_is_a_view_of_the_file_and_changing_it_does_not_change_the_file(recipe):
    parts = filled(recipe)
    before = [path.read_bytes() for path in shards()]
    parts.data.train.features["mfcc"][0].zero_()
    assert parts.data.train.features["mfcc"][0].abs().sum() == 0
    assert [path.read_bytes() for path in shards()] == before


def test_batches_of_stored_features_are_padded_to_the_longest(recipe):
    data = filled(recipe).data
    lengths = [len(rows) for rows in data.train.features["mfcc"]]
    shortest, longest = lengths.index(min(lengths)), lengths.index(max(lengths))
    batch = data.train.collate([data.train[shortest], data.train[longest]])
    seq = batch.features["mfcc"]
    assert seq.lengths.tolist() == [min(lengths), max(lengths)]
    assert seq.values[0, min(lengths) :].abs().sum() == 0


def test_every_segment_of_a_long_utterance_has_its_features(recipe, monkeypatch):
    expected = filled(recipe).rows()
    monkeypatch.setattr("toolkit.data.front_ends.BATCH_SIZE", 1)
    parts = filled(recipe, code="2")
    assert len(parts.computed) == len(expected) > UTTERANCES
    assert all(torch.allclose(rows, expected[name], atol=1e-5) for name, rows in parts.rows().items())


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, index: data.write_bytes(data.read_bytes()[:-10]),
        lambda data, index: data.write_bytes(data.read_bytes()[:-10] + b"0123456789"),
        lambda data, index: data.write_bytes(b""),
        lambda data, index: index.write_text(index.read_text()[:-20]),
        lambda data, index: index.write_text("[]"),
        lambda data, index: index.write_text(index.read_text().replace("[0, [", "[100000, [")),
    ],
    ids=["truncated", "other values", "empty", "index truncated", "index of another kind", "beyond the end"],
)
def test_a_damaged_shard_is_said_and_computed_again(recipe, monkeypatch, damage):
    monkeypatch.setattr(cache_shards, "SHARD_ENTRIES", 5)
    before = filled(recipe).rows()
    data = max(shards(), key=lambda path: path.stat().st_mtime_ns)
    lost = len(json.loads(data.with_suffix(".json").read_text())["entries"])
    damage(data, data.with_suffix(".json"))
    parts = filled(recipe)
    assert len(parts.computed) == lost and same(parts.rows(), before)
    (line,) = [line for line in parts.said if "damaged" in line]
    assert str(data.with_suffix(".json")) in line and "\n" not in line
    assert not data.exists() and not filled(recipe).said


def test_shards_without_an_index_and_partial_files_are_deleted(recipe, monkeypatch):
    filled(recipe)
    (data,) = [path for path in shards() if path.stat().st_size == max(p.stat().st_size for p in shards())]
    data.with_suffix(".json").unlink()
    (data.parent / "x.npy.partial").write_bytes(b"half")
    parts = filled(recipe)
    assert parts.computed and not data.exists() and not list(data.parent.glob("*.partial"))


def test_a_full_disk_is_one_line_that_says_what_to_do(recipe, monkeypatch):
    def full(path, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_shards.Path, "replace", full)
    parts = Parts(recipe)
    with pytest.raises(
        CacheError, match=r"No space left on device\): make room, set TOOLKIT_CACHE.*_cache_mb 0"
    ) as error:
        parts.cache().give(parts.sets)
    assert "\n" not in str(error.value) and not list(features_folder().glob("*/*.partial"))


def test_a_folder_that_cannot_be_made_is_one_line(recipe, own_cache):
    own_cache.write_text("a file")
    parts = Parts(recipe)
    with pytest.raises(CacheError, match="make room, set TOOLKIT_CACHE to a folder elsewhere"):
        parts.cache().give(parts.sets)


def test_an_audio_file_that_is_gone_is_named(recipe):
    parts = Parts(recipe)
    (recipe.parent / "corpus" / "3F1.wav").unlink()
    with pytest.raises(AudioError, match=r"3F1\.wav cannot be read: No such file"):
        parts.cache().give(parts.sets)


RESAMPLED = ("--audio.sample_rate=8000", "--model.levels.mfcc.args.n_fft=256", "--model.levels.mfcc.args.hop=10")


def test_resampled_waveforms_are_kept_where_features_do_not_fit(recipe, monkeypatch):
    # 55,200 samples of 4 bytes; features take 52 bytes for 10 samples
    live, parts, again = (Parts(recipe, *RESAMPLED) for _ in range(3))
    assert not parts.cache(limit_mb=0.25).give(parts.sets)
    assert parts.said[-1] == "Waveforms at the system's rate are kept instead: about 0.2 MB."
    assert parts.data.train.features is None and len(parts.data.train.kept) == len(parts.data.train)
    monkeypatch.setattr("toolkit.data.segments.read_audio", lambda *args, **options: pytest.fail("decoded"))
    stored = {front_end.path for front_end in stored_front_ends(features_folder())}
    assert not again.cache(limit_mb=0.25).give(again.sets)
    assert {front_end.path for front_end in stored_front_ends(features_folder())} == stored
    waves = [parts.data.train.read(index) for index in range(len(parts.data.train))]
    assert all(torch.equal(again.data.train.read(index), wave) for index, wave in enumerate(waves))
    monkeypatch.undo()
    assert all(torch.equal(live.data.train.read(index), wave) for index, wave in enumerate(waves))


def test_waveforms_at_the_systems_rate_are_read_from_their_files(recipe):
    parts = Parts(recipe, "--model.levels.mfcc.args.hop=10")
    assert not parts.cache(limit_mb=0.45).give(parts.sets)
    assert parts.data.train.kept is None and len(parts.said) == 1


def test_threads_compute_the_same_bits_and_what_cannot_be_read_is_one_error(recipe):
    threads = torch.get_num_threads()
    one, three = Parts(recipe), Parts(recipe)
    try:
        torch.set_num_threads(1)
        assert one.cache(code="1").give(one.sets)
        torch.set_num_threads(3)
        assert three.cache(code="3").give(three.sets)
        assert torch.get_num_threads() == 3
        assert same(one.rows(), three.rows()) and len(three.computed) == UTTERANCES
        (recipe.parent / "corpus" / "2M1.wav").write_bytes(b"RIFF no more")
        with pytest.raises(AudioError, match=r"2M1\.wav"):
            three.cache(code="4").give(three.sets)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
