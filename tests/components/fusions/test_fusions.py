import inspect

import pytest
import torch
from torch.nn import functional

from toolkit.contracts import LevelShape, Seq
from toolkit.errors import RecipeError, ShapeError
from toolkit.model.pooling import statistics_pooling
from toolkit.plugins.kinds import KINDS
from toolkit_plugins.fusions.attention import Attention
from toolkit_plugins.fusions.blocks import projection
from toolkit_plugins.fusions.coattention import CoAttention
from toolkit_plugins.fusions.concat import Concat
from toolkit_plugins.heads.mlp import Mlp

SHAPES = {"spectrogram": LevelShape(4, 3), "mfcc": LevelShape(5, 6), "wav2vec2": LevelShape(7, 4)}
COVARIATES = {"gender": 2}

FUSIONS = {
    "concat": (Concat, {}),
    "concat-mean": (Concat, {"pooling": "mean"}),
    "concat-attention": (Concat, {"pooling": "attention"}),
    "concat-flatten": (Concat, {"pooling": "flatten"}),
    "concat-normalised": (Concat, {"layer_norm": True}),
    "concat-standardized": (Concat, {"standardize": True}),
    "coattention": (CoAttention, {}),
    "coattention-standardized": (CoAttention, {"standardize": True}),
    "attention": (Attention, {}),
    "attention-all": (Attention, {"heads": 2, "statistics": True, "layer_norm": True}),
}
CONTEXT_OF = {Concat: {"segment_samples": 48000}, Attention: {}}
COATTENTION = ("coattention", "coattention-standardized")
ANY_LENGTH = [name for name in FUSIONS if name not in ("concat-flatten", *COATTENTION)]


def build(name, *, levels=SHAPES, covariates=COVARIATES, **more):
    torch.manual_seed(1)
    kind, args = FUSIONS[name]
    context = {"levels": levels, "covariates": covariates, "segment_samples": 48000}
    named = inspect.signature(kind).parameters
    return kind(**{k: v for k, v in context.items() if k in named}, **{"dim": 8, **args, **more}).eval()


def batch(*, rows=3, shapes=SHAPES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: Seq(
            torch.randn(rows, shape.frames, shape.channels, generator=generator),
            torch.tensor([shape.frames, 1, 2])[:rows],
        )
        for name, shape in shapes.items()
    }


def gender(*classes):
    return {"gender": functional.one_hot(torch.tensor(classes), 2).float()}


def with_garbage(levels, garbage):
    return {
        name: Seq(seq.values.masked_fill(~seq.mask[:, :, None], garbage), seq.lengths) for name, seq in levels.items()
    }


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_gives_fused_and_every_level_in_the_sizes_it_declares(name):
    fusion = build(name)
    embeddings = fusion(batch(), gender(0, 1, 0))
    assert list(embeddings) == ["fused", *SHAPES] == list(fusion.sizes)
    assert {k: v.shape for k, v in embeddings.items()} == {k: (3, size) for k, size in fusion.sizes.items()}


@pytest.mark.parametrize("name", FUSIONS)
def test_a_constructor_names_only_context_that_the_core_knows(name):
    kind, args = FUSIONS[name]
    required = [p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
    assert set(required) <= set(KINDS["fusion"].context)
    assert not set(args) & set(KINDS["fusion"].context)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e6])
@pytest.mark.parametrize("name", FUSIONS)
def test_garbage_beyond_the_lengths_changes_neither_embeddings_nor_gradients(name, garbage):
    fusion = build(name)
    clean = fusion(with_garbage(batch(), 0.0), gender(0, 1, 0))
    dirty = fusion(with_garbage(batch(), garbage), gender(0, 1, 0))
    assert_same(clean, dirty)
    sum(embedding.sum() for embedding in dirty.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in fusion.parameters())


@pytest.mark.parametrize("name", FUSIONS)
def test_a_permuted_batch_gives_permuted_embeddings(name):
    fusion, order = build(name), torch.tensor([2, 0, 1])
    levels, covariates = batch(), gender(0, 1, 0)
    permuted = {k: Seq(v.values[order], v.lengths[order]) for k, v in levels.items()}
    there = fusion(permuted, {"gender": covariates["gender"][order]})
    assert_same({k: v[order] for k, v in fusion(levels, covariates).items()}, there)


@pytest.mark.parametrize("name", ANY_LENGTH)
def test_a_row_alone_and_unpadded_is_the_row_in_the_batch(name):
    fusion = build(name)
    assert fusion.fixed_samples is None
    together = fusion(batch(), gender(0, 1, 0))
    alone = {k: Seq(v.values[2:, :2], v.lengths[2:]) for k, v in batch().items()}
    assert_same({k: v[2:] for k, v in together.items()}, fusion(alone, gender(0)))


@pytest.mark.parametrize("name", ["concat-flatten", "coattention"])
def test_a_fusion_of_fixed_length_says_so_and_refuses_another(name):
    fusion = build(name)
    assert fusion.fixed_samples == 48000
    short = {k: Seq(v.values[:, :2], v.lengths.clamp(max=2)) for k, v in batch().items()}
    with pytest.raises(ShapeError, match="whole segments only"):
        fusion(short, gender(0, 1, 0))


def test_coattention_also_refuses_another_length_of_the_value_level():
    levels = batch()
    levels["wav2vec2"] = Seq(levels["wav2vec2"].values[:, :2], torch.tensor([2, 1, 2]))
    with pytest.raises(ShapeError, match="2 frames where 4 are needed"):
        build("coattention")(levels, gender(0, 1, 0))


@pytest.mark.parametrize("name", FUSIONS)
def test_a_covariate_changes_fused_and_no_level(name):
    fusion = build(name)
    women, men = fusion(batch(), gender(0, 0, 0)), fusion(batch(), gender(1, 1, 1))
    assert not torch.allclose(women.pop("fused"), men.pop("fused"))
    assert all(torch.equal(women[level], men[level]) for level in SHAPES)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_without_covariates_reads_none(name):
    fusion = build(name, covariates={})
    assert_same(fusion(batch(), {}), fusion(batch(), gender(0, 1, 0)))


@pytest.mark.parametrize("name", FUSIONS)
def test_fused_sends_gradients_to_every_level_and_every_parameter(name):
    fusion = build(name)
    levels = {k: Seq(v.values.requires_grad_(), v.lengths) for k, v in batch().items()}
    # tanh and linear layers only, so that no dead ReLU hides a path
    for module in fusion.modules():
        if isinstance(module, torch.nn.Sequential) and isinstance(module[-1], torch.nn.ReLU):
            module[-1] = torch.nn.Tanh()
    fusion(levels, gender(0, 1, 0))["fused"].sum().backward()
    assert all(seq.values.grad.abs().sum() > 0 for seq in levels.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())


@pytest.mark.parametrize("name", FUSIONS)
def test_a_level_embedding_depends_on_its_own_level_alone_but_for_the_value_level_of_coattention(name):
    fusion, other = build(name), batch()
    other["mfcc"] = batch(seed=5)["mfcc"]
    before, after = fusion(batch(), gender(0, 1, 0)), fusion(other, gender(0, 1, 0))
    assert not torch.equal(before["mfcc"], after["mfcc"])
    assert torch.equal(before["spectrogram"], after["spectrogram"])
    assert torch.equal(before["wav2vec2"], after["wav2vec2"]) == (name not in COATTENTION)


@pytest.mark.parametrize("name", [n for n in FUSIONS if n not in COATTENTION])
def test_one_level_is_enough(name):
    fusion = build(name, levels={"mfcc": SHAPES["mfcc"]})
    assert fusion({"mfcc": batch()["mfcc"]}, gender(0, 1, 0))["fused"].shape == (3, 8)


def test_coattention_of_one_level_names_the_fusions_for_it():
    with pytest.raises(RecipeError, match=r"'mfcc' is the only one.* 'concat' or 'attention'"):
        build("coattention", levels={"mfcc": SHAPES["mfcc"]}, values="mfcc")


def test_coattention_names_the_nearest_level():
    with pytest.raises(RecipeError, match=r"values: no level is called 'wav2vec'. Did you mean 'wav2vec2'\?"):
        build("coattention", values="wav2vec")


def test_coattention_takes_two_levels_and_any_value_level():
    shapes = {name: SHAPES[name] for name in ("mfcc", "wav2vec2")}
    fusion = build("coattention", levels=shapes, values="mfcc", covariates={})
    assert {k: v.shape for k, v in fusion(batch(shapes=shapes), {}).items()} == {
        "fused": (3, 8),
        "mfcc": (3, 8),
        "wav2vec2": (3, 8),
    }


def test_coattention_with_the_mlp_head_is_the_reference_layer_by_layer():
    shapes = {
        "spectrogram": LevelShape(256, 36),
        "mfcc": LevelShape(512, 300),
        "wav2vec2": LevelShape(768, 149),
    }
    with torch.device("meta"):
        fusion = CoAttention(levels=shapes, covariates={}, segment_samples=48000)
        head = Mlp(size=fusion.sizes["fused"], classes=4)

    def layers(module):
        return [
            tuple(reversed(m.weight.shape)) if isinstance(m, torch.nn.Linear) else getattr(m, "p", "relu")
            for m in module
        ]

    assert layers(fusion.project["spectrogram"]) == [0.1, (9216, 128), "relu"]
    assert layers(fusion.project["mfcc"]) == [0.1, (153600, 128), "relu"]
    assert layers(fusion.weigh) == [0.1, (256, 149), "relu"]
    assert layers(fusion.project["wav2vec2"]) == [0.1, (768, 128), "relu"]
    assert layers(fusion.fuse) == [0.1, (384, 128), "relu"]
    assert layers(head.layers) == [0.1, (128, 128), "relu", (128, 4)]


def test_coattention_equals_the_reference_written_out():
    fusion, levels = build("coattention", covariates={}), batch()
    levels = {k: Seq(v.values, torch.full((3,), SHAPES[k].frames)) for k, v in levels.items()}
    head = Mlp(size=8, classes=4).eval()

    def relu(layers, x):
        return torch.relu(x @ layers[1].weight.T + layers[1].bias)

    s = relu(fusion.project["spectrogram"], levels["spectrogram"].values.reshape(3, 12))
    m = relu(fusion.project["mfcc"], levels["mfcc"].values.reshape(3, 30))
    weights = relu(fusion.weigh, torch.cat([s, m], dim=1))
    weighted = torch.einsum("bt,btc->bc", weights, levels["wav2vec2"].values)
    w = relu(fusion.project["wav2vec2"], weighted)
    fused = relu(fusion.fuse, torch.cat([s, m, w], dim=1))
    hidden = torch.relu(fused @ head.layers[1].weight.T + head.layers[1].bias)
    logits = hidden @ head.layers[3].weight.T + head.layers[3].bias

    found = fusion(levels, {})
    assert_same(found, {"fused": fused, "spectrogram": s, "mfcc": m, "wav2vec2": w})
    torch.testing.assert_close(head(found["fused"]), logits)


def test_the_weights_over_levels_sum_to_1():
    fusion = build("attention")
    weights = fusion.level_weights(torch.randn(5, 3, 8))
    assert weights.shape == (5, 3)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(5))


def test_attention_of_one_level_fuses_that_level_embedding_alone():
    fusion = build("attention", levels={"mfcc": SHAPES["mfcc"]}, covariates={})
    found = fusion({"mfcc": batch()["mfcc"]}, {})
    torch.testing.assert_close(found["fused"], fusion.fuse(found["mfcc"]))


def test_dropout_comes_before_the_linear_layer_so_that_no_embedding_is_dropped_out():
    layers = projection(4, 3, dropout=0.5)
    assert [type(layer).__name__ for layer in layers] == ["Dropout", "Linear", "ReLU"]


@pytest.mark.parametrize("name", FUSIONS)
def test_training_is_random_and_evaluation_is_not(name):
    fusion = build(name, dropout=0.5)
    assert torch.equal(fusion(batch(), gender(0, 1, 0))["fused"], fusion(batch(), gender(0, 1, 0))["fused"])
    fusion.train()
    assert not torch.equal(fusion(batch(), gender(0, 1, 0))["mfcc"], fusion(batch(), gender(0, 1, 0))["mfcc"])


@pytest.mark.parametrize("name", FUSIONS)
def test_autocast_to_bfloat16_stays_near(name):
    fusion, levels = build(name), batch()
    if fusion.fits:  # frames far from 0 come near it by their mean alone
        levels["wav2vec2"] = Seq(levels["wav2vec2"].values + 100, levels["wav2vec2"].lengths)
        fusion.fit([levels])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = fusion(levels, gender(0, 1, 0))
    for embedding, expected in fusion(levels, gender(0, 1, 0)).items():
        torch.testing.assert_close(low[embedding].float(), expected, rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("concat", {"dim": 0}, "dim must be at least 1, not 0"),
        ("concat", {"project": False, "layer_norm": True}, "layer_norm comes before a projection"),
        ("coattention", {"dropout": 1.0}, "dropout is a probability, at least 0 and below 1, not 1.0"),
        ("attention", {"heads": 0}, "heads must be at least 1, not 0"),
        ("attention", {"hidden": -1}, "hidden must be at least 1, not -1"),
    ],
)
def test_arguments_out_of_range_are_named(name, args, message):
    with pytest.raises(RecipeError, match=message):
        build(name, **args)


@pytest.mark.parametrize(("kind", "args"), [(Concat, {}), (Concat, {"pooling": "mean"}), (Attention, {"heads": 2})])
def test_pooled_values_are_standardized_over_the_batches_that_were_fitted(kind, args):
    torch.manual_seed(1)
    fusion = kind(levels=SHAPES, covariates={}, **CONTEXT_OF[kind], dim=8, standardize=True, **args).eval()
    batches = [batch(seed=seed) for seed in range(4)]
    before = {name: pool(batches[0][name]) for name, pool in fusion.pool.items()}
    fusion.fit(with_garbage(levels, float("nan")) for levels in batches)
    for name, pool in fusion.pool.items():
        rows = torch.cat([pool(levels[name]) for levels in batches])
        varies = torch.cat([pool.pool(levels[name]) for levels in batches]).std(dim=0) > 1e-3
        assert rows.mean(dim=0).abs().max() < 1e-5
        assert rows.std(dim=0, correction=0)[varies].sub(1).abs().max() < 1e-4
        assert not torch.equal(before[name], pool(batches[0][name]))


def test_coattention_weighs_standardized_frames():
    fusion, levels = build("coattention-standardized", covariates={}), batch()
    plain = build("coattention", covariates={})
    plain.load_state_dict(fusion.state_dict(), strict=False)
    fusion.fit(with_garbage(batch(seed=seed), float("nan")) for seed in range(4))
    frames = levels["wav2vec2"]
    scaled = Seq(fusion.scaler(frames.values), frames.lengths)
    expected = plain({**levels, "wav2vec2": scaled}, {})
    for name, values in fusion(with_garbage(levels, float("nan")), {}).items():
        torch.testing.assert_close(values, expected[name])


def test_a_fusion_without_standardization_has_nothing_to_fit():
    assert not build("concat").fits and not build("attention").fits and build("concat-standardized").fits


def test_without_projections_an_embedding_is_the_pooling_and_fused_is_all_of_them():
    fusion, levels = Concat(levels=SHAPES, covariates={"gender": 2}, segment_samples=1, project=False), batch()
    found = fusion(levels, gender(0, 1, 0))
    assert not list(fusion.parameters())
    assert {name: found[name].shape[1] for name in found} == dict(fusion.sizes)
    for name in SHAPES:
        torch.testing.assert_close(found[name], statistics_pooling(levels[name]))
    torch.testing.assert_close(
        found["fused"], torch.cat([*(found[n] for n in SHAPES), gender(0, 1, 0)["gender"]], dim=1)
    )
