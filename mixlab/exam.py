"""Exams of tasks: a suite put to a run while it trains, at its end, or years later, without training anything again.

Reads a run's run.json and checkpoint, its tokenizer, suites and task files; appends to the run's items.jsonl (raw
log-likelihoods at the end of training) and scores.jsonl. What was asked before under the same hashes is not asked
again, so a new task costs only itself.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from mixlab import handover
from mixlab.config import convert
from mixlab.data import tokenizer
from mixlab.errors import MissingError
from mixlab.eval import engine, marking, suites
from mixlab.eval.requests import Requests, tokenise
from mixlab.eval.suites import Task
from mixlab.model.mpt import MPT
from mixlab.train import loop
from mixlab.train.checkpoint import load_weights
from mixlab.types import ModelSpec, RunSpec, TrainSpec
from mixlab.workspace import Workspace, append_lines, disk_errors, read_json, read_lines, read_manifest

LIVE_SHARE = 0.03
"""Of the training cost, what live tasks may cost at most; a token fed costs a third of a token trained on."""
logger = logging.getLogger(__name__)


def sit(run: Path, ws: Workspace, suite: str, tasks: Path | None = None) -> list[dict[str, Any]]:
    """The final score rows of a finished run on every task of a suite; only what is new is computed.

    Each task is also put to the run's untrained start (step 0): its measured floor. MissingError if the run has not
    finished; what `load_suite` raises.
    """
    if not (run / "done.json").exists():
        raise MissingError(f"{run.name} has not finished: run its command again, and evaluate it then.")
    told, done = read_json(run / "run.json"), read_json(run / "done.json")
    words = ws.root / "tokenizer" / told.get("tokenizer", "none")
    sha = read_manifest(words)["sha256"][:12]
    found = suites.load_suite(suite, tasks)
    with disk_errors(run), FileLock(run / ".lock"):
        rows = read_lines(run / "scores.jsonl")
        for step, tokens in ((0, 0), (done["steps"], done["tokens"])):
            new = [task for task in found if not _of(rows, task, sha, step)]
            if new:
                _put(run, new, _model(run, told, step), words, ws, step=step, tokens=tokens)
    rows = read_lines(run / "scores.jsonl")
    return [row for task in found for row in _of(rows, task, sha, done["steps"])]


def live(spec: RunSpec, words: Path, ws: Workspace, out: Path) -> Callable[[MPT, int, int], None] | None:
    """The live suite of a run as a callable (model, step, tokens), or None without one.

    Asked at step 0 and then as often as keeps its cost within 3 % of the training's: at every n-th evaluation.
    """
    if spec.evals.live_suite is None:
        return None
    found = suites.load_suite(spec.evals.live_suite, Path(spec.evals.tasks) if spec.evals.tasks else None)
    sha, encoder = read_manifest(words)["sha256"][:12], tokenizer.load(words)
    asked = [(task, tokenise(task, encoder, sha, ws.requests)) for task in found]
    every = stride(sum(map(_size, (r for _, r in asked))), spec.train.tokens, spec.evals.every_tokens)
    if every is None:
        logger.warning(
            "live suite '%s' is too large for a run of this length: asked at step 0 only", spec.evals.live_suite
        )

    def ask(model: MPT, step: int, tokens: int) -> None:
        if step and (every is None or round(tokens / spec.evals.every_tokens) % every):
            return
        for task, requests in asked:
            append_lines(out / "scores.jsonl", _score(model, task, requests, sha, step, tokens, final=False)[1])

    return ask


def stride(fed: int, train_tokens: int, every_tokens: int) -> int | None:
    """Every how many-th evaluation a suite that feeds `fed` ids may be asked within the budget; None: never.

    >>> stride(fed=3000, train_tokens=450_000, every_tokens=100_000)
    1
    >>> stride(fed=30_000, train_tokens=450_000, every_tokens=100_000)
    4
    """
    allowed = math.floor(LIVE_SHARE * train_tokens * 3 / max(1, fed))
    evaluations = max(1, train_tokens // every_tokens)
    return math.ceil(evaluations / allowed) if allowed else None


def _put(run: Path, new: Sequence[Task], model: MPT, words: Path, ws: Workspace, *, step: int, tokens: int) -> None:
    """Scores tasks one by one, each written when it is done; items of the end of training only."""
    sha, encoder = read_manifest(words)["sha256"][:12], tokenizer.load(words)
    for task in new:
        requests = tokenise(task, encoder, sha, ws.requests)
        items, scores = _score(model, task, requests, sha, step, tokens, final=bool(step))
        if step:
            append_lines(run / "items.jsonl", items)
        append_lines(run / "scores.jsonl", scores)
        logger.info("%s: %s, %d items in %.1f s", run.name, task.label, len(items), scores[0]["detail"]["seconds"])


def _score(
    model: MPT, task: Task, requests: Requests, sha: str, step: int, tokens: int, *, final: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(item rows, score rows) of one task."""
    began = time.monotonic()
    scored = engine.score_requests(model, requests, model.spec.max_seq_len)
    items = marking.item_rows(task, requests, scored, step, tokens, sha)
    took = time.monotonic() - began
    return items, marking.score_rows(task, items, final=final, seconds=took, fed=scored.tokens)


def _model(run: Path, told: Mapping[str, Any], step: int) -> MPT:
    """The run's model at its end, or its untrained start at step 0, where training had it."""
    spec, train = convert(ModelSpec, told["spec"]["model"], "model"), convert(TrainSpec, told["spec"]["train"], "train")
    if step == 0:
        return handover.start(spec, told["seed"]).to(loop.pick_device(train))
    model = MPT(spec)
    load_weights(run, model)
    return model.to(loop.pick_device(train))


def _of(rows: Sequence[Mapping[str, Any]], task: Task, sha: str, step: int) -> list[dict[str, Any]]:
    """The rows that answer exactly this task at this step, the newest of each metric; live ones at step 0 count."""
    alike = marking.hashes(task, sha)
    found = {}
    for row in rows:
        detail = row.get("detail") or {}
        is_alike = all(detail.get(name) == alike[name] for name in ("suite_hash", "prompt_hash", "tokenizer_hash"))
        if is_alike and row["task"] == task.label and row["step"] == step and (row["final"] or not step):
            found[row["metric"]] = dict(row)
    return list(found.values())


def _size(requests: Requests) -> int:
    """Ids that have to be fed, shared contexts once."""
    distinct = {ids.tobytes(): len(ids) for ids in requests.contexts}
    return sum(distinct.values()) + sum(len(ids) - 1 for ids in requests.continuations)
