"""What a worker does with a task, in this process."""

import gc
import weakref

import pytest
import torch
from small_system import write_recipe

from toolkit.experiment.cells import Records, Task, Threads, run_task
from toolkit.experiment.plan import Cell, PlannedSystem
from toolkit.training.preparation import load_source
from toolkit.training.run import Run
from toolkit.training.run_folder import read_results


@pytest.mark.parametrize(("asked", "threads"), [(True, 2), (False, 1)])
def test_a_small_system_takes_one_thread_unless_more_are_asked_for(tmp_path, monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # as a worker's environment has it
    before = torch.get_num_threads()
    try:
        recipe = load_source(write_recipe(tmp_path), ["--training.epochs=1"]).recipe
        cell = Cell("small", "session-out", "S1", 1, "1a2b3c4d")
        system = PlannedSystem("1a2b3c4d", recipe.as_dict(), None, False)
        run_task(Task(tmp_path, (cell,), system, Threads(2, asked)))
    finally:
        torch.set_num_threads(before)
    (results,) = tmp_path.glob("runs/*/results.json")
    assert read_results(results)["threads"] == threads


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
    gc.disable()  # so that nothing is collected by chance
    try:
        run_task(Task(tmp_path, (cell,), PlannedSystem("1a2b3c4d", recipe.as_dict(), None, False), Threads(1)))
        left = [system() for system in systems]
    finally:
        gc.enable()
    assert Records(tmp_path).read(cell).state == ("failed" if fails else "done")
    assert left == [None]
