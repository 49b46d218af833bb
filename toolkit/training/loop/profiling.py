"""Where the time of a training step goes: a trace of some steps, and their most expensive parts."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch.profiler import profile, record_function, schedule

from toolkit.errors import CheckpointError
from toolkit.training.loop.brain import SystemBrain

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # silent about its start and about missing GPUs
LEFT_OUT, RECORDED = 3, 5  # steps: the first ones allocate and choose kernels
SHOWN = 5
STEP, WAITING = "step", "waiting for a batch"


class StepProfile:
    """Records some steps of a training with torch.profiler, and reports them as soon as they are over.

    A part of a step is a part of the system, forward, or of the step itself: `watch` puts a mark around each. The
    results of the training do not change.

    Args:
        path: of the trace, in Chrome's format; compressed where it ends in .gz.
        say: prints a line for the reader.
    """

    def __init__(self, path: Path, say: Callable[[str], None]):
        self.path, self.say = path, say
        self._names: set[str] = set()  # torch puts marks of its own beside these
        self._waiting = ExitStack()  # holds the mark between two steps
        self._reported = False

    @contextmanager
    def watch(self, brain: SystemBrain) -> Iterator[None]:
        """Record steps of what is trained within.

        Raises:
            CheckpointError: if the trace cannot be written.
        """
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise CheckpointError(f"The profile's trace cannot be written to {self.path}: its folder cannot be used.")
        steps = schedule(wait=0, warmup=LEFT_OUT, active=RECORDED, repeat=1)
        with ExitStack() as undo, profile(schedule=steps, on_trace_ready=self._report) as profiler:
            self._mark_parts(brain, undo)
            self._mark_waiting(brain, profiler, undo)
            yield
        if not self._reported:
            self.say(f"Nothing was profiled: {LEFT_OUT} steps are left out, and no more were trained.")

    def _mark_parts(self, brain: SystemBrain, undo: ExitStack) -> None:
        system = brain.system
        parts = {f"front end of {name}": (level, "features") for name, level in system.levels.items()}
        parts |= {f"level {name}": (level, "encode") for name, level in system.levels.items()}
        parts |= {f"covariate {name}": (predict, "forward") for name, predict in system.covariates.items()}
        parts |= {"fusion": (system.fusion, "forward")}
        parts |= {f"head {name}": (head, "forward") for name, head in system.heads.items()}
        parts |= {"losses": (brain.objective, "forward"), "backward": (brain, "backward")}
        parts |= {"optimizer": (brain, "optimizers_step"), STEP: (brain, "fit_batch")}
        for name, (owner, method) in parts.items():
            _replace(owner, method, _marked(getattr(owner, method), name, brain), undo)
        self._names = {*parts, WAITING}

    def _mark_waiting(self, brain: SystemBrain, profiler: profile, undo: ExitStack) -> None:
        """Mark the time between a step and the next one of the same epoch, and count steps."""
        fit_batch, on_stage_end = brain.fit_batch, brain.on_stage_end

        def one_step(batch: Any) -> Any:
            self._waiting.close()
            loss = fit_batch(batch)
            profiler.step()
            self._waiting.enter_context(record_function(WAITING))
            return loss

        def end_of_stage(*args: Any, **kwargs: Any) -> None:
            self._waiting.close()
            on_stage_end(*args, **kwargs)

        _replace(brain, "fit_batch", one_step, undo)
        _replace(brain, "on_stage_end", end_of_stage, undo)

    def _report(self, profiler: profile) -> None:
        """Write the trace, then print the most expensive parts."""
        marks = [event for event in profiler.key_averages() if event.is_user_annotation and event.key in self._names]
        steps = next((event.count for event in marks if event.key == STEP), 0)
        if not steps:  # the training ended as the recording began
            return
        self._reported = True
        try:
            profiler.export_chrome_trace(str(self.path))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"The profile's trace cannot be written to {self.path}: {error}.") from error
        seconds = {event.key: max(event.cpu_time_total, event.device_time_total) / 1e6 / steps for event in marks}
        total = seconds[STEP] + seconds.get(WAITING, 0.0)
        self.say(f"Profile of {steps} steps of {1000 * total:.3f} ms; the most expensive parts, with what they call:")
        for name in sorted(seconds.keys() - {STEP}, key=seconds.__getitem__, reverse=True)[:SHOWN]:
            self.say(f"  {name:24s} {1000 * seconds[name]:10.3f} ms  {100 * seconds[name] / total:5.1f} %")
        self.say(f"Trace, for chrome://tracing or ui.perfetto.dev: {self.path}")


def _marked(function: Callable, name: str, brain: SystemBrain) -> Callable:
    def marked(*args: Any, **kwargs: Any) -> Any:  # an evaluation calls the same parts, and is not part of a step
        with record_function(name) if brain.system.training else nullcontext():
            return function(*args, **kwargs)

    return marked


def _replace(owner: Any, method: str, function: Callable, undo: ExitStack) -> None:
    """Put a function in front of a method of one object, not of its class, until `undo` is closed."""
    if method not in vars(owner):
        undo.callback(delattr, owner, method)
    setattr(owner, method, function)
