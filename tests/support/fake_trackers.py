"""MLflow and Weights & Biases as far as a training calls them; what they were told is in `runs`."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest


class FakeTracker:
    """Runs by id: what each was started with, its rows, and how it ended; `broken`: the call that raises."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str):
        self.runs: dict[str, SimpleNamespace] = {}
        self.broken = ""
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        patch.setitem(sys.modules, name, module)
        if name == "mlflow":
            module.start_run, module.end_run = self.start_run, self.end_run
            module.log_dict, module.log_metrics = self.log_dict, self.log_metrics
        else:
            module.init = self.init

    def begin(self, known: str | None, **options) -> SimpleNamespace:
        self.fail("begin")
        name = known or f"id{len(self.runs)}"
        new = SimpleNamespace(id=name, options=options, rows=[], ended=[])
        self.current = self.runs.setdefault(name, new)
        return self.current

    def fail(self, call: str) -> None:
        if self.broken == call:
            raise ConnectionError("the server is away")

    def start_run(self, *, run_id, run_name, nested):
        return SimpleNamespace(info=SimpleNamespace(run_id=self.begin(run_id, name=run_name).id))

    def log_dict(self, values, file):
        self.current.options[file] = values

    def log_metrics(self, values, step):
        self.fail("log")
        self.current.rows.append(values | {"epoch": step})

    def end_run(self, status):
        self.current.ended.append(status)

    def init(self, *, id, resume, project, dir, name, config, reinit):
        run = self.begin(id, name=name, project=project, config=config)
        run.define_metric = lambda name, *, step_metric: None
        run.log = lambda values: (self.fail("log"), run.rows.append(values))
        run.finish = lambda exit_code: run.ended.append(exit_code)
        return run
