"""A small recipe to extend, and what tests of recipes say again and again."""

from dataclasses import replace

import pytest

from toolkit.errors import RecipeError
from toolkit.recipe.loading import load_recipe
from toolkit.recipe.schema import AudioSpec, CovariateSpec, Recipe

BASE = """
corpus: {plugin: iemocap}
protocol: {name: loso}
labels: [ang, hap, neu, sad]
label_map: {exc: hap, fru: null}
model:
  levels:
    mfcc: {plugin: mfcc, args: {n_mfcc: 40, hop: 160}}
    wav2vec2: {plugin: wav2vec2}
  fusion: {plugin: coattention, args: {dim: 64}}
  heads:
    emotion: {plugin: mlp, on: fused, target: label, args: {hidden: [128]}}
  losses:
    classification: {plugin: cross_entropy, on: "*"}
training:
  max_grad_norm: 5.0
  optimizer: {learning_rate: 1e-5}
"""


def recipe_of(labels=None, label_map=None, *, segment_samples=48_000, covariates=()) -> Recipe:
    """A recipe for these labels, at 16 kHz; nothing else of it matters."""
    recipe = load_recipe("speech/functionals")
    model = replace(recipe.model, covariates={name: CovariateSpec(source="label") for name in covariates})
    audio = AudioSpec(segment_seconds=segment_samples / 16_000)
    return replace(recipe, labels=labels, label_map=label_map or {}, audio=audio, model=model)


def args_of(recipe):
    return recipe.model.fusion.args


def refused(message):
    return pytest.raises(RecipeError, match=message)
