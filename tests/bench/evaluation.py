"""A suite of eight tasks put to one checkpoint: mixlab against lm-evaluation-harness 0.4.13 (hf backend).

The same requests (contexts and continuations word by word) of random subsets of ARC-E, ARC-C, PIQA, OBQA, COPA,
HellaSwag, LAMBADA and BLiMP; a model of 2 layers, width 64 and the 50,280 tokens of GPT-NeoX, exported and read back
by transformers; CPU, fp32, one thread, warm. lm-eval is timed in `loglikelihood`, at the best of three batch sizes:
its task building and bootstraps are left out, which speaks for it. mixlab's time holds tokenising, scoring, marks.
"""

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mixlab.data import tokenizer
from mixlab.eval import engine, marking, suites
from mixlab.eval.requests import tokenise
from mixlab.model.export import export_hf
from mixlab.model.mpt import MPT
from mixlab.types import ModelSpec, TokenizerSpec
from mixlab.workspace import write_json

HERE = Path(__file__).parents[2]
TASKS = HERE.parent / "shared" / "golden" / "eval"
SUBSET = int(os.environ.get("MIXLAB_BENCH_ITEMS", "200"))
"""Items a task; 0 is all of them."""
BATCHES = (16, 64, 256)
SPEC = ModelSpec(d_model=64, n_heads=4, n_layers=2, max_seq_len=512, vocab_size=50_304)


def rows() -> list[dict[str, str]]:
    if not TASKS.exists():
        raise SystemExit(f"evaluation: the task files are not here: {TASKS}")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        words, exported = Path(folder) / "words", Path(folder) / "hf"
        words.mkdir()
        facts = tokenizer.build_tokenizer(TokenizerSpec(kind="gpt-neox"), lambda: iter(()), words, Path(folder))
        write_json(words / "manifest.json", facts)
        model = MPT(SPEC, seed=1)
        export_hf(model, exported, tokenizer.portable(words, SPEC.max_seq_len))
        suite = _suite(Path(folder))
        ours = [_ours(model, suite, tokenizer.load(words)) for _ in range(2)][-1]
        theirs = {batch: _theirs(exported, suite, batch) for batch in BATCHES}
        again = _ours(model, suite, tokenizer.load(words))
    took, logliks, items = min(ours, again, key=lambda found: found[0])
    batch = min(theirs, key=lambda b: theirs[b][0])
    slow, found = theirs[batch]
    told = {"requests": str(len(found)), "items": str(items)}
    apart = f"{np.abs(np.array(found) - logliks).max():.1e}"
    return [
        {"tool": "mixlab", **told, "seconds": f"{took:.1f}", "ratio": "1", "largest difference, nats": "0"},
        {
            "tool": f"lm-eval, batch {batch}",
            **told,
            "seconds": f"{slow:.1f}",
            "ratio": f"{slow / took:.1f}",
            "largest difference, nats": apart,
        },
    ]


def _suite(folder: Path) -> list[suites.Task]:
    specs = [s for s in suites.read_specs(suites.PACKAGED / "full.yaml") if s.label != "winograd_wsc"]
    limits = [replace(s, subset=SUBSET or None) for s in specs]
    return [suites.render(s, "bench", [TASKS]) for s in limits]


def _ours(model: MPT, suite: list[suites.Task], words: tokenizer.Tokenizer) -> tuple[float, np.ndarray, int]:
    began, found, items = time.perf_counter(), [], 0
    for task in suite:
        asked = tokenise(task, words, "bench")
        scored = engine.score_requests(model, asked, SPEC.max_seq_len)
        lines = marking.item_rows(task, asked, scored, 0, 0, "bench")
        marking.score_rows(task, lines, final=True, seconds=0.0, fed=scored.tokens)
        found.append(scored.logliks)
        items += len(lines)
    return time.perf_counter() - began, np.concatenate(found), items


def _theirs(exported: Path, suite: list[suites.Task], batch: int) -> tuple[float, list[float]]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=str(exported), dtype="float32", device="cpu", batch_size=batch, max_length=SPEC.max_seq_len)
    torch.set_num_threads(1)
    pairs = [p for t in suite for a in t.asked for p in zip(a.contexts, a.continuations, strict=True)]
    asked = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=i) for i, pair in enumerate(pairs)]
    lm.loglikelihood(asked[:8], disable_tqdm=True)
    began = time.perf_counter()
    found = lm.loglikelihood(asked, disable_tqdm=True)
    return time.perf_counter() - began, [ll for ll, _ in found]
