"""The training loop: SpeechBrain's Brain with exact resume, clipping over all groups and skipped non-finite steps."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from torch import Tensor, nn

from toolkit.corpus.targets import Target
from toolkit.data.batches import EpochBatches, seed_all
from toolkit.data.loaders import SegmentLoader
from toolkit.data.segments import Batch
from toolkit.distributed import average_statistics, from_first, gathered, rank, ranks, summed
from toolkit.errors import ToolkitError, counted, join
from toolkit.hardware import use_one_thread_if_small
from toolkit.model.system import System
from toolkit.plugins.plugin import BUILT_BY
from toolkit.recipe.training import TrainingSpec
from toolkit.statistics.metrics import UtteranceMeans
from toolkit.terminal import doing
from toolkit.training.loop.checkpoints import Checkpoints, load_state
from toolkit.training.loop.history import History
from toolkit.training.loop.objective import Objective, TrainStep, compile_system, on_ranks
from toolkit.training.loop.optimizers import Average, Schedule, build_optimizers, step_where

READ_EVERY = 20  # batches between two readings of losses and skips
SKIPS_IN_A_ROW = 20  # optimizer steps in a row with non-finite gradients after which training gives up


class SystemBrain(sb.Brain):
    """Trains one system on one fold.

    Every random draw of a step comes from (seed, epoch, step, rank), and checkpoints hold all state that weights depend
    on: a run that is killed at any moment and started again ends with the same weights to the bit. Within a step
    nothing waits for the device: it decides whether the step is skipped; losses and skips are read every few batches.
    """

    def __init__(
        self,
        system: System,
        objective: Objective,
        *,
        training: TrainingSpec,  # the recipe's settings, with the device
        sampler: EpochBatches,
        rules: Sequence[str],  # parts whose score decides when to stop, such as ("valid",) or ("valid", "test")
        folder: Path,  # of its checkpoints
        targets: Mapping[str, Target],  # head -> what it predicts
        metrics: Callable[[UtteranceMeans], Mapping[str, float]],  # scores -> an epoch's metrics, by history column
        on_epoch: Callable[[History], None],  # called after each epoch, before its checkpoint is saved
        say: Callable[[str], None] = lambda line: None,  # prints a line
        progress: bool = False,
    ):
        options = {"device": training.device, "precision": training.precision, "eval_precision": training.precision}
        modules = {"system": system, "objective": objective}
        checkpoints = Checkpoints(folder, [f"best_{rule}" for rule in rules])
        super().__init__(modules, run_opts=options | {"noprogressbar": not progress}, checkpointer=checkpoints)
        self.system, self.objective = system, objective
        self.training, self.targets, self.metrics = training, targets, metrics
        fitted = any(head.fits for head in system.heads.values())
        self.history, self.train_sampler = History(rules, training, first=0 if fitted else 1), sampler
        self.on_epoch, self.say = on_epoch, say
        self.skips_in_a_row = 0
        self.unread_losses: list[Tensor] = []  # of batches, on the device
        self.unread_steps: list[Tensor] = []  # whether optimizer steps were taken, on the device
        self.average = None if training.average.name == "none" else Average(system, training.average)
        self.tested = system if self.average is None else self.average.module
        self.evaluated = {"system": self.tested, "objective": objective}
        checkpoints.parts |= {"history": self.history, **self.evaluated}
        if self.average is not None:
            checkpoints.parts |= {"live": system, "average": self.average}
        if training.compile:
            compile_system(self.system)
        self.train_step = TrainStep(self.system, self.objective)

    def init_optimizers(self):
        """Build the optimizers and their schedule."""
        self.optimizers_dict = build_optimizers(self.system, self.objective, self.training)
        self.checkpointer.parts |= self.optimizers_dict
        steps_per_epoch = -(-len(self.train_sampler) // self.training.accumulate)
        self.schedule = Schedule(self.training, total_steps=self.training.epochs * steps_per_epoch)

    @property
    def optimizer_groups(self) -> list[dict]:
        """The parameter groups of all optimizers."""
        return [group for optimizer in self.optimizers_dict.values() for group in optimizer.param_groups]

    def on_fit_start(self):
        """Build the optimizer, then continue from the last intact checkpoint if there is one."""
        if ranks() > 1 and self.training.epochs:  # without, perhaps nothing has gradients, which DDP refuses
            self.train_step = on_ranks(self.train_step)
        use_one_thread_if_small(sum(p.numel() for p in self.system.parameters()))
        self.init_optimizers()
        self.history.threads = torch.get_num_threads()
        if last := self.checkpointer.last():
            self.checkpointer.load(last)
            torch.set_num_threads(self.history.threads)
            if epoch := next(self.history.epochs(), None):
                where, threads = f"epoch {epoch} after step {self.step}", counted(self.history.threads, "thread")
                self.say(f"Resumes in {where}, with {threads} as before: {self.checkpointer.folder.parent}")
        elif self.average is not None:
            self.average.add(0)

    def on_evaluate_start(self, max_key: str | None = None, min_key: str | None = None):
        """Load the weights of the best checkpoint by `max_key`, "best_valid" or "best_test"; not its history."""
        best = self.checkpointer.best(max_key, self.history.selection(max_key.removeprefix("best_")).epoch)
        for name, part in self.evaluated.items():
            load_state(part, best / f"{name}.ckpt")

    def _fit_train(self, train_set: SegmentLoader, epoch: int, enable: bool):
        if epoch:
            super()._fit_train(train_set, epoch, enable)
        else:  # no step; the validation of the fitted system follows
            self.epoch_start, self.train_loss = time.monotonic() - self.history.seconds_before, None

    def fit_batch(self, batch: Batch) -> Tensor:
        """One batch forward and backward; an optimizer step at the end of each accumulation and of the epoch."""
        whole = None
        if ranks() > 1:
            whole = self.train_sampler.whole(self.step)
            batch = batch if self.train_sampler.has_rows(self.step) else batch.unlabelled()
        closes = self.step % self.training.accumulate == 0 or self.step == len(self.train_sampler)
        # rank 0 draws the numbers of a single process
        seed_all(self.train_sampler.seed, "step", self.history.epoch, self.step, *([rank()] if rank() else []))
        with nullcontext() if closes or ranks() == 1 else self.train_step.no_sync():  # gradients stay with their rank
            with self.training_ctx:
                loss = self.train_step(batch.to(self.device), batch.targets, whole)
            self.backward(loss)
        if closes:
            self.optimizers_step()
        doing(f"epoch {self.history.epoch} of {self.training.epochs}, step {self.step} of {len(self.train_sampler)}")
        return loss.detach()

    def backward(self, loss: Tensor):
        """Add a batch's share to the gradients of its optimizer step; an epoch's last step may have fewer batches."""
        if not loss.requires_grad:
            plugins = join(str(vars(each).get(BUILT_BY, repr(name))) for name, each in self.objective.losses.items())
            why = "a loss may not detach its inputs or compute outside torch, and not all parts may be frozen"
            raise ToolkitError(f"No gradient comes from the losses ({plugins}), and nothing would be trained: {why}.")
        accumulate = self.training.accumulate
        before = (self.step - 1) // accumulate * accumulate  # batches of the epoch's earlier steps
        self.scaler.scale(loss / min(accumulate, len(self.train_sampler) - before)).backward()

    def optimizers_step(self):
        """Clip over all groups together, then step, unless a gradient is not finite."""
        for optimizer in self.optimizers_dict.values():
            self.scaler.unscale_(optimizer)
        parameters = [p for group in self.optimizer_groups for p in group["params"]]
        limit = self.training.max_grad_norm
        norm = nn.utils.clip_grad_norm_(parameters, float("inf") if limit is None else limit)
        taken = torch.isfinite(norm)
        factor = self.schedule.factor(self.optimizer_step)
        for group in self.optimizer_groups:
            group["lr"] = group["base_lr"] * factor
        for optimizer in self.optimizers_dict.values():
            step_where(optimizer, taken)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()  # lowers its scale after a step that was not finite
        self.objective.after_step(taken)
        average_statistics(self.train_step)
        self.optimizer_step += 1
        if self.training.average.name == "ema":
            self.average.add(self.history.epoch)
        self.unread_steps.append(taken)

    def update_average(self, loss: Tensor | None, avg_loss: float | None) -> float | None:
        """The mean of the losses read so far in this epoch; `loss` is read later, with others."""
        if loss is None:  # in an evaluation
            return avg_loss
        self.unread_losses.append(loss)
        if len(self.unread_losses) >= READ_EVERY:
            self.read_log()
        return self.avg_train_loss

    def read_log(self):
        """Wait for the device, then count its losses and skipped steps; ToolkitError if too many follow each other."""
        losses, taken = self.unread_losses, self.unread_steps
        self.unread_losses, self.unread_steps = [], []
        means = (summed(torch.stack(losses).double()) / ranks()).tolist() if losses else []  # over the ranks
        for batch, loss in enumerate(means, start=self.step - len(means) + 1):
            if math.isfinite(loss):  # any other counts as the mean of those before it, or else as the first finite one
                mean = loss if self.avg_train_loss is None else self.avg_train_loss
                self.avg_train_loss = mean - mean / batch + loss / batch
        for was_taken in torch.stack(taken).tolist() if taken else []:
            self.skips_in_a_row = 0 if was_taken else self.skips_in_a_row + 1
            self.history.skipped_steps += not was_taken
            if self.skips_in_a_row >= SKIPS_IN_A_ROW:
                raise ToolkitError(
                    f"{SKIPS_IN_A_ROW} optimizer steps in a row had gradients that are not finite (epoch "
                    f"{self.history.epoch}, by step {self.step}). Lower training.optimizer.learning_rate or training."
                    "max_grad_norm, add training.warmup_steps, or look for broken audio with toolkit check-data."
                )

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        due = False
        if self.step % self.training.accumulate:  # a checkpoint holds no gradients
            return due
        if self.training.checkpoint_steps:
            due = steps_since_ckpt >= self.training.checkpoint_steps
        elif self.training.checkpoint_minutes and (ranks() == 1 or not self.optimizer_step % READ_EVERY):
            # all ranks follow one clock
            due = from_first(lambda: abs(time.time() - last_ckpt_time) > 60 * self.training.checkpoint_minutes)
        if due:
            self.read_log()
            self.history.seconds_before = time.monotonic() - self.epoch_start
        return due

    def _save_intra_epoch_ckpt(self):
        self.checkpointer.save({})

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None):
        """Begin an epoch, perhaps in its middle, or an evaluation."""
        if stage == sb.Stage.TRAIN:
            self.epoch_start = time.monotonic() - self.history.seconds_before
            self.avg_train_loss = self.avg_train_loss if self.step else None
            self.train_sampler.skip = self.step
        else:
            self.outputs: list[tuple] = []  # of this rank's batches

    def evaluate_batch(self, batch: Batch, stage: sb.Stage) -> None:
        """Add a batch to the outputs. Raises: ToolkitError if a head's scores are not finite."""
        on_device = batch.to(self.device)
        with self.evaluation_ctx:
            output = self.tested(on_device.inputs, on_device.covariates)
        scores = {name: target.scores(output.logits[name]).cpu().numpy() for name, target in self.targets.items()}
        for name, values in scores.items():
            if not np.isfinite(values).all():
                remedy = "Lower training.optimizer.learning_rate, or set training.max_grad_norm."
                raise ToolkitError(f"Head {name!r} gives scores that are not finite: the weights diverged. {remedy}")
        kept = output.embeddings.items() if stage == sb.Stage.TEST else ()
        embeddings = {name: values.float().cpu().numpy() for name, values in kept}
        self.outputs.append((batch.utterances.numpy(), batch.weights.numpy(), scores, embeddings))
        doing("test" if stage == sb.Stage.TEST else f"evaluation of epoch {self.history.epoch}")

    def on_stage_end(self, stage: sb.Stage, stage_loss: float | None, epoch: int | None = None):
        """After an epoch's evaluation, add its row, write the files that depend on it, and save a checkpoint."""
        if stage == sb.Stage.TRAIN:
            self.read_log()
            self.train_loss = self.avg_train_loss
            if self.training.average.name == "swa":
                self.average.add(epoch)
            return
        self.scores, self.embeddings = UtteranceMeans(), UtteranceMeans()
        for part in chain.from_iterable(zip_longest(*gathered(self.outputs))):  # batch 0 of rank 0, of rank 1, ...
            if part is not None:
                utterances, weights, scores, embeddings = part
                self.scores.add(utterances, weights, scores)
                self.embeddings.add(utterances, weights, embeddings)
        if stage == sb.Stage.VALID:
            row = {"epoch": epoch, "train_loss": self.train_loss, **self.metrics(self.scores)}
            self.history.rows.append(row | {"seconds": time.monotonic() - self.epoch_start})
            self.history.seconds_before = 0.0
            self.on_epoch(self.history)
            best = [rule for rule in self.history.rules if self.history.selection(rule).epoch == epoch]
            self.checkpointer.save({"epoch": epoch, **{f"best_{rule}": epoch for rule in best}})
