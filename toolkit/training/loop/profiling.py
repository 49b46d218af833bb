"""Profiles a training: a trace of some steps, and their most expensive parts."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from torch.profiler import profile, record_function, schedule

from toolkit.errors import CheckpointError
from toolkit.training.loop.brain import SystemBrain

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # silent about its start and about missing GPUs
LEFT_OUT, RECORDED = 3, 5  # steps: the first ones allocate and choose kernels
SHOWN = 5
STEP, WAITING = "step", "waiting for a batch"


@contextmanager
def profiled_steps(brain: SystemBrain, path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Record some steps of the training in this block with torch.profiler, and report them as soon as they are over.

    The trace is in Chrome's format, compressed if `path` ends in .gz. Marks of the parts of a step stay on the brain.
    """
    names = _mark_parts(brain)
    steps = schedule(wait=0, warmup=LEFT_OUT, active=RECORDED, repeat=1)
    fit_batch, on_stage_end, waiting = brain.fit_batch, brain.on_stage_end, ExitStack()

    def one_step(batch: Any) -> Any:
        waiting.close()
        loss = fit_batch(batch)
        profiler.step()
        waiting.enter_context(record_function(WAITING))  # until the next step of the same epoch
        return loss

    def end_of_stage(*args: Any, **kwargs: Any) -> None:
        waiting.close()
        on_stage_end(*args, **kwargs)

    brain.fit_batch, brain.on_stage_end = one_step, end_of_stage
    with profile(schedule=steps, on_trace_ready=lambda profiler: _report(profiler, names, path, say)) as profiler:
        yield
    if profiler.step_num <= LEFT_OUT:
        say(f"Nothing was profiled: the first {LEFT_OUT} steps are left out, and no more were trained.")


def _mark_parts(brain: SystemBrain) -> set[str]:
    """Mark every part of a step; returns the names of all marks, since torch adds marks of its own."""
    system = brain.system
    parts = {f"front end of {name}": (level, "features") for name, level in system.levels.items()}
    parts |= {f"level {name}": (level, "encode") for name, level in system.levels.items()}
    parts |= {f"covariate {name}": (predict, "forward") for name, predict in system.covariates.items()}
    parts |= {f"head {name}": (head, "forward") for name, head in system.heads.items()}
    parts |= {"fusion": (system.fusion, "forward"), "losses": (brain.objective, "forward")}
    parts |= {"backward": (brain, "backward"), "optimizer": (brain, "optimizers_step"), STEP: (brain, "fit_batch")}

    def marked(function: Callable, name: str, *args: Any, **kwargs: Any) -> Any:
        # An evaluation calls the same parts, but is not a step.
        with record_function(name) if system.training else nullcontext():
            return function(*args, **kwargs)

    for name, (owner, method) in parts.items():
        setattr(owner, method, partial(marked, getattr(owner, method), name))
    return {*parts, WAITING}


def _report(profiler: profile, names: set[str], path: Path, say: Callable[[str], None]) -> None:
    marks = [event for event in profiler.key_averages() if event.is_user_annotation and event.key in names]
    if not (steps := next((event.count for event in marks if event.key == STEP), 0)):
        return
    profiler.export_chrome_trace(str(path))
    if not os.path.isfile(path):  # torch only logs why
        raise CheckpointError(f"The profile's trace cannot be written to {path}.")
    seconds = {event.key: max(event.cpu_time_total, event.device_time_total) / 1e6 / steps for event in marks}
    total = seconds[STEP] + seconds.get(WAITING, 0.0)
    say(f"Profile of {steps} steps of {1000 * total:.3f} ms; the most expensive parts, with what they call:")
    for name in sorted(seconds.keys() - {STEP}, key=seconds.__getitem__, reverse=True)[:SHOWN]:
        say(f"  {name:24s} {1000 * seconds[name]:10.3f} ms  {100 * seconds[name] / total:5.1f} %")
    say(f"Trace, for chrome://tracing or ui.perfetto.dev: {path}")
