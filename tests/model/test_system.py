"""A system as a whole: its levels, fusion, heads and covariates, put together from a recipe."""

import pytest
import torch
from small_system import write_recipe

from toolkit.contracts import Seq
from toolkit.errors import RecipeError
from toolkit.model.system import System, build_system
from toolkit.training.preparation import load_source, prepare


@pytest.fixture
def build(tmp_path):
    """Build the small system, optionally with a covariate."""
    recipe = write_recipe(tmp_path)
    text = recipe.read_text()

    def make(*overrides: str, covariate: str = "") -> System:
        given = f"  covariates: {{gender: {covariate}}}\n  fusion:" if covariate else "  fusion:"
        recipe.write_text(text.replace("  fusion:", given))
        preparation = prepare(load_source(recipe, list(overrides)))
        torch.manual_seed(0)
        return build_system(preparation.source.recipe, preparation.targets).eval()

    return make


@pytest.fixture
def wave() -> Seq:
    values = torch.randn(3, 4800, generator=torch.Generator().manual_seed(1))
    return Seq(values, torch.tensor([4800, 3000, 800]))


def test_a_row_alone_gives_what_it_gives_in_a_batch(build, wave):
    system = build()
    together = system(wave, {})
    for row in range(3):
        length = int(wave.lengths[row])
        alone = system(Seq(wave.values[row : row + 1, :length], wave.lengths[row : row + 1]), {})
        for name, logits in together.logits.items():
            assert torch.allclose(logits[row], alone.logits[name][0], atol=1e-5)


def test_features_are_the_same_whatever_the_precision(build, wave):
    system = build()
    expected = system.features(wave)["mfcc"].values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = system.features(wave)["mfcc"].values
    assert found.dtype == torch.float32 and torch.equal(found, expected)


def test_a_head_on_two_embeddings_reads_them_side_by_side_in_the_recipes_order(build, wave):
    system = build("--model.heads.level.on=[mfcc,fused]")
    output = system(wave, {})
    read = torch.cat([output.embeddings["mfcc"], output.embeddings["fused"]], dim=1)
    torch.testing.assert_close(output.logits["level"], system.heads["level"](read))


def test_a_given_covariate_moves_the_fused_embedding_and_no_level(build, wave):
    system = build(covariate="{source: label}")
    women, men = (system(wave, {"gender": torch.full((3,), index)}) for index in (0, 1))
    assert not torch.allclose(women.embeddings["fused"], men.embeddings["fused"])
    assert torch.equal(women.embeddings["mfcc"], men.embeddings["mfcc"])


def test_a_predicted_covariate_needs_no_label_and_its_head_is_not_trained_through_the_fusion(build, wave):
    system = build(covariate="{source: predicted, level: mfcc}")
    output = system(wave, {})
    assert output.covariate_logits["gender"].shape == (3, 2)
    output.logits["emotion"].sum().backward()
    assert all(parameter.grad is None for parameter in system.covariates.parameters())


def test_the_same_seed_gives_the_same_weights(build):
    one, other = build(), build()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_two_parts_that_want_different_lengths_are_refused(build):
    system = build()
    system.levels["mfcc"].fixed_samples, system.fusion.fixed_samples = 4800, 48000
    with pytest.raises(RecipeError, match=r"\[4800, 48000\] samples only"):
        _ = system.fixed_samples


def test_a_level_that_the_fusion_asks_for_but_the_recipe_lacks_is_refused(build):
    levels = "--model.levels={mfcc: {plugin: mfcc}, other: {plugin: mfcc}}"
    with pytest.raises(RecipeError) as error:
        build(levels, "--model.fusion={plugin: coattention, args: {values: mfc}}")
    assert str(error.value) == (
        "model.fusion.args.values on the command line: fusion 'coattention': values: no level is called 'mfc'. Did you "
        "mean 'mfcc'? The levels are mfcc, other."
    )
