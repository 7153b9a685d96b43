"""Whole processes, as a user types them: `mixlab runs eval` and lm-evaluation-harness' `lm-eval run`, one checkpoint.

Both start from nothing: imports, model, task files, requests, scores, means, files written. mixlab's lab has neither
scores nor tokenised requests of the run; its untrained start, which lm-eval knows nothing of, was asked by another run
of the seed, and a row of its own tells what the first run of a seed takes. lm-eval runs offline on the files and YAMLs
of docs/evaluation.md; its data sets are in its cache from the second round on, and no metric of its YAMLs needs a
bootstrap.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mixlab.eval.suites import Task

QUICK = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
SETTINGS = (
    *("source=[text]", "cleaning=none", "dedup=off", "evals=quiet", "evals.unprompted=16"),
    *("model.d_model=64", "model.n_heads=4", "model.n_layers=2", "model.max_seq_len=512"),
    *("train.tokens=8192", "train.batch_tokens=2048", "train.warmup_tokens=2048", "train.max_epochs=100"),
)


FIRST, OURS = "mixlab runs eval, first run of a seed", "mixlab runs eval"


@dataclass(frozen=True, kw_only=True, slots=True)
class Took:
    """A process: wall and CPU seconds, and the accuracy it told of each task."""

    wall: float
    cpu: float
    accuracy: Mapping[str, float]


def contest(
    suite: Sequence[Task], tasks: Path, tokenizer: str, batches: Sequence[int], rounds: int, folder: Path, vocab: Path
) -> dict[str, Took]:
    """Tool -> the least of `rounds` processes each, by turns. `tasks`: folder of the task files; `vocab`: of wheels."""
    env = {**os.environ, **QUICK, "MIXLAB_HOME": str(folder / "lab"), "HF_HOME": str(folder / "hf")}
    _write(suite, tasks, folder)
    (folder / "lab").mkdir()
    (folder / "lab" / "downloads").symlink_to(vocab)
    _run(["mixlab.cli", "run", f"tokenizer={tokenizer}", *SETTINGS], folder, env)
    (run,) = (folder / "lab" / "runs").glob("*-s0-*")
    _run(["mixlab.cli", "runs", "export", run.name, "exported"], folder, env)
    kept = (run / "scores.jsonl").read_bytes()

    def ours(spared: str = "start-*") -> Took:
        (run / "scores.jsonl").write_bytes(kept)
        (run / "items.jsonl").unlink(missing_ok=True)
        for path in (folder / "lab" / "requests").glob("*"):
            if not path.match(spared):
                path.unlink()
        words = ["mixlab.cli", "runs", "eval", run.name, "--suite", "suite", "--json"]
        return _timed(words, folder, env, lambda out: _of(json.loads(out)["scores"]))

    def theirs(batch: int) -> Took:
        args = f"pretrained={folder / 'exported'},dtype=float32,max_length=512"
        words = ["lm_eval", "run", "--model", "hf", "--model_args", args, "--include_path", "yamls", "--device", "cpu"]
        words += ["--batch_size", str(batch), "--output_path", "out", "--tasks", *(f"mixlab_{t.label}" for t in suite)]
        return _timed(words, folder, env, lambda _: _results(folder / "out"))

    asked: dict[str, Callable[[], Took]] = {FIRST: lambda: ours("none"), OURS: ours}
    asked |= {f"lm-eval run, batch {batch}": lambda b=batch: theirs(b) for batch in batches}
    best: dict[str, Took] = {}
    for _ in range(rounds):
        for name, ask in asked.items():
            took = ask()
            best[name] = min(best.get(name, took), took, key=lambda t: t.cpu)
    return best


def _write(suite: Sequence[Task], tasks: Path, folder: Path) -> None:
    """The asked rows of each task file, a suite for mixlab and YAMLs for lm-eval; all texts as a source to train on."""
    for name in ("suite", "yamls", "sweeps/source"):
        (folder / name).mkdir(parents=True)
    told, docs = [], []
    for task in suite:
        lines = (tasks / task.spec.dataset_uri).read_bytes().decode().split("\n")
        chosen = [lines[asked.item.id] for asked in task.asked]  # these files have no empty line
        path = folder / "suite" / f"{task.label}.jsonl"
        path.write_text("\n".join(chosen) + "\n", encoding="utf-8")
        kind, delimiter = task.spec.icl_task_type, task.spec.continuation_delimiter
        spec = {"label": task.label, "dataset_uri": path.name, "icl_task_type": kind}
        told.append({**spec, "continuation_delimiter": delimiter})
        (folder / "yamls" / f"{task.label}.yaml").write_text(
            yaml.safe_dump(_harness(task.label, path, kind, delimiter))
        )
        docs += [asked.contexts[0] + asked.continuations[0] for asked in task.asked]
    (folder / "suite" / "suite.yaml").write_text(yaml.safe_dump({"tasks": told}))
    rows = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(docs)]
    (folder / "text.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    source = {"kind": "files", "paths": ["text.jsonl"], "id_field": "id", "licence": "mixed"}
    (folder / "sweeps/source/text.yaml").write_text("# @package sources.text\n" + json.dumps(source) + "\n")


def _harness(label: str, path: Path, kind: str, delimiter: str) -> dict[str, Any]:
    """The same task for lm-eval, word by word: white space at a delimiter's end stands before the choice."""
    told: dict[str, Any] = {
        "task": f"mixlab_{label}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc"}],
    }
    before, space = delimiter.rstrip(), delimiter[len(delimiter.rstrip()) :]
    if kind == "multiple_choice":
        told |= {"doc_to_text": "{{query.strip()}}" + before, "doc_to_choice": "choices", "doc_to_target": "gold"}
        return told | {"target_delimiter": space}
    if kind == "pairs":
        told |= {"doc_to_text": "", "doc_to_choice": "{{[sentence_good, sentence_bad]}}", "doc_to_target": 0}
        return told | {"target_delimiter": ""}
    assert kind == "language_modeling", kind
    return told | {
        "output_type": "loglikelihood",
        "doc_to_text": "{{context.strip()}}",
        "doc_to_target": "{{' ' + continuation}}",
    }


def _timed(words: Sequence[str], cwd: Path, env: Mapping[str, str], read: Callable[[str], dict[str, float]]) -> Took:
    began, before = time.perf_counter(), _children()
    out = _run(words, cwd, env)
    wall, cpu = time.perf_counter() - began, _children() - before
    return Took(wall=wall, cpu=cpu, accuracy=read(out))


def _run(words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=cwd, env=dict(env), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def _children() -> float:
    told = resource.getrusage(resource.RUSAGE_CHILDREN)
    return told.ru_utime + told.ru_stime


def _of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Task -> the accuracy that lm-eval has, too: of one continuation whether it is the likeliest."""
    return {row["task"]: row["value"] for row in rows if row["metric"] in ("acc", "exact")}


def _results(out: Path) -> dict[str, float]:
    newest = max(out.rglob("results_*.json"), key=lambda p: p.stat().st_mtime_ns)
    found = json.loads(newest.read_text(encoding="utf-8"))["results"]
    return {task.removeprefix("mixlab_"): row["acc,none"] for task, row in found.items()}
