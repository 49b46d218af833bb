"""What a worker does with a task, in this process."""

import gc
import weakref

import pytest
from small_system import write_recipe

from toolkit.experiment.plan import Cell, PlannedSystem
from toolkit.experiment.progress import Records
from toolkit.experiment.tasks import Task, run_task
from toolkit.training.preparation import load_source
from toolkit.training.run import Run


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_training_stays_in_its_process(tmp_path, monkeypatch, fails):
    recipe = load_source(write_recipe(tmp_path), ["--training.epochs=1"]).recipe
    trained, systems = Run.train, []

    def train(run, *, wait):
        path = trained(run, wait=wait)
        systems.append(weakref.ref(run.system))
        if fails:
            raise RuntimeError("the disk is full")
        return path

    monkeypatch.setattr(Run, "train", train)
    cell = Cell("small", "session-out", "S1", 1, "1a2b3c4d")
    gc.disable()  # nothing goes by chance
    try:
        run_task(Task(tmp_path, (cell,), PlannedSystem("1a2b3c4d", recipe.as_dict(), None, False), 1))
        left = [system() for system in systems]
    finally:
        gc.enable()
    assert Records(tmp_path).read(cell).state == ("failed" if fails else "done")
    assert left == [None]
