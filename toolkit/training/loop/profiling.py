"""Where the time of a training step goes: a trace of some steps, and their dearest places."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch.profiler import profile, record_function, schedule

from toolkit.errors import CheckpointError
from toolkit.training.loop.brain import SystemBrain

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # it tells a terminal when it begins, and of GPUs that are not there
LEFT_OUT, RECORDED = 3, 5  # steps: the first ones allocate and choose kernels
DEAREST = 5
STEP, WAITING = "step", "waiting for a batch"


class StepProfile:
    """Records some steps of a training with torch.profiler, and tells of them as soon as they are over.

    A place is a part of the system, forward, or a part of the step: `watch` puts a mark around each. What is computed
    stays as it is.

    Args:
        path: of the trace, in Chrome's format; compressed where it ends in .gz.
        say: prints a line for the reader.
    """

    def __init__(self, path: Path, say: Callable[[str], None]):
        self.path, self.say = path, say
        self._marks: list[tuple[Any, str]] = []
        self._places = {STEP, WAITING}  # torch puts marks of its own beside these
        self._waiting: record_function | None = None
        self._in_step = self._told = False

    @contextmanager
    def watch(self, brain: SystemBrain) -> Iterator[None]:
        """Record steps of what is trained within.

        Raises:
            CheckpointError: if the trace cannot be written.
        """
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise CheckpointError(f"The profile's trace cannot be written to {self.path}: its folder cannot be used.")
        steps = schedule(wait=0, warmup=LEFT_OUT, active=RECORDED, repeat=1)
        try:
            with profile(schedule=steps, on_trace_ready=self._tell) as profiler:
                self._mark_all(brain, profiler)
                yield
        finally:
            for owner, name in self._marks:
                delattr(owner, name)  # what the class has is underneath
        if not self._told:
            self.say(f"Nothing was profiled: {LEFT_OUT} steps are left out, and no more were trained.")

    def _mark_all(self, brain: SystemBrain, profiler: profile) -> None:
        system = brain.system
        for name, level in system.levels.items():
            self._mark(level, "features", f"front end of {name}")
            self._mark(level, "encode", f"level {name}")
        for name, predict in system.covariates.items():
            self._mark(predict, "forward", f"covariate {name}")
        self._mark(system.fusion, "forward", "fusion")
        for name, head in system.heads.items():
            self._mark(head, "forward", f"head {name}")
        self._mark(brain.objective, "forward", "losses")
        self._mark(brain, "backward", "backward")
        self._mark(brain, "optimizers_step", "optimizer")
        self._mark(brain, "fit_batch", STEP)
        self._time_the_waiting(brain, profiler)

    def _mark(self, owner: Any, method: str, place: str) -> None:
        """Put a method of one object, not of its class, between two marks."""
        unmarked = getattr(owner, method)

        def marked(*args: Any, **kwargs: Any) -> Any:  # an evaluation has the same places, and is no part of a step
            with record_function(place) if self._in_step else nullcontext():
                return unmarked(*args, **kwargs)

        setattr(owner, method, marked)
        self._places.add(place)
        self._marks.append((owner, method))

    def _time_the_waiting(self, brain: SystemBrain, profiler: profile) -> None:
        """Mark what lies between a step and the next one of the same epoch, and count steps."""
        fit_batch, on_stage_end = brain.fit_batch, brain.on_stage_end

        def one_step(batch: Any) -> Any:
            self._waited()
            self._in_step = True
            loss = fit_batch(batch)
            self._in_step = False
            profiler.step()
            self._waiting = record_function(WAITING)
            self._waiting.__enter__()
            return loss

        def end_of_stage(*args: Any, **kwargs: Any) -> None:
            self._waited()
            on_stage_end(*args, **kwargs)

        brain.fit_batch, brain.on_stage_end = one_step, end_of_stage
        self._marks.append((brain, "on_stage_end"))

    def _waited(self) -> None:
        if self._waiting is not None:
            self._waiting.__exit__(None, None, None)
        self._waiting = None

    def _tell(self, profiler: profile) -> None:
        """Write the trace, then name the dearest places."""
        seconds, steps = self._seconds(profiler)
        if not steps:  # the training ended as the recording began
            return
        self._told = True
        try:
            profiler.export_chrome_trace(str(self.path))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"The profile's trace cannot be written to {self.path}: {error}.") from error
        places = places_of(seconds, steps=steps)
        total = sum(seconds.get(name, 0.0) for name in (STEP, WAITING)) / steps
        self.say(f"Profile of {steps} steps of {1000 * total:.3f} ms; the dearest places, each with what it calls:")
        for place, per_step in places[:DEAREST]:
            self.say(f"  {place:24s} {1000 * per_step:10.3f} ms  {100 * per_step / total:5.1f} %")
        self.say(f"Trace, for chrome://tracing or ui.perfetto.dev: {self.path}")

    def _seconds(self, profiler: profile) -> tuple[dict[str, float], int]:
        """Place -> seconds over all recorded steps, of the device where there is one; the number of steps."""
        marks = [event for event in profiler.key_averages() if event.is_user_annotation and event.key in self._places]
        seconds = {event.key: max(event.cpu_time_total, event.device_time_total) / 1e6 for event in marks}
        return seconds, next((event.count for event in marks if event.key == STEP), 0)


def places_of(seconds: Mapping[str, float], *, steps: int) -> list[tuple[str, float]]:
    """Places of a step, the dearest first, with their seconds a step.

    Args:
        seconds: mark -> time between its beginnings and ends, over all steps.
        steps: their number.

    >>> places_of({"step": 6.0, "fusion": 2.0, "backward": 3.0, "waiting for a batch": 1.0}, steps=2)
    [('backward', 1.5), ('fusion', 1.0), ('waiting for a batch', 0.5)]
    """
    found = [(place, time / steps) for place, time in seconds.items() if place != STEP]
    return sorted(found, key=lambda one: -one[1])
