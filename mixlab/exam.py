"""Exams of tasks: a suite put to a run while it trains, at its end, or years later, without training anything again.

Reads a run's run.json and checkpoint, its tokenizer, suites and task files; appends to the run's items.jsonl (raw
log-likelihoods at the end of training) and scores.jsonl. What was asked before under the same hashes is not asked
again, so a new task costs only itself.
"""

import functools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mixlab import handover, origin
from mixlab.config import convert
from mixlab.data import tokenizer
from mixlab.errors import MissingError
from mixlab.eval import answers, engine, marking, suites
from mixlab.eval.packing import Packed, pack
from mixlab.eval.requests import Requests, tokenise
from mixlab.eval.suites import Task
from mixlab.model.generate import generate
from mixlab.model.mpt import MPT
from mixlab.results.listing import read_object, trained_here
from mixlab.train import loop
from mixlab.train.checkpoint import load_weights
from mixlab.types import ModelSpec, RunSpec, TrainSpec
from mixlab.workspace import (
    Workspace,
    append_lines,
    disk_errors,
    key_of,
    read_json,
    read_lines,
    read_manifest,
    write_json,
)

LIVE_SHARE = 0.03
"""Of the training cost, what live tasks may cost at most; a token fed costs a third of a token trained on."""
START_VERSION = 1
"""Raised when an untrained start would get other scores."""
TOGETHER = 4
"""Runs asked in one pass, with two checkpoints each in memory."""
logger = logging.getLogger(__name__)


def sit(run: Path, ws: Workspace, suite: str, tasks: Path | None = None) -> list[dict[str, Any]]:
    """The final score rows of one finished run; see `sit_together`."""
    return sit_together([run], ws, suite, tasks)[run.name]


def sit_together(
    runs: Sequence[Path], ws: Workspace, suite: str, tasks: Path | None = None
) -> dict[str, list[dict[str, Any]]]:
    """The final score rows of finished runs on every task of a suite, by run; only what is new is computed.

    Each task is also put to a run's untrained start (step 0): its measured floor. Checkpoints that read alike (one
    tokenizer, one sequence length) are asked in one pass. MissingError if a run has not finished; what `load_suite`
    raises.
    """
    found = suites.load_suite(suite, tasks)
    sat = [sitter(run, ws) for run in runs]
    with ExitStack() as held:
        for run in sorted({s.run for s in sat}):
            held.enter_context(disk_errors(run))
            held.enter_context(FileLock(run / ".lock"))
        alike: dict[tuple[Path, int], list[Sitter]] = {}
        for one in sat:
            alike.setdefault((one.words, one.spec.max_seq_len), []).append(one)
        for (words, _), those in alike.items():
            for at in range(0, len(those), TOGETHER):
                _put(those[at : at + TOGETHER], found, words, ws)
    return {
        s.run.name: [row for t in found for row in _of(read_lines(s.run / "scores.jsonl"), t, s.sha, s.steps)]
        for s in sat
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Sitter:
    """A finished run that sits an exam."""

    run: Path
    told: Mapping[str, Any]
    """Its run.json."""
    spec: ModelSpec
    words: Path
    sha: str
    """The tokenizer's hash."""
    steps: int
    tokens: int


def sitter(run: Path, ws: Workspace) -> Sitter:
    """What is needed of a run; MissingError if it has not finished."""
    if not (run / "done.json").exists():
        raise MissingError(f"{run.name} has not finished: run its command again, and evaluate it then.")
    told, done = trained_here(run), read_json(run / "done.json")
    words = ws.root / "tokenizer" / told.get("tokenizer", "none")
    return Sitter(
        run=run,
        told=told,
        spec=convert(ModelSpec, told["spec"]["model"], "model"),
        words=words,
        sha=read_manifest(words)["sha256"][:12],
        steps=done["steps"],
        tokens=done["tokens"],
    )


def _put(sitters: Sequence[Sitter], found: Sequence[Task], words: Path, ws: Workspace) -> None:
    """Puts each task to those that lack it, start and end, in one pass; each is written when it is done."""
    encoder, models, starts = tokenizer.load(words), dict[tuple[str, int], MPT](), dict[str, str]()
    for task in found:
        new = [
            (sitter, step)
            for sitter in sitters
            for step in (0, sitter.steps)
            if not _of(read_lines(sitter.run / "scores.jsonl"), task, sitter.sha, step)
        ]
        for sitter in (sitter for sitter, step in new if not step and sitter.run.name not in starts):
            starts[sitter.run.name] = _start_key(sitter)
        kept = {
            n: ws.requests / f"start-{key}-{marking.evals_key(task, sitters[0].sha)}.json" for n, key in starts.items()
        }
        new = [(sitter, step) for sitter, step in new if step or not _recall(sitter, kept[sitter.run.name])]
        if new:
            _ask(task, new, encoder, models, ws, kept, starts)


def _ask(
    task: Task,
    sittings: Sequence[tuple[Sitter, int]],
    encoder: tokenizer.Tokenizer,
    models: dict[tuple[str, int], MPT],
    ws: Workspace,
    kept: Mapping[str, Path],
    starts: Mapping[str, str],
) -> None:
    """Puts one task to (run, step) after (run, step); runs that began alike have one untrained start among them.

    `starts`: run -> key of its start, by which it is among `models`; `kept`: run -> where that one's scores are kept.
    """
    alike: dict[tuple[str, int], list[tuple[Sitter, int]]] = {}
    for sitter, step in sittings:
        alike.setdefault((sitter.run.name if step else starts[sitter.run.name], step), []).append((sitter, step))
    for who, ((sitter, step), *_) in alike.items():
        if who not in models:
            models[who] = model_of(sitter, step)
    asked, began, max_len = [models[who] for who in alike], time.monotonic(), sittings[0][0].spec.max_seq_len
    requests = tokenise(task, encoder, sittings[0][0].sha, ws.requests)
    scored = engine.score_packed(asked, pack(requests, max_len, engine.batch_tokens_of(asked[0])))
    writers = [functools.partial(generate, model, stop_id=encoder.end_of_text_id) for model in asked]
    written = [answers.written(write, encoder, task, requests, max_len) for write in writers]
    seconds = (time.monotonic() - began) / len(asked)
    for those, one, outputs in zip(alike.values(), scored, written, strict=True):
        for sitter, step in those:
            tokens = sitter.tokens if step else 0
            items = marking.item_rows(task, requests, one, step, tokens, sitter.sha, outputs)
            scores = marking.score_rows(task, items, final=bool(step), seconds=seconds, fed=one.tokens)
            if step:
                append_lines(sitter.run / "items.jsonl", items)
            else:
                write_json(kept[sitter.run.name], {"rows": scores})
            append_lines(sitter.run / "scores.jsonl", scores)
    logger.info("%s: %d items, %d checkpoints, %.1f s each", task.label, len(task.asked), len(asked), seconds)


def _recall(sitter: Sitter, kept: Path) -> bool:
    """True if a run with the same untrained start was asked this before: its scores are this run's, too."""
    rows = read_object(kept).get("rows")
    if not rows:
        return False
    told = [{**row, "ts": time.time(), "detail": {**row["detail"], "seconds": 0.0}} for row in rows]
    append_lines(sitter.run / "scores.jsonl", told)
    return True


def _start_key(sitter: Sitter) -> str:
    """Key of a run's untrained start: of the model, its seed or the weights it began with, and where it is asked."""
    device = loop.pick_device(convert(TrainSpec, sitter.told["spec"]["train"], "train")).type
    about = {"seed": str(sitter.told["seed"]), "device": device, **origin.starting_key(sitter.spec)}
    return key_of("runs", START_VERSION, sitter.spec, about)


def model_of(sitter: Sitter, step: int) -> MPT:
    """The run's model at its end, or its untrained start at step 0, where training had it."""
    device = loop.pick_device(convert(TrainSpec, sitter.told["spec"]["train"], "train"))
    if step == 0:
        return handover.start(sitter.spec, sitter.told["seed"]).to(device)
    model = MPT(sitter.spec)
    load_weights(sitter.run, model)
    return model.to(device)


def live(spec: RunSpec, words: Path, ws: Workspace, out: Path) -> Callable[[MPT, int, int], None] | None:
    """The live suite of a run as a callable (model, step, tokens), or None without one.

    Asked at step 0 and then as often as keeps its cost within 3 % of the training's: at every n-th evaluation; answers
    are written at the end of a run alone (token by token, they would cost many times what scoring does). Each row tells
    in `detail.live_cost_frac` what live tasks cost so far, step 0 included, as a share of the training so far.
    """
    if spec.evals.live_suite is None:
        return None
    found = suites.load_suite(spec.evals.live_suite, Path(spec.evals.tasks) if spec.evals.tasks else None)
    sha, encoder = read_manifest(words)["sha256"][:12], tokenizer.load(words)
    budget = engine.BATCH_TOKENS[loop.pick_device(spec.train).type]
    asked = [
        (task, requests := tokenise(task, encoder, sha, ws.requests), pack(requests, spec.model.max_seq_len, budget))
        for task in found
    ]
    fed = sum(packed.size for *_, packed in asked)
    every = stride(fed, spec.train.tokens, spec.evals.every_tokens)
    if every is None:
        logger.warning(
            "live suite '%s' is too large for a run of this length: asked at step 0 only", spec.evals.live_suite
        )

    def ask(model: MPT, step: int, tokens: int) -> None:
        if step and (every is None or round(tokens / spec.evals.every_tokens) % every):
            return
        times = 1 + (tokens // (every * spec.evals.every_tokens) if every else 0)
        share = times * fed / (3 * tokens) if tokens else None
        for task, requests, packed in asked:
            rows = _score(model, task, requests, packed, sha, step, tokens)
            for row in rows:
                row["detail"] = {**row["detail"], "live_cost_frac": share}
            append_lines(out / "scores.jsonl", rows)

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


def _score(
    model: MPT, task: Task, requests: Requests, packed: Packed, sha: str, step: int, tokens: int
) -> list[dict[str, Any]]:
    """Live score rows of one task."""
    began = time.monotonic()
    (scored,) = engine.score_packed([model], packed)
    items = marking.item_rows(task, requests, scored, step, tokens, sha)
    return marking.score_rows(task, items, final=False, seconds=time.monotonic() - began, fed=scored.tokens)


def _of(rows: Sequence[Mapping[str, Any]], task: Task, sha: str, step: int) -> list[dict[str, Any]]:
    """The rows that answer exactly this task at this step, the newest of each metric; live ones at step 0 count."""
    alike = marking.hashes(task, sha)
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        detail: dict[str, Any] = row.get("detail") or {}
        is_alike = all(detail.get(name) == alike[name] for name in ("suite_hash", "prompt_hash", "tokenizer_hash"))
        if is_alike and row["task"] == task.label and row["step"] == step and (row["final"] or not step):
            found[row["metric"]] = dict(row)
    return list(found.values())
