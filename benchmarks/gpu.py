"""Training steps of the full reference system on a GPU, with and without each measure that makes them faster."""

import argparse
import gc
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gpu_rounds import Contestant, reset_peak
from measuring import ROUNDS, Result, seconds, table
from plain_system import PlainSystem, PlainTraining, plain_loss
from training_steps import Training, Variant, noise, operations, operations_of, read_recipe

STEPS, WARM_UP, CHECKED = 5, 6, 10  # steps in a round; before the first round; with compared losses

# TFLOP/s of dense matrix products: NVIDIA's H100 architecture whitepaper (SXM5; the H200 has the same chip) and A100
# datasheet. fp32 is without TF32.
PEAKS = {
    "H100 80GB HBM3": {"fp32": 66.9, "bf16": 989.4},
    "H200": {"fp32": 66.9, "bf16": 989.4},
    "A100": {"fp32": 19.5, "bf16": 312.0},
}

BF16 = ("--training.precision=bf16",)
FROZEN = "--model.levels.wav2vec2.args.freeze_convolutions=true"
FP32, TF32 = "fp32, no TF32", "fp32, as torch sets it (TF32 in convolutions and LSTM)"
REFERENCE, COMPILED, PLAIN = "bf16", "bf16, compiled", "opponent: plain composition, bf16"
VARIANTS = {
    FP32: Variant(),
    TF32: Variant(),
    REFERENCE: Variant(BF16),
    "bf16, image not channels-last": Variant(BF16, contiguous=True),
    "bf16, AdamW not fused": Variant(BF16, fused=False),
    "bf16, lengths and losses read from the GPU": Variant(BF16, asks=True),
    "bf16, features cached": Variant(BF16, cached=True),
    "bf16, features cached, wav2vec2's convolutions frozen": Variant((*BF16, FROZEN), cached=True),
    COMPILED: Variant(BF16, compiled=True),
}
# To compare losses: without dropout, which draws other numbers in compiled code, and with two transformer layers.
SMALLER = (
    "--training.batch_size=16",
    "--model.levels.wav2vec2.args.config={num_hidden_layers: 2}",
    "--model.levels.wav2vec2.args.dropout=0",
    "--model.levels.mfcc.args.dropout=0",
    "--model.fusion.args.dropout=0",
    *(f"--model.heads.{head}.args.dropout=0" for head in ("emotion", "spectrogram", "mfcc", "wav2vec2")),
)
CHECKS = {
    TF32: Variant(SMALLER),
    "fp32, no TF32, image not channels-last": Variant(SMALLER, contiguous=True),
    "fp32, no TF32, compiled": Variant(SMALLER, compiled=True),
    "bf16": Variant((*SMALLER, *BF16)),
    "bf16, compiled": Variant((*SMALLER, *BF16), compiled=True),
}
HOW = (
    f"A round has {STEPS} steps; all contestants stay on the GPU and take turns. Memory is a contestant's own. "
    "Operations are those of matrix products and convolutions, three times those of the forward pass, without "
    "recomputation. Features that are not cached are computed within the step."
)


class Benchmark:
    """All contestants on one device; those that fail are reported and left out.

    Args:
        device: cuda, or cpu to try the script.
        tiny: use the small system of the recipe without data.
        limit_s: seconds after which nothing more is compiled.
    """

    def __init__(self, device: str, *, tiny: bool, limit_s: float):
        self.device, self.tiny = device, tiny
        self.steps, self.warm_up, self.checked = (1, 1, 2) if tiny else (STEPS, WARM_UP, CHECKED)
        self.stop = time.monotonic() + limit_s
        self.contestants: dict[str, Contestant] = {}
        self.failures: list[str] = []

    def add(self, what: str, build: Callable[[], Contestant]) -> None:
        """Build a contestant and warm it up."""
        before = reset_peak()

        def warm() -> Contestant:
            contestant = build()
            contestant.run(self.warm_up)
            contestant.own = reset_peak() - before
            return contestant

        contestant, taken = self.tried(what, warm)
        if contestant is not None:
            self.contestants[what] = contestant
            print(f"{what}: ready after {taken:.0f} s", flush=True)

    def ours(self, what: str, variant: Variant) -> None:
        """Add a variant of the toolkit's training."""
        if self._is_late(what, variant):
            return

        def build() -> Contestant:
            training = Training(variant, device=self.device, tiny=self.tiny)
            return Contestant(training, training.rows, tf32=what != FP32)

        self.add(what, build)

    def plain(self, what: str, *, bf16: bool) -> None:
        """Add the opponent."""

        def build() -> Contestant:
            recipe = read_recipe(Variant(), device=self.device, tiny=self.tiny)
            rows = recipe.training.batch_size
            batches = noise(recipe, rows=rows, count=4, device=self.device)
            waves = [(batch.inputs.values, batch.targets["label"]) for batch in batches]
            return Contestant(PlainTraining(self.plain_system(), waves, self.device, bf16=bf16), rows, tf32=True)

        self.add(what, build)

    def plain_system(self) -> PlainSystem:
        """The opponent's system, with the sizes of the recipe."""
        recipe = read_recipe(Variant(), device=self.device, tiny=self.tiny)
        args = {name: level.args for name, level in recipe.model.levels.items()}
        return PlainSystem(
            recipe.audio.segment_samples,
            image_size=args["spectrogram"].get("image_size", (256, 384)),
            pool=args["spectrogram"].get("pool", (6, 6)),
            hidden=args["mfcc"].get("hidden", 256),
            layers=args["mfcc"].get("layers", 2),
            config=args["wav2vec2"].get("config", {}),
        )

    def measure(self, rounds: int) -> None:
        """Rounds of all contestants in turns."""
        for number in range(rounds):
            for what in list(self.contestants)[:: -1 if number % 2 else 1]:
                if self.tried(what, lambda what=what: self.contestants[what].measure(self.steps) or True)[0] is None:
                    del self.contestants[what]
        for what, contestant in self.contestants.items():
            print(f"{what}: {contestant.rate:.4g} segments/s, {max(contestant.peaks) / 1e9:.2f} GB", flush=True)

    def waits(self, what: str) -> str:
        """A note: whether a step of this contestant waits for the GPU, and where."""
        if self.device != "cuda" or what not in self.contestants:
            return f"{what}: not checked whether a step waits for the GPU."
        torch.cuda.set_sync_debug_mode("error")
        try:
            self.contestants[what].training.step()
        except RuntimeError as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            return f"{what}: a step waits for the GPU in {Path(last.filename).name}, line {last.lineno} ({last.line})."
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return f"{what}: a step ran under torch.cuda.set_sync_debug_mode('error'), so nothing in it waits for the GPU."

    def losses(self, what: str, variant: Variant) -> list[float] | None:
        """Losses of the first steps, from the same weights and batches each time."""
        if self._is_late(what, variant):
            return None

        def run() -> list[float]:
            training = Training(variant, device=self.device, tiny=self.tiny)
            contestant = Contestant(training, training.rows, tf32=what == TF32 or what.startswith("bf16"))
            return [loss.item() for loss in contestant.run(self.checked)]

        found, taken = self.tried(f"losses of {what}", run)
        print(f"losses of {what}: {taken:.0f} s", flush=True)
        return found

    def release(self) -> None:
        """Free the device's memory, and keep the measurements."""
        for contestant in self.contestants.values():
            contestant.training = None
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def _is_late(self, what: str, variant: Variant) -> bool:
        if variant.compiled and time.monotonic() > self.stop:
            self.failures.append(f"{what}: left out, the time limit was reached")
            return True
        return False

    def tried(self, what: str, function: Callable[[], Any]) -> tuple[Any, float]:
        """The result of a function (None if it fails) and the seconds that it took."""
        result = None

        def run() -> None:
            nonlocal result
            try:
                result = function()
            except Exception as error:
                traceback.print_exc()
                self.failures.append(f"{what}: failed, {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")

        taken = seconds(run)
        return result, taken


def rows(bench: Benchmark) -> list[dict[str, str]]:
    """The table."""
    full, cut = (
        bench.tried("operations", lambda v=variant: operations_of(v, tiny=bench.tiny))[0]
        for variant in (Variant(), Variant((FROZEN,), cached=True))
    )
    recipe = read_recipe(Variant(), device="cpu", tiny=bench.tiny)
    system, (batch,) = bench.plain_system().train(), noise(recipe, rows=1, count=1, device="cpu")
    plain = bench.tried(
        "operations", lambda: operations(lambda: plain_loss(system, batch.inputs.values, batch.targets["label"]))
    )[0]
    name = torch.cuda.get_device_name() if bench.device == "cuda" else ""
    peaks = next((found for part, found in PEAKS.items() if part in name), {})
    made = []
    for what, contestant in bench.contestants.items():
        counted = plain if what.startswith("opponent") else cut if "frozen" in what else full
        made.append(contestant.row(what, counted, peaks.get("bf16" if "bf16" in what else "fp32")))
    return made


def differences(bench: Benchmark) -> list[str]:
    """A note on how far the losses of the first steps are from those in fp32."""
    expected = bench.losses(FP32, Variant(SMALLER))
    notes = []
    for what, variant in CHECKS.items():
        found = bench.losses(what, variant)
        if expected and found:
            largest = max(abs(one - other) / abs(other) for one, other in zip(found, expected, strict=True))
            notes.append(f"{what}: {largest:.1e}")
    return [
        f"Losses of {CHECKED} steps from the same weights and batches (two transformer layers, no dropout), largest "
        f"relative difference to {FP32}: {'; '.join(notes)}."
    ]


def main() -> None:
    """Measure, check, report; without a GPU say so and leave earlier figures alone."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="a small system, to try the script: no figures are kept")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--limit_s", type=float, default=3600, help="seconds after which nothing more is compiled")
    settings = parser.parse_args()
    if settings.device == "cuda" and not torch.cuda.is_available():
        print("gpu.py: no GPU here; earlier figures stay as they are.")
        return
    bench = Benchmark(settings.device, tiny=settings.tiny, limit_s=settings.limit_s)
    bench.plain("opponent: plain composition, fp32", bf16=False)
    bench.plain(PLAIN, bf16=True)
    for what, variant in VARIANTS.items():
        bench.ours(what, variant)
    bench.measure(settings.rounds)
    waits = [bench.waits(what) for what in (FP32, REFERENCE, COMPILED)]
    bench.release()
    notes = [HOW, *differences(bench), *waits, *bench.failures]
    found = rows(bench)
    if settings.tiny:
        print(table(found), *notes, sep="\n")
        return
    Result(
        "gpu.py",
        "Training steps of mtl_cr.yaml: 64 segments of 3 s, a backbone of wav2vec2-base's shape, tuned as a whole "
        "unless a row says otherwise; random weights, batches in memory.",
        "Opponent: torchvision's AlexNet, nn.LSTM, transformers' Wav2Vec2Model and AdamW with its defaults, without "
        "center loss, in benchmarks/plain_system.py.",
        found,
        notes,
    ).report()


if __name__ == "__main__":
    main()
