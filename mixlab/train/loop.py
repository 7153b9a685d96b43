"""The training loop: batches in, weights and an empty logbook out.

Reads batches from the loader and out/checkpoint; writes metrics.jsonl, events.jsonl, status.json and checkpoint/ in
`out`. A run is a function of (model weights, loader, spec): stopped anywhere and called again it ends with the same
weights and the same logged numbers, to the last bit, on the same machine with the same number of threads.
"""

# B batch, T sequence

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from mixlab.errors import ConfigError
from mixlab.model.attention import resolve
from mixlab.model.mpt import MPT
from mixlab.train.captured import CapturedStep, own_stream
from mixlab.train.checkpoint import load_checkpoint, save_checkpoint, settle
from mixlab.train.feed import Batches, accumulate, checked, rows_of, size_of_step
from mixlab.train.guard import WINDOW, Guard
from mixlab.train.logbook import Logbook
from mixlab.train.optim import Optimizer, apply_step, make_optimizer, set_lr, swap_average
from mixlab.train.process import pick_device, prepare_process, until_sigterm
from mixlab.train.ranks import Ranks, join
from mixlab.train.rates import learning_rate
from mixlab.train.recovery import SNAPSHOT_STEPS, Copy, Recovery, Snapshot, copy_of, is_sound, ranges_of, restore
from mixlab.train.stem import keep_stem, stem_step
from mixlab.types import TrainSpec
from mixlab.workspace import canonical, disk_errors, write_json

logger = logging.getLogger(__name__)

Evaluate = Callable[[MPT, int, int, bool], None]
"""(model, step, tokens, final) -> None; writes its own rows, carrying that step."""


@dataclass(slots=True)
class _Run:
    """What the steps of one run share."""

    model: MPT
    optimizer: Optimizer
    loader: Batches
    spec: TrainSpec
    book: Logbook
    guard: Guard
    recovery: Recovery
    ranks: Ranks
    run_key: str
    per_step: int
    every_tokens: int
    """Tokens between evaluations."""
    is_stopped: Callable[[], bool]
    captured: CapturedStep | None = None
    """What does the steps on a GPU, where they can be captured."""
    copied: Copy | None = None
    """For the snapshot that is due now."""

    @property
    def stem(self) -> int | None:
        """Steps after which the run is kept for others to go on from."""
        return stem_step(self.spec, self.loader.steps, self.per_step)


def train(
    model: MPT,
    loader: Batches,
    spec: TrainSpec,
    out: Path,
    *,
    evaluate: Evaluate,
    every_tokens: int,
    run_key: str,
) -> None:
    """Trains `model` in place for loader.steps steps, going on from out/checkpoint if one is there.

    `evaluate` is called before the first step, every `every_tokens` tokens, and at the end (final=True). A checkpoint
    is written every spec.save_every_tokens, at the end, and on SIGTERM, which then leaves by SystemExit(75). A step far
    out is dropped; several in a row send the run back to a snapshot, and their data is skipped (recovery.py).
    Raises RunFailed if that does not help (the loss is no number, or stays above an untrained model's), ConfigError for
    settings that do not fit the data or a checkpoint of another run_key, EnvironmentFault if the disk is full (the last
    checkpoint is kept).
    """
    began, device = time.monotonic(), pick_device(spec)
    prepare_process(spec, device)
    resolve(model.spec.attn_impl, device, spec.precision, documents=model.spec.attn_uses_sequence_id)
    model.to(device).train()
    per_step, rows = size_of_step(model, loader, spec)
    ranks = join(device, rows)
    optimizer = make_optimizer(model, spec)
    with (
        until_sigterm() as stopped,
        own_stream(device),
        Logbook(out, steps=loader.steps, tokens_per_step=per_step, writes=ranks.leads) as book,
    ):
        run = _Run(
            model, optimizer, loader, spec, book, Guard(device), Recovery(spec.skip), ranks, run_key,
            per_step, every_tokens, stopped,
        )  # fmt: skip
        step = _resume(run)
        if spec.compile:
            model.compile_blocks()
        run.captured = _captured(run)
        while True:
            if step == run.stem and ranks.leads:
                keep_stem(out)
            if _crosses(step, per_step, every_tokens) or step in (0, loader.steps):
                _evaluate(run, evaluate, step)
            if step == loader.steps:
                break
            step = _advance(run, step)
            _judge_level(run, step)
            if run.captured and run.captured.is_ahead:
                continue
            stop = ranks.any(stopped(), device)
            if stop or step in (run.stem, loader.steps) or _crosses(step, per_step, spec.save_every_tokens):
                if not is_sound(model):  # the last checkpoint that was good stays
                    step = _go_back(run, step - 1, "nan", "the weights are no longer finite")
                    continue
                _save(run, step)
            if stop and step < loader.steps:
                book.stopped()
        book.status("finished")
    logger.info("trained %s: %d steps in %.1f s, written to %s", out.name, step, time.monotonic() - began, out)


def _advance(run: _Run, step: int) -> int:
    """Steps done after the next one: one more, or fewer if the run had to go back."""
    if step % SNAPSHOT_STEPS == 0:
        copy, run.copied = run.copied or copy_of(run.model, run.optimizer), None
        if not copy.is_sound:
            return _go_back(run, step - 1, "nan", "the weights are no longer finite")
        told = {"book": run.book.state(), "guard": run.guard.state()}
        run.recovery.remember(Snapshot(step, copy.tensors, told))
    if run.recovery.is_skipped(step):
        run.book.pass_over()
        return step + 1
    loss, norm, is_bad = _train_step(run, step)
    trouble = run.recovery.see(is_bad, math.isfinite(loss) and math.isfinite(norm))
    return step + 1 if trouble is None else _go_back(run, step, trouble, f"loss {loss:.4f}, gradient norm {norm:.4f}")


def _go_back(run: _Run, step: int, trouble: str, why: str) -> int:
    """The step of the snapshot that the run is at again; one more than `step` if a jump has to be taken as it is."""
    target = run.recovery.back(step)
    if target is None:
        if trouble == "nan":
            run.book.diverged(step + 1, why)
        run.guard.forget()
        run.recovery.level_at = step
        run.book.event("warning", "level", f"{why}: going back has not helped, so this is taken as the new level")
        return step + 1
    run.copied = None
    restore(target, run.model, run.optimizer)
    if run.captured is not None:
        run.captured.forget()  # the moments are other tensors now
    run.guard.resume(target.told["guard"])
    run.book.rewound(target.step, target.told["book"], why, step)
    _save(run, target.step)
    return target.step


def _judge_level(run: _Run, step: int) -> None:
    """Ends a run whose new level is, a window later, worse than knowing nothing: the weights are spoilt.

    An untrained MPT has about ln V + 1 nats per token: after a change of data it is soon below, spoilt weights are not.
    """
    begun = run.recovery.level_at
    if begun is None or step - begun < WINDOW:
        return
    run.recovery.level_at = None
    level, untrained = run.guard.level(), math.log(run.model.spec.vocab_size) + 1
    if level > untrained:
        run.book.diverged(step, f"the loss stays at {level:.2f}, an untrained model has {untrained:.2f}")


def _save(run: _Run, step: int) -> None:
    """Writes the checkpoint, once for all ranks, and beside it which steps were skipped."""
    if run.ranks.leads:
        run.book.sync()
        ledger = canonical(run.loader.ledger(step))
        state = {"step": step, "ledger": ledger, "logbook": run.book.state(), "guard": run.guard.state()}
        state["recovery"] = run.recovery.state()
        ring = run.recovery.tensors() if step < run.loader.steps else None
        out, keep = run.book.out, run.spec.keep_checkpoints
        save_checkpoint(out, run.model, run.optimizer, state, run_key=run.run_key, ring=ring, keep=keep)
        if run.recovery.skips:
            write_json(out / "skips.json", {"skip": ranges_of([*run.recovery.asked, *run.recovery.skips])})
    run.ranks.wait()


def _train_step(run: _Run, step: int) -> tuple[float, float, bool]:
    """One optimizer step and its line in the logbook: loss, gradient norm, and whether the update was dropped."""
    began = time.perf_counter()
    if run.captured:
        told = run.captured(step, is_free=_is_free(run, step + 1), meanwhile=lambda: _copy(run, step + 1))
    else:
        set_lr(run.optimizer, _rate(run, step))
        told = _update(run, _fetch(run, step), step).numpy(force=True).tolist()
    run.book.record(told[0], _rate(run, step), told[1], time.perf_counter() - began, is_dropped=bool(told[2]))
    return told[0], told[1], bool(told[2])


def _copy(run: _Run, step: int) -> None:
    """Has the device copy what a snapshot needs, if one is due after so many steps."""
    run.copied = copy_of(run.model, run.optimizer) if step % SNAPSHOT_STEPS == 0 else None


def _captured(run: _Run) -> CapturedStep | None:
    """On a GPU the steps as a graph; None where a step is not the same work each time, or several ranks share it."""
    spec = run.model.spec
    varies = spec.resid_pdrop or spec.attn_uses_sequence_id or not run.optimizer.is_capturable
    if run.model.device.type != "cuda" or run.ranks.ranks > 1 or varies:
        return None
    do, fetch = partial(_update, run, step=0), partial(_fetch, run)
    return CapturedStep(do, fetch, lambda step: set_lr(run.optimizer, _rate(run, step)), run.loader.steps)


def _rate(run: _Run, step: int) -> float:
    """The learning rate of a step."""
    return learning_rate(run.spec, step * run.per_step, run.loader.steps * run.per_step)


def _is_free(run: _Run, step: int) -> bool:
    """True if the host only counts between the step before `step` and this one, whatever the numbers of that are.

    A single bad step decides nothing: going back takes a streak (recovery.py).
    """
    is_mark = step in (run.stem, run.loader.steps) or step % SNAPSHOT_STEPS == 0
    is_mark |= any(_crosses(step, run.per_step, n) for n in (run.every_tokens, run.spec.save_every_tokens))
    return not (is_mark or run.recovery.is_skipped(step) or run.recovery.is_wary or run.is_stopped())


def _fetch(run: _Run, step: int) -> Tensor:
    """This rank's token ids of a step, (B, T), on the host."""
    return torch.as_tensor(checked(rows_of(run.loader.batch, step, run.ranks)[0], run.model))


def _update(run: _Run, ids_BT: Tensor, step: int) -> Tensor:
    """Forward, backward and the optimizer's step: (loss, gradient norm, was it dropped) as float64 on the device."""
    loss = accumulate(run.model, run.loader, run.spec, ids_BT, step, run.ranks)
    loss = run.ranks.average(run.model, loss, len(ids_BT))
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), run.spec.grad_clip or float("inf"))
    is_bad = run.guard.judge(loss, norm)
    apply_step(run.model, run.optimizer, is_bad, run.spec.ema)
    return torch.stack((loss.double(), norm.double(), is_bad.double()))


def _resume(run: _Run) -> int:
    """Steps already done; model, optimizer, guard and logbook are as they were then."""
    book, loader = run.book, run.loader
    if run.ranks.leads:
        with disk_errors(book.out):
            settle(book.out)
    run.ranks.wait()
    found = load_checkpoint(book.out, run.model, run.optimizer, run_key=run.run_key)
    if found is None:
        book.resume(0, {})
        return 0
    state, ring = found
    step = state["step"]
    ledger = canonical(loader.ledger(min(step, loader.steps)))
    if step > loader.steps or state["ledger"] != ledger:
        raise ConfigError(
            f"{book.out / 'checkpoint'} was fed {state['ledger']} by step {step}, but this plan of {loader.steps} "
            f"steps would have fed {ledger}. The data changed under the run: delete {book.out} to start afresh."
        )
    run.guard.resume(state["guard"])
    run.recovery.resume(state["recovery"] if ring else {**state["recovery"], "ring": []}, ring)
    run.ranks.wait()
    book.resume(step, state["logbook"])
    book.event("info", "resume", f"going on from the checkpoint of step {step} of {loader.steps}")
    return step


def _evaluate(run: _Run, evaluate: Evaluate, step: int) -> None:
    """Calls `evaluate` with the model as it is used: without dropout, and averaged if the run averages."""
    run.model.eval()
    if run.ranks.leads:
        swap_average(run.model, run.optimizer)
        try:
            with disk_errors(run.book.out):
                evaluate(run.model, step, step * run.per_step, step == run.book.steps)
        finally:
            swap_average(run.model, run.optimizer)
    run.model.train()
    run.ranks.wait()
    run.book.status("running")


def _crosses(step: int, per_step: int, every_tokens: int) -> bool:
    """True if a multiple of `every_tokens` was reached by the step just done."""
    return step > 0 and step * per_step // every_tokens > (step - 1) * per_step // every_tokens
