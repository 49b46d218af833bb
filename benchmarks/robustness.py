"""The whole robustness campaign in one process: every command with wrong inputs (docs/robustness.md).

python benchmarks/robustness.py            # all cases, a line for each fault, a summary
python benchmarks/robustness.py report     # the cases whose description has this word
"""

import gc
import os
import sys
import tempfile
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from campaign import peak_bytes, run_case, workspace
from campaign_inputs import cases

from toolkit.hardware import give_back


def main(words: list[str]) -> int:
    """Run the cases; returns the number of faults."""
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        os.environ.update(TOOLKIT_CACHE=f"{folder}/cache", XDG_CACHE_HOME=f"{folder}/xdg")
        work = Path(folder) / "work"
        training = get_context("spawn").Process(target=workspace, args=(work,))  # it imports torch's compiler
        training.start()
        training.join()
        gc.freeze()  # imported modules, so that collecting after each command takes no time
        wanted = [case for case in cases() if all(word in case.about for word in words)]
        start, computed, outcomes = time.monotonic(), time.process_time(), []
        for number, case in enumerate(wanted):
            outcome = run_case(case, work, number)
            if outcome.seconds > 0.3:
                give_back()  # as the end of a process would
            outcomes.append(outcome)
            if outcome.fault:
                print(f"FAULT {outcome.about[:150]!r}: {outcome.fault}")
            elif words:
                print(f"{outcome.seconds:.2f} s  {outcome.about[:100]!r}: {outcome.line}")
        seconds, computed = time.monotonic() - start, time.process_time() - computed
    faults = Counter(outcome.fault.partition(":")[0] for outcome in outcomes if outcome.fault)
    for outcome in sorted(outcomes, key=lambda outcome: -outcome.seconds)[:5]:
        print(f"slowest: {outcome.seconds:.2f} s  {outcome.about[:150]!r}")
    used = f"{seconds:.0f} s ({computed:.0f} s of CPU), peak memory {peak_bytes() / 1e6:.0f} MB"
    print(f"{len(outcomes)} inputs in {used}, faults: {dict(faults) or 'none'}")
    return sum(faults.values())


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
