"""A small recipe to extend, and what tests of recipes say again and again."""

import pytest

from toolkit.errors import RecipeError

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


def args_of(recipe):
    return recipe.model.fusion.args


def refused(message):
    return pytest.raises(RecipeError, match=message)
