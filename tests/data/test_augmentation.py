"""Augmentation of the training part: what is changed, what it depends on, and what is left alone."""

from collections import Counter

import pytest
import torch
from small_system import write_recipe

from toolkit.contracts import Augmentation, Mix, Seq
from toolkit.data.augmentation import Augmentations, Step, build_augmentations
from toolkit.data.batches import Draw
from toolkit.data.loaders import in_order
from toolkit.data.segments import Batch
from toolkit.errors import FailedPlugin, ToolkitError
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run
from toolkit_plugins.augmentations.mixup import Mixup

TWO_LEVELS = """extends: small.yaml
model:
  levels:
    other: {plugin: mfcc, args: {n_mfcc: 5, n_fft: 512, n_mels: 20, encoder: none, normalize: none}}
augmentations:
"""
RANKS = [((4, 2), (0, 2)), ((3,), (1,))]  # lengths and rows of three, two and one


class Adds(Augmentation):
    """Adds a whole number that is drawn."""

    def __init__(self, reads="wave", most=1000):
        self.reads, self.most = reads, most

    def change(self, values, generator):
        return values + int(torch.randint(1, self.most, (), generator=generator))


class Swaps(Augmentation):
    reads = "batch"

    def __init__(self, share):
        self.share, self.calls = share, 0

    def mix(self, features, generator):
        self.calls += 1
        return features, Mix(torch.tensor([1, 0]), self.share)


def of(*augmentations, p=1.0, seed=1, samples=10):
    steps = [Step(f"a{i}", one, p, ("x",)) for i, one in enumerate(augmentations)]
    return Augmentations(steps, seed=seed, segment_samples=samples)


def batch_of(lengths, places):
    features = {"x": Seq(torch.zeros(len(lengths), max(lengths), 1), torch.tensor(lengths))}
    rows = torch.arange(len(lengths))
    draws = tuple(Draw(i, *place) for i, place in enumerate(places))
    return Batch(features, {}, {}, rows, rows.float(), draws)


def change(augmentations, lengths=(4, 2), places=((1, 1, 0), (1, 1, 1))):
    return augmentations.change(batch_of(lengths, places)).inputs["x"].values[:, :, 0]


def test_every_row_draws_for_its_place_and_padding_stays():
    values = change(of(Adds("features")))
    assert len(values[0].unique()) == 1 and values[0, 0] > 0
    assert values[1, :2].tolist() == [values[1, 0]] * 2 and values[1, 2:].tolist() == [0, 0]
    assert values[0, 0] != values[1, 0]


def test_a_row_is_the_same_in_another_batch_and_differs_in_another_place_and_with_another_seed():
    first = change(of(Adds("features")))[1, 0]
    assert change(of(Adds("features")), (3, 2, 1), ((1, 1, 5), (1, 1, 1), (9, 9, 9)))[1, 0] == first
    others = [change(of(Adds("features")), (1,), [place])[0, 0] for place in ((2, 1, 1), (1, 2, 1), (1, 1, 2))]
    assert len({float(first), *map(float, others), float(change(of(Adds("features"), seed=2))[1, 0])}) == 5


def test_one_more_augmentation_leaves_the_draws_of_the_others():
    alone = change(of(Adds("features")))
    more = of(Adds("features"), Adds("features"))
    second = change(Augmentations(more.others[1:], seed=1, segment_samples=10))
    assert torch.equal(change(more), alone + second)


@pytest.mark.parametrize(("p", "low", "high"), [(0.0, 0, 0), (1.0, 400, 400), (0.25, 75, 125)])
def test_p_is_how_often_a_row_is_changed(p, low, high):
    values = change(of(Adds("features"), p=p), (1,) * 400, [(1, 1, row) for row in range(400)])
    assert low <= int((values > 0).sum()) <= high


def test_a_waveform_is_cut_to_a_segment_and_has_to_stay_one():
    longer = type("Longer", (Adds,), {"change": lambda self, values, generator: torch.cat([values, values])})
    draw, wave = Draw(0, 1, 1, 0), torch.arange(8.0)
    augmentations = of(longer())
    assert augmentations.wave(wave, augmentations.waves, draw).tolist() == [*range(8), 0, 1]
    empty = type("Empty", (Adds,), {"change": lambda self, values, generator: values[:0]})
    augmentations = of(empty())
    rule = r"Empty: `change` must give a tensor \[at least 1 sample\] of torch.float32"
    with pytest.raises(FailedPlugin, match=rule):
        augmentations.wave(wave, augmentations.waves, draw)


@pytest.mark.parametrize(
    ("returned", "gave"),
    [
        (lambda values: None, "None"),
        (lambda values: values.numpy(), r"a ndarray \[4, 1\] of float32"),
        (lambda values: values.double(), r"a Tensor \[4, 1\] of torch.float64"),
        (lambda values: values[:0], r"a Tensor \[0, 1\] of torch.float32"),
    ],
    ids=["nothing", "numpy", "float64", "no frames"],
)
def test_a_row_stays_a_tensor_of_its_shape_and_dtype(returned, gave):
    odd = type("Odd", (Adds,), {"change": lambda self, values, generator: returned(values)})
    rule = r"Odd: `change` must give a tensor \[4, 1\] of torch.float32, and gave "
    with pytest.raises(FailedPlugin, match=rule + gave):
        change(of(odd("features")))


@pytest.mark.parametrize(
    "returned",
    [
        lambda features, mix: None,
        lambda features, mix: features,
        lambda features, mix: (features, 0.5),
        lambda features, mix: ({}, mix),
        lambda features, mix: ({"x": features["x"].values}, mix),
        lambda features, mix: ({"x": Seq(features["x"].values.double(), features["x"].lengths)}, mix),
        lambda features, mix: ({"x": Seq(features["x"].values[:, :3], features["x"].lengths)}, mix),
    ],
    ids=["nothing", "features alone", "a number", "no level", "a tensor", "float64", "fewer frames"],
)
def test_a_mixed_batch_has_the_same_levels_shapes_and_dtypes_and_says_how_it_was_mixed(returned):
    odd = type("Odd", (Swaps,), {"mix": lambda self, *given: returned(*Swaps.mix(self, *given))})
    rule = "Odd: `mix` must give features of the same levels, shapes and dtypes, and a Mix, and gave"
    with pytest.raises(FailedPlugin, match=rule):
        change(of(odd(0.75)))


def test_one_augmentation_at_most_mixes_a_batch():
    first, second = Swaps(0.75), Swaps(0.25)
    both = Augmentations([Step("a", first, 0.5, ()), Step("b", second, 1.0, ())], seed=1, segment_samples=10)
    batches = [batch_of((4, 2), ((1, step, 0), (1, step, 1))) for step in range(40)]
    shares = Counter(both.change(batch).mix.share for batch in batches)
    assert shares == {0.75: first.calls, 0.25: second.calls} and shares.total() == 40
    assert 10 <= first.calls <= 30


def test_all_ranks_mix_a_batch_or_leave_it_with_the_same_share():
    step = Step("mixup", Mixup(alpha=1.0), 0.5, ("x",))
    augmentations, shares = Augmentations([step], seed=1, segment_samples=10), set()
    for number in range(40):
        first, second = (batch_of(lengths, [(1, number, row) for row in rows]) for lengths, rows in RANKS)
        mixes = [augmentations.change(batch).mix for batch in (first, second)]
        share, other = (None if mix is None else mix.share for mix in mixes)
        assert share == other
        shares.add(share)
    assert None in shares and len(shares) > 10


def prepared(tmp_path, augmentations, *overrides):
    write_recipe(tmp_path)
    (tmp_path / "augmented.yaml").write_text(TWO_LEVELS + augmentations)
    return prepare(load_source(tmp_path / "augmented.yaml", [*overrides]))


def run_of(preparation, lines=None):
    run = Run(preparation, say=[].append if lines is None else lines.append)
    return run, run.data, run._feature_cache()


def test_a_waveform_augmentation_changes_the_levels_it_names_and_the_others_read_stored_features(tmp_path):
    run, data, cache = run_of(prepared(tmp_path, "  quiet: {plugin: gain, on: other, args: {db: [-20, -20]}}\n"))
    (clean,) = in_order(data.train, cache)
    batches = data.training_batches()
    loader = data.loader(data.train, batches, cache=cache, augmentations=run.augmentations)
    assert loader.dataset.groups.keys() == {("other",)} and loader.dataset.files.keys() == {"mfcc"}
    for batch in loader:
        for row, index in enumerate(batch.draws):
            wave = 0.1 * data.train.read(index)
            quiet = cache.compute(Seq(wave[None], torch.tensor([len(wave)])))["other"].values[0]
            length = len(quiet)
            found = {level: seq.values[row, :length] for level, seq in batch.inputs.items()}
            assert torch.equal(found["mfcc"], clean.inputs["mfcc"].values[index, :length])
            assert torch.allclose(found["other"], quiet, atol=1e-3)


def test_a_run_stores_no_training_features_that_it_does_not_read_and_says_what_that_costs(tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    lines = []
    run, _, _ = run_of(prepared(tmp_path, "  quiet: {plugin: gain, on: other}\n", "--training.epochs=1"), lines)
    run.train()
    stored = Counter(file.parent for file in (tmp_path / "cache").rglob("*.safetensors"))
    assert sorted(stored.values()) == [16, 24]  # validation and test of `other`, all of `mfcc`
    assert any(line.startswith("Waveforms are augmented (quiet): the training features of other") for line in lines)


def test_what_is_computed_live_is_what_would_be_stored(tmp_path):
    run, data, cache = run_of(prepared(tmp_path, "  same: {plugin: gain, args: {db: [0, 0]}}\n"))
    loader = data.loader(data.train, data.training_batches(), cache=cache, augmentations=run.augmentations)
    (clean,) = in_order(data.train, cache)
    for batch in loader:
        for row, index in enumerate(batch.draws):
            length = int(clean.inputs["mfcc"].lengths[index])
            for level in ("mfcc", "other"):
                found, expected = (b.inputs[level].values[i, :length] for b, i in ((batch, row), (clean, index)))
                assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  loud: {plugin: gain, p: 1.5}", "augmentations.loud.p in augmented.yaml, line 6: must be a probability f"),
        ("  loud: {plugin: gian}", "augmentations.loud.plugin in augmented.yaml, line 6: No augmentation is called"),
        ("  loud: {plugin: gain, on: mfc}", "names 'mfc', an unknown level. Did you mean 'mfcc'?"),
        ("  loud: {plugin: gain, on: []}", "augmentations.loud.on in augmented.yaml, line 6: must name at least one"),
        ("  loud: {plugin: gain, args: {dbs: [1, 2]}}", "has no argument 'dbs'. Did you mean 'db'?"),
        ("  loud: {plugin: gain, args: {db: [2, 1]}}", "db is [2, 1]; the first number must not be above the second"),
        ("  mixup: {plugin: mixup, on: mfcc}", "augmentations.mixup.on in augmented.yaml, line 6: 'mixup' mixes"),
        ("  a.b: gain", "augmentations.a.b in augmented.yaml, line 5: is not a name"),
        ("  noise: {plugin: noise, args: {folder: nowhere}}", "folder is 'nowhere', which does not exist"),
        ("  noise: null", "augmentations.noise in augmented.yaml, line 6: null removes, but nothing of this name"),
    ],
)
def test_a_mistake_is_one_line_with_its_key(tmp_path, text, message):
    with pytest.raises(ToolkitError) as raised:
        build_augmentations(prepared(tmp_path, text).source.recipe)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_recipe_that_extends_another_adds_to_its_augmentations_and_removes_them(tmp_path):
    prepared(tmp_path, "  loud: gain\n  noise: {plugin: noise, p: 0.5, args: {snr_db: [5, 10]}}\n")
    (tmp_path / "child.yaml").write_text(
        "extends: augmented.yaml\naugmentations: {loud: null, noise: {p: 0.1}, mixup: mixup}\n"
    )
    augmentations = load_source(tmp_path / "child.yaml").recipe.augmentations
    assert [(name, spec.p) for name, spec in augmentations.items()] == [("noise", 0.1), ("mixup", 1.0)]
    assert augmentations["noise"].args == {"snr_db": [5, 10]}


def test_the_order_of_augmentations_is_part_of_a_runs_name(tmp_path):
    names = {
        run_of(prepared(tmp_path, text))[0].folder.path.name
        for text in ("  a: gain\n  b: noise", "  b: noise\n  a: gain")
    }
    assert len(names) == 2
