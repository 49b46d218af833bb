"""Learning rates over the optimizer steps of a training."""

import pytest

from toolkit.recipe.training import ScheduleSpec, TrainingSpec
from toolkit.training.loop.optimizers import SCHEDULES, Schedule

NEEDED = {"step": {"step_size": 2}, "exponential": {"gamma": 0.5}, "cosine_restarts": {"T_0": 2}}


def factors(name: str, *, start: int = 0, warmup_steps: int = 2, **args) -> list[float]:
    spec = ScheduleSpec(name=name, args={**NEEDED.get(name, {}), **args})
    schedule = Schedule(TrainingSpec(schedule=spec, warmup_steps=warmup_steps), total_steps=6)
    return [schedule.factor(step) for step in range(start, 6)]


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("constant", {}, [1, 1, 1, 1]),
        ("linear", {}, [1, 0.75, 0.5, 0.25]),
        ("linear", {"end": 0.5}, [1, 0.875, 0.75, 0.625]),
        ("cosine", {}, [1, 0.853553, 0.5, 0.146447]),
        ("cosine", {"end": 0.2}, [1, 0.882843, 0.6, 0.317157]),
        ("step", {}, [1, 1, 0.1, 0.1]),
        ("step", {"gamma": 0.5}, [1, 1, 0.5, 0.5]),
        ("exponential", {}, [1, 0.5, 0.25, 0.125]),
        ("cosine_restarts", {}, [1, 0.5, 1, 0.5]),
        ("cosine_restarts", {"eta_min": 0.2}, [1, 0.6, 1, 0.6]),
    ],
)
def test_after_a_linear_warm_up_the_rates_follow_the_schedule(name, args, expected):
    assert factors(name, **args) == pytest.approx([0.5, 1, *expected], abs=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_schedule_goes_on_with_the_same_bits(name):
    for start in range(1, 6):
        assert factors(name, start=start) == factors(name)[start:]


def test_a_training_that_is_all_warm_up_has_a_schedule_too():
    assert factors("linear", warmup_steps=6)[-1] == 1
