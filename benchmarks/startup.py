"""How long the light commands take, as a part of what importing SpeechBrain takes."""

import statistics
import subprocess
import sys
import time

ROUNDS = 5
YARDSTICK = [sys.executable, "-c", "import speechbrain"]
COMMANDS = {
    "toolkit --help": ["-m", "toolkit", "--help"],
    "toolkit list-plugins": ["-m", "toolkit", "list-plugins"],
    "toolkit list-plugins --json": ["-m", "toolkit", "list-plugins", "--json"],
}


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Alternate the commands and print medians and ratios."""
    times: dict[str, list[float]] = {name: [] for name in ("import speechbrain", *COMMANDS)}
    for _ in range(ROUNDS):
        times["import speechbrain"].append(seconds(YARDSTICK))
        for name, arguments in COMMANDS.items():
            times[name].append(seconds([sys.executable, *arguments]))
    yardstick = statistics.median(times["import speechbrain"])
    print(f"{'command':30s} {'median s':>9s} {'ratio':>6s}")
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:30s} {median:9.2f} {median / yardstick:6.2f}")


if __name__ == "__main__":
    main()
