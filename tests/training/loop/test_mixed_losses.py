"""Losses of mixed rows: both targets count by their shares, also for class weights and centers."""

import pytest
import torch
from torch.nn import functional
from trained_model import random_system

from toolkit.contracts import Mix, ModelOutput, Seq
from toolkit.training.loop.objective import Objective, Term
from toolkit_plugins.losses.center import Center
from toolkit_plugins.losses.cross_entropy import CrossEntropy

MIX = Mix(torch.tensor([2, 0, 1]), 0.75)
TARGETS = {"label": torch.tensor([0, 1, 1])}


def objective(loss, reads):
    return Objective({"one": Term(loss, "x", reads, "label", 1.0)})


def test_class_weighted_cross_entropy_of_mixed_rows_is_that_of_soft_targets():
    logits = torch.randn(3, 2)
    loss = CrossEntropy(classes=2, class_counts=[3, 1], class_weights=[1.0, 3.0])
    found = objective(loss, "logits")(ModelOutput({}, {"x": logits}), TARGETS, None, MIX)
    nats = -logits.log_softmax(1)
    # rows are 0 mixed with 1, 1 with 0, 1 with 1; class 1 weighs 3 and the batch 1 + 3 + 3
    soft = torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])
    expected = (nats * soft * torch.tensor([1.0, 3.0])).sum() / 7
    assert float(found) == pytest.approx(float(expected), abs=1e-6)


def test_a_mix_without_a_share_of_the_partner_changes_nothing():
    logits = torch.randn(3, 2)
    whole = Mix(MIX.partners, 1.0)
    term = objective(CrossEntropy(classes=2, class_counts=[1, 2]), "logits")
    output = ModelOutput({}, {"x": logits})
    assert float(term(output, TARGETS, None, whole)) == pytest.approx(
        float(functional.cross_entropy(logits, TARGETS["label"]))
    )


def test_rows_move_the_centers_of_both_classes_in_their_shares():
    center = Center(size=1, classes=2, alpha=1.0).train()
    rows = torch.tensor([[4.0], [8.0], [8.0]])
    value = objective(center, "embeddings")(ModelOutput({"x": rows}, {}), TARGETS, None, MIX)
    assert float(value) == pytest.approx((16 + 64 + 64) / 2 / 3)  # both centers are at 0
    center.after_step(torch.tensor(True))
    # class 0: 0.75 of the first row, 0.25 of the second: 5 over 1 + 1; class 1: 0.25 * 4 + 1.75 * 8 over 1 + 2
    assert center.centers[:, 0].tolist() == pytest.approx([2.5, 5.0])


def test_a_row_whose_class_or_whose_partners_class_is_unknown_counts_as_far_as_it_is_known():
    logits = torch.randn(3, 2)
    term = objective(CrossEntropy(classes=2, class_counts=[1, 2]), "logits")
    found = term(ModelOutput({}, {"x": logits}), {"label": torch.tensor([0, -1, 1])}, None, MIX)
    nats = -logits.log_softmax(1)
    own, partners = (nats[0, 0] + nats[2, 1]) / 2, (nats[0, 1] + nats[1, 0]) / 2  # the partner of row 2 is unknown
    assert float(found) == pytest.approx(float(0.75 * own + 0.25 * partners), abs=1e-6)


def test_covariates_that_are_given_are_mixed_too(tmp_path):
    system, _ = random_system(tmp_path, "{source: label}")
    seen = []
    system.fusion.register_forward_pre_hook(lambda fusion, given: seen.append(given[1]["gender"]))
    wave = Seq(torch.randn(3, 4000), torch.full((3,), 4000), full=True)
    system(wave, {"gender": torch.tensor([0, 1, -1])}, MIX)
    assert seen[0].tolist() == [[0.75, 0.0], [0.25, 0.75], [0.0, 0.25]]
