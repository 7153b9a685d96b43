"""The suite put to one checkpoint: mixlab against lm-evaluation-harness 0.4.13 (hf backend), wall and CPU seconds.

ARC-E, ARC-C, PIQA, OBQA, COPA, HellaSwag, LAMBADA and BLiMP, of each task the same share of its items at random, so the
tasks keep their weights; the same requests word by word. Two vocabularies: the 50,280 tokens of GPT-NeoX, and 2,048
(the demo's); 2 layers, width 64, exported and read by transformers; fp32, one thread. For lm-eval the best of its batch
sizes counts; rows of one vocabulary and number of requests are compared with each other. Where other work shares the
machine the CPU seconds tell more than the wall.

Whole processes, as a user types them (`mixlab runs eval RUN --suite S`, `lm-eval run ...`): imports, model, task files,
requests, scores, means. mixlab also puts each task to the untrained start of the run, unless a run of that seed was
asked before. In `loglikelihood`: only what lm-eval does in that function (tokenising, scoring) in a warm process,
against tokenising, packing, scoring and all marks. Least of two rounds, by turns.
"""

import math
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixlab.data import tokenizer
from mixlab.eval import engine, marking, suites
from mixlab.eval.requests import tokenise
from mixlab.model.export import export_hf
from mixlab.model.mpt import MPT
from mixlab.types import ModelSpec, TokenizerSpec
from mixlab.workspace import write_json
from tests.bench import _whole

HERE = Path(__file__).parents[2]
DOWNLOADS = Path(os.environ.get("MIXLAB_BENCH_DOWNLOADS", tempfile.gettempdir())) / "mixlab-bench-downloads"
TASKS = HERE.parent / "shared" / "golden" / "eval"
SHARE = float(os.environ.get("MIXLAB_BENCH_SHARE", "0.01"))
"""Of each task's items; 1 is all of them: 32 thousand requests, which takes lm-eval a quarter of an hour."""
WHOLE_SHARE = {"gpt-neox": 0.02, "bpe": float(os.environ.get("MIXLAB_BENCH_WHOLE", "0.1"))}
"""The same for whole processes."""
BATCHES = tuple(int(b) for b in os.environ.get("MIXLAB_BENCH_BATCHES", "4,16,64").split(","))
ROUNDS = int(os.environ.get("MIXLAB_BENCH_ROUNDS", "2"))
VOCABULARIES = os.environ.get("MIXLAB_BENCH_VOCABULARIES", "gpt-neox,bpe").split(",")
SPEC = ModelSpec(d_model=64, n_heads=4, n_layers=2, max_seq_len=512, vocab_size=50_304)
Times = tuple[float, float]
"""(wall seconds, CPU seconds)."""


def rows() -> list[dict[str, str]]:
    if not TASKS.exists():
        raise SystemExit(f"evaluation: the task files are not here: {TASKS}")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    torch.set_num_threads(1)
    suite, told = _suite(SHARE), []
    for vocab in VOCABULARIES:
        with tempfile.TemporaryDirectory() as folder:
            told += _table(vocab, suite, Path(folder))
        with tempfile.TemporaryDirectory() as folder:
            told += _processes(vocab, _suite(WHOLE_SHARE[vocab]), Path(folder))
    return told


def _processes(vocab: str, suite: list[suites.Task], folder: Path) -> list[dict[str, str]]:
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    found = _whole.contest(suite, TASKS, {"bpe": "bpe2048"}.get(vocab, vocab), BATCHES[:2], ROUNDS, folder, DOWNLOADS)
    ours = found[_whole.OURS]
    return [
        {
            "what": f"{name}, whole process",
            "vocabulary": {"bpe": "2,048"}.get(vocab, f"{SPEC.vocab_size:,}"),
            "requests": f"{sum(len(a.contexts) for task in suite for a in task.asked):,}",
            "wall s": f"{took.wall:.1f}",
            "CPU s": f"{took.cpu:.1f}",
            "wall ratio": f"{took.wall / ours.wall:.1f}",
            "CPU ratio": f"{took.cpu / ours.cpu:.1f}",
            "largest difference": f"{max(abs(took.accuracy[t] - x) for t, x in ours.accuracy.items()):.4f} of an acc",
        }
        for name, took in found.items()
    ]


def _table(vocab: str, suite: list[suites.Task], folder: Path) -> list[dict[str, str]]:
    words, exported = folder / "words", folder / "hf"
    words.mkdir()
    texts = lambda: (c + a for t in suite for q in t.asked for c, a in zip(q.contexts, q.continuations, strict=True))  # noqa: E731
    facts = tokenizer.build_tokenizer(TokenizerSpec(kind=vocab), texts, words, DOWNLOADS)
    write_json(words / "manifest.json", facts)
    codec = tokenizer.load(words)
    spec = SPEC if vocab == "gpt-neox" else replace(SPEC, vocab_size=codec.vocab_size)
    model = MPT(spec, seed=1)
    export_hf(model, exported, tokenizer.portable(words, spec.max_seq_len))
    harness = _harness(exported)
    _ours(model, suite[:2], codec)
    _theirs(harness, suite[:2], BATCHES[0])
    best: dict[str, Times] = {}
    logliks: dict[str, np.ndarray] = {}
    for _ in range(ROUNDS):
        asked = {"mixlab": lambda: _ours(model, suite, codec)}
        asked |= {f"lm-eval, batch {b}": lambda b=b: _theirs(harness, suite, b) for b in BATCHES}
        for name, ask in asked.items():
            wall, cpu = time.perf_counter(), time.process_time()
            logliks[name] = ask()
            took = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = min(best.get(name, took), took, key=lambda t: t[1])
    wall, cpu = best["mixlab"]
    return [
        {
            "what": f"{name}, in loglikelihood",
            "vocabulary": f"{spec.vocab_size:,}",
            "requests": f"{len(logliks[name]):,}",
            "wall s": f"{took[0]:.1f}",
            "CPU s": f"{took[1]:.1f}",
            "wall ratio": f"{took[0] / wall:.1f}",
            "CPU ratio": f"{took[1] / cpu:.1f}",
            "largest difference": f"{np.abs(logliks[name] - logliks['mixlab']).max():.1e} nats",
        }
        for name, took in best.items()
    ]


def _suite(share: float) -> list[suites.Task]:
    specs = [s for s in suites.read_specs(suites.PACKAGED / "full.yaml") if s.label != "winograd_wsc"]
    sizes = {s.label: len(suites.render(s, "bench", [TASKS]).asked) for s in specs}
    limits = [replace(s, subset=math.ceil(share * sizes[s.label])) for s in specs]
    return [suites.render(s, "bench", [TASKS]) for s in limits]


def _ours(model: MPT, suite: list[suites.Task], words: tokenizer.Tokenizer) -> np.ndarray:
    found = []
    for task in suite:
        asked = tokenise(task, words, "bench")
        scored = engine.score_requests(model, asked, SPEC.max_seq_len)
        lines = marking.item_rows(task, asked, scored, 0, 0, "bench")
        marking.score_rows(task, lines, final=True, seconds=0.0, fed=scored.tokens)
        found.append(scored.logliks)
    return np.concatenate(found)


def _harness(exported: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=str(exported), dtype="float32", device="cpu", batch_size=1, max_length=SPEC.max_seq_len)
    torch.set_num_threads(1)
    return lm


def _theirs(lm: Any, suite: list[suites.Task], batch: int) -> np.ndarray:
    from lm_eval.api.instance import Instance

    lm.batch_size_per_gpu = batch
    pairs = [p for t in suite for a in t.asked for p in zip(a.contexts, a.continuations, strict=True)]
    asked = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=i) for i, pair in enumerate(pairs)]
    return np.array([ll for ll, _ in lm.loglikelihood(asked, disable_tqdm=True)])
