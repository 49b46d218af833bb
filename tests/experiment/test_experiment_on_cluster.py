"""An experiment on a Dask cluster of two processes, one of which is killed, has the same table as on this machine."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import several_ranks
from click.testing import CliRunner
from small_system import write_recipe
from trained_model import predictions_by_fold

from toolkit.cli.main import main
from toolkit.experiment.cells import Records
from toolkit.experiment.plan import PLAN, read_plan
from toolkit.report.evidence import Evidence


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler with two workers of one thread, which train one cell at a time."""
    code = """
import sys
import dask
from distributed import LocalCluster
from several_ranks import fork_workers
if __name__ == "__main__":
    settings = {"n_workers": 2, "threads_per_worker": 1, "resources": {"threads": 1}, "dashboard_address": None}
    with dask.config.set(fork_workers()), LocalCluster(**settings) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
    script, support = tmp_path / "cluster.py", str(Path(several_ranks.__file__).parent)
    script.write_text(code)
    with subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([support, os.environ.get("PYTHONPATH", "")])},
        text=True,
    ) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


def running(folder):
    records = Records(folder)
    found = [records.read(cell) for cell in read_plan(folder).cells] if (folder / PLAN).exists() else []
    return [record.pid for record in found if record and record.state == "running" and record.epochs]


def kill_a_worker(folder, victims):
    """Kill one of the two processes as soon as both train; `victims` gets its pid."""
    end = time.monotonic() + 120
    while len(found := running(folder)) < 2 or not any(folder.glob("runs/*/epochs.csv")):
        if time.monotonic() > end:
            return
        time.sleep(0.02)
    victims.append(found[0])
    os.kill(found[0], signal.SIGKILL)


def table(folder):
    runs = Evidence(folder).runs
    return {run.folder.name.rpartition("-")[0]: (run.folder / "predictions.csv").read_bytes() for run in runs}


def test_a_cluster_with_a_killed_worker_gives_the_same_table_as_this_machine(tmp_path, cluster):
    recipe, settings = write_recipe(tmp_path), ("--training.epochs=10", "--training.checkpoint_steps=1")
    expected, remote = predictions_by_fold(recipe, tmp_path / "local", "S1,S2", *settings), tmp_path / "remote"

    assert re.match(r"tcp://127\.0\.0\.1:\d+", cluster)
    where = ("--folds", "S1,S2", "--scheduler", cluster, "--resource", "threads=1")
    victims = []
    killer = threading.Thread(target=kill_a_worker, args=(remote, victims))
    killer.start()
    done = CliRunner().invoke(main, ["experiment", str(recipe), "--output", str(remote), *settings, *where])
    killer.join()
    assert done.exit_code == 0 and len(victims) == 1, done.output
    assert table(remote) == expected and len(expected) == 2
    last = {json.loads(path.read_text())["pid"] for path in remote.glob("cells/*.json")}
    assert victims[0] not in last, "the killed worker's cell was ended by another process"
