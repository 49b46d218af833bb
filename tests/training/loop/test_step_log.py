"""What steps leave to be read: nothing is looked at before it is asked for, nothing is handed over twice."""

import torch

from toolkit.training.loop.step_log import READ_EVERY, StepLog


def test_scalars_are_read_together_and_once():
    log = StepLog()
    for batch in range(1, 4):
        log.add_loss(torch.tensor(batch / 2))
    log.add_step(torch.tensor(True))
    log.add_step(torch.tensor(False))
    losses, taken = log.read()
    assert (losses, taken) == ([0.5, 1.0, 1.5], [True, False])
    assert log.read() == ([], [])


def test_a_reading_is_due_after_so_many_batches():
    log = StepLog()
    for _ in range(READ_EVERY):
        assert not log.due
        log.add_loss(torch.tensor(1.0))
    assert log.due


def test_adding_never_asks_a_tensor_for_its_value():
    log = StepLog()
    log.add_loss(torch.empty((), device="meta"))  # a tensor without values: to look at one raises
    log.add_step(torch.empty((), dtype=torch.bool, device="meta"))
    assert not log.due
