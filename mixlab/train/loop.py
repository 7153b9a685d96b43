"""The training loop: batches in, weights and an empty logbook out.

Reads batches from the loader and out/checkpoint; writes metrics.jsonl, events.jsonl, status.json and checkpoint/ in
`out`. A run is a function of (model weights, loader, spec): stopped anywhere and called again it ends with the same
weights and the same logged numbers, to the last bit, on the same machine with the same number of threads.
"""

# B batch, T sequence

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mixlab.errors import ConfigError
from mixlab.model.attention import resolve
from mixlab.model.mpt import MPT
from mixlab.seeds import seed_of
from mixlab.train.checkpoint import load_checkpoint, save_checkpoint
from mixlab.train.logbook import Logbook
from mixlab.train.optim import learning_rate, make_optimizer, set_lr
from mixlab.types import TrainSpec
from mixlab.workspace import canonical, disk_errors

logger = logging.getLogger(__name__)

PLEASE_REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, run me again
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc

Evaluate = Callable[[MPT, int, int, bool], None]
"""(model, step, tokens, final) -> None; writes its own rows, carrying that step."""


class Batches(Protocol):
    """What the loop asks of a loader; batch(step) depends on step alone."""

    @property
    def steps(self) -> int:
        """Optimizer steps in the run."""
        ...

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids int64 (B, T) of this step, and the source index of each row (B,)."""
        ...

    def ledger(self, step: int) -> Mapping[str, Any]:
        """What has been drawn from each source before this step: dataclasses or JSON."""
        ...


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
    is written every spec.save_every_tokens, at the end, and on SIGTERM, which then leaves by SystemExit(75).
    Raises RunFailed if loss or gradient is not finite, ConfigError for settings that do not fit the data or a
    checkpoint of another run_key, EnvironmentFault if the disk is full (the last checkpoint is kept).
    """
    began, device = time.monotonic(), pick_device(spec)
    _prepare_process(spec, device)
    resolve(model.spec.attn_impl, device, spec.precision)
    model.to(device).train()
    optimizer = make_optimizer(model, spec)
    per_step = _tokens_per_step(model, loader, spec)
    with Logbook(out, steps=loader.steps, tokens_per_step=per_step) as book, _until_sigterm() as stopped:
        step = _resume(model, optimizer, loader, book, run_key)
        while True:
            if _crosses(step, per_step, every_tokens) or step in (0, loader.steps):
                _evaluate(model, evaluate, book, step)
            if step == loader.steps:
                break
            _train_step(model, optimizer, loader, spec, book, step)
            step, stop = step + 1, stopped()
            if stop or step == loader.steps or _crosses(step, per_step, spec.save_every_tokens):
                state = {"step": step, "ledger": canonical(loader.ledger(step)), "logbook": book.state()}
                save_checkpoint(out, model, optimizer, state, run_key=run_key)
            if stop and step < loader.steps:
                _ask_for_requeue(book)
        book.status("finished")
    logger.info("trained %s: %d steps in %.1f s, written to %s", out.name, step, time.monotonic() - began, out)


def pick_device(spec: TrainSpec) -> torch.device:
    """The device of spec.device; `auto` is a GPU if there is one. Raises ConfigError for one that is not there."""
    has_gpu = torch.cuda.is_available()
    if spec.device == "cuda" and not has_gpu:
        raise ConfigError("train.device=cuda, but torch sees no GPU here. Use train.device=cpu or auto.")
    return torch.device("cuda" if has_gpu and spec.device != "cpu" else "cpu")


def _train_step(
    model: MPT, optimizer: torch.optim.Optimizer, loader: Batches, spec: TrainSpec, book: Logbook, step: int
) -> None:
    """One optimizer step and its line in the logbook."""
    began = time.perf_counter()
    lr = learning_rate(spec, step * book.tokens_per_step, loader.steps * book.tokens_per_step)
    set_lr(optimizer, lr)
    ids_BT = torch.from_numpy(_checked(loader.batch(step)[0], model))
    loss = _accumulate(model, loader, spec, ids_BT, step)
    norm = nn.utils.clip_grad_norm_(model.parameters(), spec.grad_clip or float("inf"))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    book.record(loss.item(), lr, norm.item(), time.perf_counter() - began)


def _accumulate(model: MPT, loader: Batches, spec: TrainSpec, ids_BT: Tensor, step: int) -> Tensor:
    """Leaves the gradient of the batch's mean loss in the parameters; returns the mean nats per token."""
    rows = len(ids_BT)
    if spec.micro_batch_tokens is not None:
        rows = max(1, spec.micro_batch_tokens // ids_BT.shape[1])
    docs_BT = _documents(loader, step).to(model.device) if model.spec.attn_uses_sequence_id else None
    mean = torch.zeros((), device=model.device)
    for i, part_BT in enumerate(ids_BT.to(model.device).split(rows)):
        if model.spec.resid_pdrop:
            torch.manual_seed(seed_of(model.seed, "dropout", step, i))  # so that a resumed run drops the same units
        docs = None if docs_BT is None else docs_BT[i * rows : (i + 1) * rows]
        with torch.autocast(model.device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
            loss, nats = model.losses(part_BT, docs, spec.z_loss)
        share = len(part_BT) / len(ids_BT)
        (loss * share).backward()
        mean += nats.detach() * share
    return mean


def _resume(model: MPT, optimizer: torch.optim.Optimizer, loader: Batches, book: Logbook, run_key: str) -> int:
    """Steps already done; model, optimizer and logbook are as they were then."""
    state = load_checkpoint(book.out, model, optimizer, run_key=run_key)
    if state is None:
        book.resume(0, {})
        return 0
    step = state["step"]
    ledger = canonical(loader.ledger(min(step, loader.steps)))
    if step > loader.steps or state["ledger"] != ledger:
        raise ConfigError(
            f"{book.out / 'checkpoint'} was fed {state['ledger']} by step {step}, but this plan of {loader.steps} "
            f"steps would have fed {ledger}. The data changed under the run: delete {book.out} to start afresh."
        )
    book.resume(step, state["logbook"])
    book.event("info", "resume", f"going on from the checkpoint of step {step} of {loader.steps}")
    return step


def _ask_for_requeue(book: Logbook) -> NoReturn:
    """Leaves the process, the checkpoint being written, with the exit code that asks to be run again."""
    book.event("info", "stopped", "SIGTERM: checkpoint written, please run again")
    book.status("queued", "stopped by SIGTERM; the same command goes on from here")
    raise SystemExit(PLEASE_REQUEUE)


def _evaluate(model: MPT, evaluate: Evaluate, book: Logbook, step: int) -> None:
    """Calls `evaluate` with the model as it is used, not as it is trained (no dropout)."""
    model.eval()
    with disk_errors(book.out):
        evaluate(model, step, step * book.tokens_per_step, step == book.steps)
    model.train()
    book.status("running")


def _crosses(step: int, per_step: int, every_tokens: int) -> bool:
    """True if a multiple of `every_tokens` was reached by the step just done."""
    return step > 0 and step * per_step // every_tokens > (step - 1) * per_step // every_tokens


def _tokens_per_step(model: MPT, loader: Batches, spec: TrainSpec) -> int:
    """Tokens of one batch; refuses a loader or a micro-batch that does not fit."""
    if loader.steps < 1:
        raise ConfigError(f"train.tokens={spec.tokens} is less than one batch of {spec.batch_tokens} tokens.")
    if spec.save_every_tokens < 1:
        raise ConfigError(f"train.save_every_tokens={spec.save_every_tokens} must be at least 1.")
    ids_BT = _checked(loader.batch(0)[0], model)
    seq_len = ids_BT.shape[1]
    if spec.micro_batch_tokens is not None and spec.micro_batch_tokens < seq_len:
        raise ConfigError(f"train.micro_batch_tokens={spec.micro_batch_tokens} is less than one sequence ({seq_len}).")
    return ids_BT.size


def _checked(ids_BT: np.ndarray, model: MPT) -> np.ndarray:
    """The batch, if the model's embedding has a row for each of its tokens."""
    if ids_BT.max() >= model.spec.vocab_size or ids_BT.min() < 0:
        raise ConfigError(
            f"a batch holds token {ids_BT.max()}, but model.vocab_size={model.spec.vocab_size}. Set it to the "
            "tokenizer's size."
        )
    return ids_BT


def _documents(loader: Batches, step: int) -> Tensor:
    """Document of each token (B, T), which only a loader that knows where documents end can tell."""
    doc_ids = getattr(loader, "doc_ids", None)
    if doc_ids is None:
        raise ConfigError("model.attn_uses_sequence_id=true needs a loader with `doc_ids`; this one has none.")
    return torch.from_numpy(doc_ids(step))


def _prepare_process(spec: TrainSpec, device: torch.device) -> None:
    """Threads, repeatable kernels, and memory that is kept between steps."""
    torch.set_num_threads(spec.threads)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    elif sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc; others have none, which costs 10-15 % of speed
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 32 << 20)  # else each step hands its memory back and faults it in again
            mallopt(M_TRIM_THRESHOLD, 1 << 30)


@contextmanager
def _until_sigterm() -> Iterator[Callable[[], bool]]:
    """A function that tells whether SIGTERM has come; only a main thread may ask for signals."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: came.set())
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
