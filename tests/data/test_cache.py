"""Features on disk: computed once, equal to the bit whatever is stored, judged before they are computed."""

import errno
import os
import pickle
import re
import shutil
from contextlib import closing

import pytest
import soundfile
import torch
from broken_extractors import GoodExtractor
from cached_features import Parts, same, stored_files
from small_system import write_recipe
from throwaway import good, install

from toolkit.contracts import Extractor, Seq
from toolkit.data.cache import files as cache_files
from toolkit.data.cache.store import features_folder, stored_front_ends
from toolkit.data.front_ends import code_of_levels, front_end_description, front_end_key, rounded, rows_of
from toolkit.data.loaders import SegmentLoader, in_order
from toolkit.data.segments import SegmentSet
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


def test_stored_features_give_what_the_waveform_gives(recipe):
    parts = Parts(recipe)
    (expected,) = [parts.system(batch.inputs, batch.covariates) for batch in in_order(parts.data.train)]
    with closing(parts.cache()) as cache:
        (batch,) = in_order(parts.data.train, cache)
    assert batch.wave is None and batch.features["mfcc"].lengths.max() == 30  # 0.3 s in steps of 10 ms
    found = parts.system(batch.inputs, batch.covariates)
    for name, embedding in expected.embeddings.items():
        assert torch.allclose(found.embeddings[name], embedding, atol=1e-6)


def test_a_second_run_computes_nothing_and_has_the_same_bits(recipe):
    first, second = Parts(recipe).fill(), Parts(recipe).fill()
    assert (len(first.computed), len(second.computed)) == (UTTERANCES, 0)
    assert same(first.rows(), second.rows()) and len(first.rows()) > UTTERANCES


def test_the_audio_is_not_decoded_where_everything_is_stored(recipe, monkeypatch):
    Parts(recipe).fill()
    monkeypatch.setattr("soundfile.SoundFile.read", lambda *args, **options: pytest.fail("decoded"))
    Parts(recipe).fill()


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
    assert len(stored_front_ends(features_folder())) == 2


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
    Parts(recipe).fill()
    parts = Parts(recipe, option, "--model.levels.mfcc.args.n_fft=256").fill()
    assert len(parts.computed) == UTTERANCES


class One(Extractor):
    channels = 1
    front_end_args: dict = {"a": 1}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.frozen = torch.nn.Linear(2, 2).requires_grad_(False)


class Two(One):
    pass


def key(extractor, *, sample_rate=16000, fixed_samples=None, **changed):
    segments = SegmentSet([], {}, {}, sample_rate=sample_rate, segment_samples=1000, fixed_samples=fixed_samples)
    settings = {"code": {"plugins": "1.0"}, "precision": "fp32", "device": "cpu", **changed}
    return front_end_key(front_end_description(extractor, level="x", segments=segments, **settings))


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


def test_arguments_that_are_not_json_are_refused_by_level():
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
    with pytest.raises(ShapeError, match=r"Level 'x': features have \d+ frames, and their lengths say \d+: fix"):
        rows_of(lambda wave: {"x": Long().features(wave)}, wave, level="x", precision="fp32")


def test_what_does_not_fit_is_computed_for_every_batch(recipe, own_cache):
    parts = Parts(recipe)
    # 24 utterances of at least 0.25 s in steps of 10 ms, of 13 float32: above 31,200 bytes
    with closing(parts.cache(limit_mb=0.03)) as cache:
        assert not cache.kept and cache.dataset(parts.data.train) is parts.data.train and cache.fill(parts.sets) == []
    assert not parts.computed and "feature_cache_mb is 0.03" in parts.said[0] and not own_cache.exists()
    assert len(parts.fill(limit_mb=0.05).computed) == UTTERANCES


def test_the_size_is_known_before_anything_is_computed(recipe):
    parts = Parts(recipe)
    stored = sum(values.nbytes for values in parts.fill().rows().values())
    rounded_down = parts.cache(limit_mb=stored * 0.95 / 1e6), parts.cache(limit_mb=stored * 1.1 / 1e6)
    assert [cache.kept for cache in rounded_down] == [False, True]


def test_a_limit_of_nothing_touches_no_disk(recipe, own_cache):
    parts = Parts(recipe).fill(limit_mb=0)
    assert not own_cache.exists() and not parts.computed and not parts.said


def test_more_than_the_whole_cache_may_hold_is_refused(recipe, monkeypatch):
    monkeypatch.setenv("TOOLKIT_CACHE_GB", "0.00002")
    with pytest.raises(CacheError, match=r"take about 0\.0 MB, and TOOLKIT_CACHE_GB allows .*feature_cache_mb 0"):
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
    values = batch.features["mfcc"].values
    assert batch.wave is None and values.dtype == torch.float32 and torch.equal(values, values.half().float())


def test_a_value_that_overflows_is_refused_by_level(recipe):
    parts = Parts(recipe)
    level = parts.system.levels["mfcc"]
    features = level.features
    level.features = lambda wave: Seq(features(wave).values * 0 + 70000, features(wave).lengths)
    with pytest.raises(RecipeError, match=r"'fp16', and features of level 'mfcc' reach 70000, above 65504: use fp32\."):
        parts.fill(precision="fp16")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_features_whose_channels_come_first_in_memory_are_stored(tmp_path, precision):
    """As convolutions leave them."""
    values = torch.arange(12.0).view(1, 3, 4).transpose(1, 2)
    wave = Seq(torch.zeros(1, 400), torch.tensor([400]))
    features = {"x": Seq(values, torch.tensor([4]))}
    rows = rows_of(lambda wave: features, wave, level="x", precision=precision)
    with closing(cache_files.FeatureFiles(tmp_path / "key", {}, say=print)) as files:
        files.write("utterance", rows)
        assert torch.equal(cache_files.read_segment(files.path("utterance"), 0), values[0])


def test_garbage_behind_a_length_does_not_overflow():
    seq = Seq(torch.tensor([[[1.0], [1e9]]]), torch.tensor([1]))
    assert rounded(seq, level="x", precision="fp16").values[0, 0] == 1


def test_workers_read_the_same(recipe):
    parts = Parts(recipe).fill()
    train = parts.data.train
    with closing(parts.cache()) as cache:
        loader = SegmentLoader(train, cache, batch_size=1, num_workers=1)
        for segment, batch in zip(train.segments, loader, strict=True):
            name = train.utterances[segment.utterance].path.name
            assert torch.equal(batch.features["mfcc"].values[0], parts.rows()[name, segment.start])


def test_a_process_that_starts_afresh_gets_names_of_files_and_no_features(recipe):
    parts = Parts(recipe)
    with closing(parts.cache()) as cache:
        dataset = cache.dataset(parts.data.train)
        data = pickle.dumps(dataset)
        assert len(data) < sum(path.stat().st_size for path in stored_files()) / 4
        assert torch.equal(pickle.loads(data)[0][1]["mfcc"], dataset[0][1]["mfcc"])


def test_what_may_not_be_read_is_not_passed_over(recipe, monkeypatch):
    before = Parts(recipe).fill() and stored_files()

    def refuse(path, framework):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cache_files, "safe_open", refuse)
    parts = Parts(recipe)
    with pytest.raises(CacheError, match=r"cannot be read \(Permission denied\): make room, set TOOLKIT_CACHE"):
        parts.fill()
    assert stored_files() == before and not parts.computed


def test_a_file_that_is_deleted_in_a_run_is_one_line(recipe):
    parts = Parts(recipe)
    with closing(parts.cache()) as cache:
        loader = in_order(parts.data.train, cache)
        shutil.rmtree(features_folder())
        with pytest.raises(CacheError, match=r"\.safetensors was there when the run began .*: start the run again"):
            list(loader)


def test_batches_of_stored_features_are_padded_to_the_longest(recipe):
    parts = Parts(recipe)
    with closing(parts.cache()) as cache:
        train, dataset = parts.data.train, cache.dataset(parts.data.train)
        lengths = [len(dataset[index][1]["mfcc"]) for index in range(len(dataset))]
        shortest, longest = lengths.index(min(lengths)), lengths.index(max(lengths))
        seq = train.collate([dataset[shortest], dataset[longest]]).features["mfcc"]
    assert seq.lengths.tolist() == [min(lengths), max(lengths)]
    assert seq.values[0, min(lengths) :].abs().sum() == 0


def test_every_segment_of_a_long_utterance_has_its_features(recipe, monkeypatch):
    expected = Parts(recipe).fill().rows()
    monkeypatch.setattr("toolkit.data.front_ends.BATCH_SIZE", 1)
    parts = Parts(recipe).fill(code="2")
    assert len(parts.computed) == len(expected) > UTTERANCES
    assert all(torch.allclose(rows, expected[name], atol=1e-5) for name, rows in parts.rows().items())


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-10],
        lambda content: content[:-10] + b"0123456789",
        lambda content: b"",
        lambda content: bytes(len(content)),
        lambda content: content[:20],
        lambda content: content.replace(b'"F32"', b'"I32"'),
        lambda content: content.replace(b"crc32", b"crc99"),
        lambda content: re.sub(rb'"__metadata__":{[^}]*},', b"", content),
    ],
    ids=["truncated", "other values", "empty", "zeros", "in its header", "other kind", "no checksum", "no metadata"],
)
def test_a_damaged_file_is_reported_and_computed_again(recipe, damage):
    before = Parts(recipe).fill().rows()
    path = stored_files()[0]
    path.write_bytes(damage(path.read_bytes()))
    parts = Parts(recipe).fill()
    assert len(parts.computed) == 1 and same(parts.rows(), before)
    (line,) = parts.said
    assert line.startswith("A file of the feature cache is damaged and computed again:")
    assert str(path) in line and "\n" not in line
    assert not Parts(recipe).fill().said


def test_what_a_killed_process_left_is_deleted_by_the_next_that_writes(recipe):
    Parts(recipe).fill()
    last = stored_files()[0]
    last.unlink()
    unfinished = last.with_name(f".{last.name}.0123.partial")
    unfinished.write_bytes(b"half")
    Parts(recipe).fill()
    assert last.exists() and not unfinished.exists()


def test_a_full_disk_is_one_line_that_says_what_to_do(recipe, monkeypatch):
    def full(path, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(
        CacheError, match=r"No space left on device\): make room, set TOOLKIT_CACHE.*_cache_mb 0"
    ) as error:
        Parts(recipe).fill()
    assert "\n" not in str(error.value) and not list(features_folder().glob("*/.*.partial"))


def test_a_folder_that_cannot_be_made_is_one_line(recipe, own_cache):
    own_cache.write_text("a file")
    with pytest.raises(CacheError, match="make room, set TOOLKIT_CACHE to another folder"):
        Parts(recipe).fill()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_may_only_be_read_is_read(recipe):
    Parts(recipe).fill()
    folders = [features_folder(), *features_folder().glob("*/")]
    try:
        for folder in folders:
            folder.chmod(0o500)
        assert not Parts(recipe).fill().computed
    finally:
        for folder in folders:
            folder.chmod(0o700)


def test_an_audio_file_that_is_gone_is_named(recipe):
    parts = Parts(recipe)
    (recipe.parent / "corpus" / "3F1.wav").unlink()
    with pytest.raises(AudioError, match=r"3F1\.wav cannot be read: No such file"):
        parts.fill()


def test_threads_compute_the_same_bits_and_what_cannot_be_read_is_one_error(recipe):
    threads = torch.get_num_threads()
    one, three = Parts(recipe), Parts(recipe)
    try:
        torch.set_num_threads(1)
        one.fill(code="1")
        torch.set_num_threads(3)
        three.fill(code="3")
        assert torch.get_num_threads() == 3
        assert same(one.rows(), three.rows()) and len(three.computed) == UTTERANCES
        (recipe.parent / "corpus" / "2M1.wav").write_bytes(b"RIFF no more")
        with pytest.raises(AudioError, match=r"2M1\.wav"):
            three.fill(code="4")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_what_was_computed_before_an_error_stays(recipe):
    broken = recipe.parent / "corpus" / "2F3.wav"
    whole = broken.read_bytes()
    soundfile.write(broken, torch.full((4800,), float("nan")).numpy(), 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"2F3.wav holds NaN"):
        Parts(recipe).fill()
    broken.write_bytes(whole)
    assert 0 < len(Parts(recipe).fill().computed) < UTTERANCES
