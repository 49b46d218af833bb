import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional

from toolkit.errors import RecipeError
from toolkit_plugins.losses.center import Center
from toolkit_plugins.losses.cross_entropy import CrossEntropy, balanced_weights

X = torch.tensor([[1.0, 2.0], [3.0, 0.0], [-1.0, 1.0], [2.0, 2.0]])
Y = torch.tensor([0, 0, 1, 0])
C = torch.tensor([[0.0, 0.0], [1.0, 1.0], [5.0, -5.0]])
MOVED = torch.tensor([[0.75, 0.5], [0.5, 1.0], [5.0, -5.0]])
TAKEN, SKIPPED = torch.tensor(True), torch.tensor(False)


def center(**args):
    loss = Center(size=2, classes=3, **args)
    loss.centers.copy_(C)
    return loss


def cross_entropy(**args):
    return CrossEntropy(**{"classes": 3, "class_counts": [30, 10, 20], **args})


# --- cross entropy ---


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes():
    assert cross_entropy()(torch.zeros(4, 3), Y).item() == pytest.approx(np.log(3))


def test_balanced_weights_equal_scikit_learn():
    counts = [30, 10, 20, 7]
    labels = np.repeat(np.arange(4), counts)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(balanced_weights(counts).numpy(), expected, rtol=1e-6)


def test_a_class_without_training_segments_weighs_1_and_is_not_counted():
    torch.testing.assert_close(balanced_weights([30, 0, 10]), torch.tensor([40 / 60, 1.0, 2.0]))


def test_weights_make_a_weighted_mean():
    loss, logits = cross_entropy(class_weights=[1, 2, 5]), torch.randn(4, 3)
    each, weight = functional.cross_entropy(logits, Y, reduction="none"), torch.tensor([1.0, 1.0, 2.0, 1.0])
    torch.testing.assert_close(loss(logits, Y), (each * weight).sum() / 5)


def test_balanced_weights_follow_the_counts_of_the_fold():
    logits = torch.randn(4, 3)
    listed = cross_entropy(class_weights=[2 / 3, 2.0, 1.0])
    torch.testing.assert_close(cross_entropy(class_weights="balanced")(logits, Y), listed(logits, Y))


def test_label_smoothing_gives_its_share_to_all_classes():
    logits = torch.tensor([[2.0, 0.0, 0.0]])
    logp = logits.log_softmax(dim=1)[0]
    target = torch.tensor([0.7 + 0.1, 0.1, 0.1])
    found = cross_entropy(label_smoothing=0.3)(logits, torch.tensor([0]))
    torch.testing.assert_close(found, -(target * logp).sum())


def test_cross_entropy_has_no_state_and_takes_half_precision():
    loss = cross_entropy(class_weights="balanced")
    assert not loss.state_dict()
    assert loss(torch.randn(4, 3).bfloat16(), Y).dtype == torch.float32
    assert loss(torch.randn(4, 3).double(), Y).dtype == torch.float64


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"class_weights": [1.0, 2.0]}, "class_weights has 2 numbers for 3 classes"),
        ({"class_weights": [1.0, 0.0, 2.0]}, "class_weights must be positive and finite"),
        ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, not 1.0"),
    ],
)
def test_cross_entropy_names_the_argument_that_is_wrong(args, message):
    with pytest.raises(RecipeError, match=message):
        cross_entropy(**args)


# --- center loss ---


def test_center_loss_has_the_golden_numbers_of_its_sum_form():
    loss, x = center(reduction="sum"), X.clone().requires_grad_()
    value = loss(x, Y)
    value.backward()
    assert value.item() == 13
    assert x.grad.tolist() == [[1, 2], [3, 0], [-2, 0], [2, 2]]
    loss.after_step(TAKEN)
    torch.testing.assert_close(loss.centers, MOVED)


def test_the_mean_form_divides_the_loss_by_the_batch_and_moves_the_centers_alike():
    loss, x = center(), X.clone().requires_grad_()
    value = loss(x, Y)
    value.backward()
    assert value.item() == 13 / 4
    assert (x.grad * 4).tolist() == [[1, 2], [3, 0], [-2, 0], [2, 2]]
    loss.after_step(TAKEN)
    torch.testing.assert_close(loss.centers, MOVED)


def test_alpha_scales_the_move():
    loss = center(alpha=1.0)
    loss(X, Y)
    loss.after_step(TAKEN)
    assert loss.centers.tolist() == [[1.5, 1.0], [0.0, 1.0], [5.0, -5.0]]


def test_centers_begin_at_zero_and_are_the_only_state():
    loss = Center(size=2, classes=3)
    loss(X, Y)
    assert list(loss.state_dict()) == ["centers"]
    assert not loss.centers.any()
    assert not list(loss.parameters())


def test_centers_wait_for_the_step():
    loss = center()
    loss(X, Y)
    assert torch.equal(loss.centers, C)


def test_accumulated_batches_move_the_centers_as_one_large_batch_does():
    loss = center()
    loss(X[:1], Y[:1])
    loss(X[1:3], Y[1:3])
    loss(X[3:], Y[3:])
    loss.after_step(TAKEN)
    torch.testing.assert_close(loss.centers, MOVED)


def test_what_was_seen_before_a_step_is_forgotten_after_it():
    loss = center()
    loss(X, Y)
    loss.after_step(TAKEN)
    loss.after_step(TAKEN)
    torch.testing.assert_close(loss.centers, MOVED)


def test_a_permuted_batch_moves_the_centers_alike():
    loss, order = center(), torch.tensor([3, 1, 0, 2])
    loss(X[order], Y[order])
    loss.after_step(TAKEN)
    torch.testing.assert_close(loss.centers, MOVED)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1.0])
def test_a_skipped_step_leaves_the_centers_as_if_its_batches_had_not_been_seen(garbage):
    loss = center()
    loss(X, Y)
    loss(torch.full((2, 2), garbage), torch.tensor([1, 2]))
    loss.after_step(SKIPPED)
    assert torch.equal(loss.centers, C)
    loss(X, Y)
    loss.after_step(TAKEN)
    torch.testing.assert_close(loss.centers, MOVED)


def test_evaluation_never_moves_the_centers():
    loss = center().eval()
    assert loss(X, Y).item() == 13 / 4
    loss.train().after_step(TAKEN)
    assert torch.equal(loss.centers, C)


def test_evaluation_between_accumulated_batches_drops_nothing():
    loss = center()
    loss(X[:2], Y[:2])
    loss.eval()(X, Y)
    loss.train()(X[2:], Y[2:])
    loss.after_step(TAKEN)
    torch.testing.assert_close(loss.centers, MOVED)


def test_training_from_a_saved_state_goes_on_to_the_bit():
    torch.manual_seed(0)
    batches = [(torch.randn(4, 2), torch.randint(0, 3, (4,))) for _ in range(6)]

    def run(loss, part):
        for x, y in part:
            loss(x, y)
            loss.after_step(TAKEN)
        return loss

    resumed = Center(size=2, classes=3)
    resumed.load_state_dict(run(Center(size=2, classes=3), batches[:3]).state_dict())
    assert torch.equal(run(resumed, batches[3:]).centers, run(Center(size=2, classes=3), batches).centers)


def test_center_loss_and_its_rule_stay_in_float32_under_autocast():
    loss = center(reduction="sum")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(X + 2**-12, Y)  # lost in bfloat16
    loss.after_step(TAKEN)
    assert value.dtype == torch.float32
    torch.testing.assert_close(loss.centers[1], MOVED[1] + 0.25 * 2**-12, rtol=0, atol=1e-7)


def test_center_loss_never_reads_a_value_back_from_the_device():
    with FakeTensorMode():  # tensors without values: reading one raises
        loss, x, y = (
            Center(size=2, classes=3),
            torch.randn(4, 2, requires_grad=True),
            torch.tensor([0, 0, 1, 2]),
        )
        value = loss(x, y)
        value.backward()
        loss.after_step(x.grad.isfinite().all())
        with pytest.raises(DataDependentOutputException):
            bool(value > 0)


def test_center_names_the_argument_that_is_wrong():
    with pytest.raises(RecipeError, match="alpha must be at least 0 and at most 1"):
        center(alpha=1.5)


RANK = """
import sys
import torch
from torch import distributed
from toolkit_plugins.losses.center import Center

torch.set_num_threads(1)
rank, file = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
loss = Center(size=2, classes=3)
loss.centers.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [5.0, -5.0]]))
x, y = torch.tensor([[1.0, 2.0], [3.0, 0.0], [-1.0, 1.0], [2.0, 2.0]]), torch.tensor([0, 0, 1, 0])
mine = slice(0, 3) if rank == 0 else slice(3, 4)
loss(x[mine], y[mine])
loss.after_step(torch.tensor(True))
if rank == 0:
    loss(x[mine] * float("nan"), y[mine])  # the other rank has seen no row
loss.after_step(torch.tensor(False))
print(loss.centers.tolist())
distributed.destroy_process_group()
"""


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="needs torch's gloo",
)
def test_two_ranks_hold_the_centers_of_one_process_with_all_rows(tmp_path: Path):
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        printed = [rank.communicate(timeout=60)[0].strip() for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert printed == [str(MOVED.tolist())] * 2
