"""The whole journey on one page: sources → clean → dedup → hold-out → tokens → plan → train → score.

Every stage is skipped if its artefact exists. Everything up to tokens is one call here: data/prepare.py; what a run
would be, before anything is spent, another: rehearsal.py. Both do without torch, which takes two seconds to load.
"""

import functools
import importlib.metadata
import math
import os
import platform
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

import mixlab
from mixlab import claims, commit, exam, handover, jobs, lengths, origin, roster, trackers, unprompted
from mixlab.data import shards, tokenizer
from mixlab.data.places import places
from mixlab.data.prepare import Watch, prepare
from mixlab.errors import RunFailed
from mixlab.eval import evaluate, samples
from mixlab.model import attention
from mixlab.model.generate import generate
from mixlab.model.mpt import MPT, token_logprobs
from mixlab.rehearsal import FAILED, VERSION, Rehearsal, rehearse
from mixlab.requeue import requeue_on_sigterm
from mixlab.results.lines import names_in
from mixlab.results.listing import read_object
from mixlab.train import checkpoint, logbook, loop, ranks, stem
from mixlab.train.loader import Loader
from mixlab.types import Corpus, RunSpec
from mixlab.workspace import (
    Workspace,
    append_line,
    append_lines,
    disk_errors,
    key_of,
    read_json,
    read_lines,
    write_json,
)

WORSE_THAN_NOTHING = 2.0
"""Nats per token above ln V at which a run is called diverged at its end; an untrained one stands at 1."""


@requeue_on_sigterm()
def run(spec: RunSpec, ws: Workspace, *, sweep: str | None = None, watch: Watch | None = None) -> Path:
    """Directory of one finished proxy run of `sweep`, from raw text to scores. A finished one is returned as it is."""
    trackers.check(spec.train.trackers)
    corpora = prepare(spec, ws, watch)
    told = rehearse(spec, corpora, ws)
    out, spec = told.path, told.spec
    if not ranks.asked().leads:
        batch = max(1, spec.train.batch_tokens // spec.model.max_seq_len)
        return handover.follow(spec, lambda: Loader(told.plan, corpora, spec.seed, batch), told.key, out)
    if sweep is not None:
        roster.enlist(ws, sweep, [out.name])
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / ".lock"), claims.hold(ws, out.name, lambda: told.is_done):  # asked for twice, trained once
            if not told.is_done:
                (out / FAILED).unlink(missing_ok=True)
                jobs.sign(out)
                try:
                    _train(told, corpora, ws, sweep)
                except RunFailed as e:
                    write_json(out / FAILED, {"reason": str(e)})
                    raise
            if not _is_scored(out, spec):  # finished earlier under another exam: sit this one too
                _leave_out(out / "scores.jsonl", evals_key(spec))
                done, model = read_json(out / "done.json"), MPT(spec.model)
                checkpoint.load_weights(out, model)
                _exam(spec, corpora, ws, out)(model, done["steps"], done["tokens"], True)
    if spec.evals.suite is not None:
        exam.sit(out, ws, spec.evals.suite, Path(spec.evals.tasks) if spec.evals.tasks else None)
    return out


def _train(told: Rehearsal, corpora: Mapping[str, Corpus], ws: Workspace, sweep: str | None) -> None:
    """Trains to the end, from the checkpoint if there is one, and says so in done.json."""
    spec, out = told.spec, told.path
    for corpus in corpora.values():
        shards.open_corpus(corpus.path, verify=True)
    loader = Loader(told.plan, corpora, spec.seed, max(1, spec.train.batch_tokens // spec.model.max_seq_len))
    began = time.time()
    model = handover.start(spec.model, spec.seed)
    if not (read_object(out / "run.json") and read_object(out / "plan.json")):
        write_json(out / "plan.json", asdict(told.plan))
        write_json(out / "run.json", {**_identity(told, corpora, sweep), "tokenizer": places(spec, ws).tokenizer.name})
    trackers.start(out, spec.train.trackers)
    examine = _exam(spec, corpora, ws, out)
    if (alike := _stem_key(told)) is not None:
        others = [run for run in ws.runs() if read_object(run / "run.json").get("stem") == alike]
        stable = stem.stem_step(spec.train, loader.steps, told.plan.tokens // loader.steps)
        stem.adopt(out, others, stable or 0, told.key)
    loop.train(model, loader, spec.train, out, evaluate=examine, every_tokens=spec.evals.every_tokens, run_key=told.key)
    finals = [r for r in read_lines(out / "scores.jsonl") if r["final"]]
    if any(r["value"] is None for r in finals):
        logbook.end_as_diverged(out, f"its final scores are not finite. Lower train.lr (now {spec.train.lr}).")
    level = evaluate.nats_per_token(finals, [d.source for d in told.plan.draws if d.tokens])
    if level > (nothing := math.log(spec.model.vocab_size)) + WORSE_THAN_NOTHING:
        why = f"it ends at {level:.1f} nats per held-out token of its own sources, knowing nothing gives {nothing:.1f}."
        logbook.end_as_diverged(out, f"{why} Lower train.lr (now {spec.train.lr}).")
    done = {
        "finished_at": time.time(),
        "steps": loader.steps,
        "tokens": told.plan.tokens,
        "wall_s": time.time() - began + read_json(out / "status.json")["earlier_s"],
        "metrics": sorted(names_in((out / "metrics.jsonl").read_bytes())),  # else readers go over all lines
    }
    write_json(out / "done.json", done)


def _exam(
    spec: RunSpec, corpora: Mapping[str, Corpus], ws: Workspace, out: Path
) -> Callable[[MPT, int, int, bool], None]:
    """The evaluation of a run as one callable: (model, step, tokens, final) → lines in its files."""
    words = tokenizer.load(places(spec, ws).tokenizer)
    held = {n: shards.heldout(c) for n, c in corpora.items()}
    live = {n: evaluate.take(h, spec.evals.live_tokens) for n, h in held.items()}
    full = {n: evaluate.take(h, spec.evals.final_tokens) for n, h in held.items()}
    key = evals_key(spec)
    ask = exam.live(spec, places(spec, ws).tokenizer, ws, out)

    def examine(model: MPT, step: int, tokens: int, final: bool) -> None:
        began = time.monotonic()
        logprobs = functools.partial(token_logprobs, model)
        docs = evaluate.document_scores(logprobs, full if final else live, words.end_of_text_id, spec.model.max_seq_len)
        scores = evaluate.summarise(docs)
        if final:  # sums a document: with them a comparison knows the noise of having few
            append_lines(out / "documents.jsonl", evaluate.document_rows(docs, step))
        longer = lengths.length_scores(model, held, words.end_of_text_id) if final else []
        write = functools.partial(generate, model, stop_id=words.end_of_text_id)
        written = samples.sample(write, words, spec.evals.prompts, spec.evals, spec.seed, logprobs)
        rows = evaluate.score_rows([*longer, *scores], step, tokens, final, key)
        rows[-1]["detail"] |= {"seconds": round(time.monotonic() - began, 3)}  # macro's: of all of it
        for row in rows:
            append_line(out / "scores.jsonl", row)
        about = {"step": step, "tokens": tokens}
        for row in written:
            append_line(out / "samples.jsonl", {**about, "ts": time.time(), **row})
        if ask is not None and not final:
            ask(model, step, tokens)
        if final and spec.evals.unprompted:
            unprompted.look(out, model, words, corpora, spec.seed, about, spec.evals.unprompted)

    return examine


def _stem_key(told: Rehearsal) -> str | None:
    """Key of all that decides a WSD run but its budget, and of where it runs; None where the budget moves the data."""
    spec, phases = told.spec, told.spec.phases
    moves = spec.train.target_tokens is not None or any(p.begins_at is None for p in phases) or spec.evals.live_suite
    if spec.train.schedule != "wsd" or moves:
        return None
    where = [evals_key(spec), platform.node(), str(spec.train.threads), str(loop.pick_device(spec.train))]
    drawn = {d.source: f"{d.corpus} {d.available}" for d in told.plan.draws}
    inputs = {**drawn, **origin.starting_key(spec.model), "where": " ".join(where), "torch": _torch_version()}
    return key_of("runs", VERSION, replace(spec, train=replace(spec.train, tokens=0)), inputs)


def _torch_version() -> str:
    return importlib.metadata.version("torch")


def evals_key(spec: RunSpec) -> str:
    """Key of what is measured: scores under another key come from another exam."""
    return key_of("runs", evaluate.VERSION, spec.evals, {})


def _is_scored(out: Path, spec: RunSpec) -> bool:
    """True if the final scores of this very exam are there."""
    key = evals_key(spec)
    rows = read_lines(out / "scores.jsonl")
    return any(r["final"] and r["evals_key"] == key and r["task"] == "bpb/macro" for r in rows)


def _leave_out(path: Path, key: str) -> None:
    """Takes the final scores of an exam that was broken off out of the file."""
    rows = read_lines(path)
    kept = [r for r in rows if not (r["final"] and r["evals_key"] == key)]
    if len(kept) < len(rows):
        tmp = path.with_name(f".{path.name}.tmp")
        tmp.unlink(missing_ok=True)
        for row in kept:
            append_line(tmp, row, sync=True)
        os.replace(tmp, path)


def _identity(told: Rehearsal, corpora: Mapping[str, Corpus], sweep: str | None) -> dict[str, Any]:
    """What run.json says: everything that decided the run, and where and with what it ran."""
    spec, device = told.spec, loop.pick_device(told.spec.train)
    return {
        "run_id": told.path.name,
        "name": spec.name,
        "seed": spec.seed,
        "key": told.key,
        "sweep": sweep,
        "spec": asdict(spec),
        "corpora": {n: c.key for n, c in corpora.items()},
        "mixture": {"name": spec.mixture.name, "weights": dict(spec.mixture.weights)},
        "n_params": told.params.total,
        "n_params_nonembed": told.params.non_embedding,
        "flops": told.flops,
        "created_at": time.time(),
        "host": socket.gethostname(),
        **commit.facts(),
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
        "versions": {"mixlab": mixlab.__version__, "python": platform.python_version(), "torch": _torch_version()},
        "attn_impl": attention.resolve(
            spec.model.attn_impl, device, spec.train.precision, documents=spec.model.attn_uses_sequence_id
        ),
        "device": str(device),
        "device_name": attention.device_name(device),
        "threads": spec.train.threads,
        "ranks": ranks.asked().ranks,
        "stem": _stem_key(told),
        "parent_run_id": origin.parent(spec.model),
    }
