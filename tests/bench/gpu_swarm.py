"""A whole swarm on one GPU: 64 mixes of ten bench sources at mpt-4m, the verdict, and the proof of its advice.

`prepare` (once, where the texts are): mixlab's own stages make the corpora; what training reads of them goes into one
archive that is small enough to travel. `train` (on the GPU): the archive's lab, the real pipeline in worker processes,
then the verdict, then the advised mix under three seeds. Writes figures.json and the runs' small files as one archive.
`processes`: the same runs by one, two and four workers that share the GPU. `exams`: what evaluation costs.
"""

import argparse
import json
import os
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

import mixlab
from mixlab import pipeline, sweep
from mixlab.advise import runs, verdict
from mixlab.data import sources
from mixlab.data.places import places
from mixlab.mix import budget, swarm
from mixlab.results.listing import list_runs
from mixlab.train import loop
from mixlab.types import Cleaning, Dedup, EvalSpec, ModelSpec, RunSpec, Source, TokenizerSpec, TrainSpec
from mixlab.workspace import Workspace

ORIGINS = "origins.json"
"""Source -> fingerprint of its files, which stay at home."""
LAB = os.environ.get("MIXLAB_HOME")
if LAB and (Path(LAB) / ORIGINS).exists():  # here, at the top: a worker process reads this module first
    told = json.loads((Path(LAB) / ORIGINS).read_text())
    sources.fingerprint = lambda source: told[source.name]
BENCH = Path(__file__).parents[3] / "shared" / "data" / "bench"
CONF = Path(mixlab.__file__).parent / "conf"
SHARE = 0.27
"""Of each source's documents, so that all fit into the archive: natural proportions stay."""
DOCS = {
    "books": 1360,
    "code_py": 3565,
    "law_dc": 4825,
    "math": 10999,
    "qa_stackexchange": 2524,
    "science": 5319,
    "standards": 2052,
    "web_docs": 10324,
    "web_gov": 3073,
    "wiki_en": 10710,
}
MIXES = 64
TOKENS = 25_000_000
SEEDS = (0, 1, 2)
SMALL = ("run.json", "plan.json", "done.json", "status.json", "metrics.jsonl", "scores.jsonl", "events.jsonl")


def spec(tokens: int = TOKENS, preset: str = "mpt-4m", **train: Any) -> RunSpec:
    """The run that every mix is: only mixture and seed differ."""
    told = yaml.safe_load((CONF / "train" / f"{preset}.yaml").read_text())
    told |= {"tokens": tokens, "warmup_tokens": tokens // 20, "save_every_tokens": 10**12, "compile": True, **train}
    return RunSpec(
        name="swarm",
        sources=tuple(
            Source(name=n, kind="files", paths=(str(BENCH / f"{n}.jsonl.zst"),), max_docs=round(SHARE * docs))
            for n, docs in DOCS.items()
        ),
        cleaning=Cleaning(profile="none"),
        dedup=Dedup(),
        tokenizer=TokenizerSpec(vocab_size=8192, train_bytes=16_000_000),
        model=ModelSpec(**yaml.safe_load((CONF / "model" / f"{preset}.yaml").read_text())),
        train=TrainSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}),
        evals=EvalSpec(every_tokens=max(1, tokens // 4), live_tokens=2_048, final_tokens=32_768),
    )


def prepare(lab: Path, archive: Path) -> None:
    """Builds the corpora in `lab` and packs what training reads of them."""
    ws, asked = Workspace.open(lab), spec()
    lab = ws.root
    corpora = pipeline.prepare(asked, ws)
    (lab / ORIGINS).write_text(json.dumps({s.name: sources.fingerprint(s) for s in asked.sources}))
    at = places(asked, ws)
    whole = [at.tokenizer, *at.tokens.values()]
    manifests = [p / "manifest.json" for p in (*at.raw.values(), *at.clean.values(), at.dedup, at.split)]
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:xz") as tar:
        for path in (lab / ORIGINS, *whole, *manifests):
            tar.add(path, path.relative_to(lab))
    for corpus in corpora.values():
        print(
            f"{corpus.source:20} {corpus.docs:6,} docs {corpus.tokens:10,} tokens {corpus.heldout_tokens:8,} held out"
        )
    print(f"{sum(c.tokens for c in corpora.values()):,} tokens, {archive.stat().st_size / 2**20:.1f} MiB")


def train(archive: Path, ws: Workspace, out: Path, tokens: int, workers: int, mixes: int) -> None:
    """The swarm, its verdict and the proof, as far as time allows: what is there is packed after each part."""
    corpora = unpacked(archive, ws, tokens)
    base = spec(tokens)
    available = {n: c.tokens for n, c in corpora.items()}
    caps = {n: min(1.0, base.train.max_epochs * t / tokens) for n, t in available.items()}
    chosen = swarm.design(available, mixes, seed=0, caps=caps)
    figures: dict[str, Any] = {"tokens": tokens, "mixes": len(chosen), "workers": workers, "available": available}
    asked = [replace(base, name=m.name, mixture=m) for m in chosen]
    asked += [replace(base, name=chosen[0].name, mixture=chosen[0], seed=s) for s in SEEDS[1:]]
    figures["swarm_s"] = trained(asked, ws, workers)
    packed(ws, out, figures)
    began = time.monotonic()
    advice = runs.advise(list_runs(ws), ws)
    figures["verdict_s"] = time.monotonic() - began
    print(*advice.verdict.sentences, sep="\n", flush=True)
    figures["verdict"] = json.loads(advice.verdict.to_json())
    packed(ws, out, figures)
    best = replace(advice.verdict.mixture, name="recommended")
    figures["proof_s"] = trained([replace(base, name=best.name, mixture=best, seed=s) for s in SEEDS], ws, workers)
    rows = list_runs(ws)
    pair = [{r["seed"]: r["bpb_macro"] for r in rows if r["name"] == name} for name in (chosen[0].name, best.name)]
    figures["natural"], figures["recommended"] = ([one[s] for s in SEEDS] for one in pair)
    figures["words"] = verdict.realised(advice.verdict, [pair[0][s] - pair[1][s] for s in SEEDS])
    print(figures["natural"], figures["recommended"], figures["words"], sep="\n")
    packed(ws, out, figures)


def processes(archive: Path, ws: Workspace, out: Path, tokens: int, counts: Sequence[int]) -> None:
    """Wall seconds of eight runs by so many workers that share the GPU; a first run fills the compiler's cache."""
    corpora = unpacked(archive, ws, tokens)
    mix = swarm.design({n: c.tokens for n, c in corpora.items()}, 1, seed=0)[0]
    base = replace(spec(tokens), mixture=mix)
    print("first", f"{trained([replace(base, seed=99, name='first')], ws, 1):.1f} s", flush=True)
    figures = {}
    for n in counts:
        told = [replace(base, seed=100 * n + k, name=f"by{n}") for k in range(8)]
        figures[n] = trained(told, ws, n)
        print(f"{n} workers, 8 runs of {tokens:,} tokens: {figures[n]:.1f} s", flush=True)
        packed(ws, out, {"seconds_by_workers": figures, "tokens": tokens})


def exams(archive: Path, ws: Workspace, out: Path, tokens: int) -> None:
    """Wall seconds of two runs in one process, and of the evaluations in them: live ones, then the final one."""
    unpacked(archive, ws, tokens)
    figures: list[dict[str, Any]] = []
    sit = loop._evaluate

    def timed(*told: Any) -> None:
        began = time.monotonic()
        sit(*told)
        figures[-1]["evaluations_s"].append(time.monotonic() - began)

    loop._evaluate = timed
    for seed in (7, 8):
        began = time.monotonic()
        figures.append({"evaluations_s": []})
        pipeline.run(replace(spec(tokens), seed=seed, name="timed"), ws)
        figures[-1]["whole_s"] = time.monotonic() - began
        figures[-1]["live_share"] = sum(figures[-1]["evaluations_s"][:-1]) / figures[-1]["whole_s"]
        print(figures[-1], flush=True)
    packed(ws, out, {"exams": figures, "tokens": tokens})


def unpacked(archive: Path, ws: Workspace, tokens: int) -> Mapping[str, Any]:
    with tarfile.open(archive) as tar:
        tar.extractall(ws.root, filter="data")
    told = json.loads((ws.root / ORIGINS).read_text())
    sources.fingerprint = lambda source: told[source.name]
    return pipeline.prepare(spec(tokens), ws)


def trained(specs: Sequence[RunSpec], ws: Workspace, workers: int) -> float:
    """Wall seconds until all are finished, the processes' start included."""
    began, seen = time.monotonic(), [0]

    def watch(state: sweep.Progress) -> None:
        if state.done >= seen[0] + 8:
            seen[0] = state.done
            print(f"{time.monotonic() - began:5.0f} s {state.done} of {state.total}", flush=True)

    state = sweep.run_all(sweep.rehearse_all(specs, ws, device="h200"), ws, name="gpu", workers=workers, watch=watch)
    if state.failed:
        print(*state.failed.items(), sep="\n")
        sys.exit("runs failed")
    return time.monotonic() - began


def packed(ws: Workspace, out: Path, figures: Mapping[str, Any]) -> None:
    """figures.json, and the small files of every finished run in runs.tar.xz."""
    dollars = budget.DEVICES["h200"].dollars_per_hour
    rows = [{k: r[k] for k in ("run_id", "tokens_per_s", "wall_s", "bpb_macro")} for r in list_runs(ws)]
    (out / "figures.json").write_text(json.dumps({**figures, "dollars_per_hour": dollars, "runs": rows}, indent=1))
    with tarfile.open(out / "runs.tar.xz", "w:xz") as tar:
        for path in ws.runs():
            for name in SMALL:
                if (path / name).exists():
                    tar.add(path / name, f"runs/{path.name}/{name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("prepare", "train", "processes", "exams"))
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--lab", type=Path, required=True, help="where to work; set MIXLAB_HOME to the same")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--mixes", type=int, default=MIXES)
    a = parser.parse_args()
    if a.part == "prepare":
        prepare(a.lab, a.archive)
    elif a.part == "train":
        train(a.archive, Workspace.open(a.lab), a.out, a.tokens, a.workers[0], a.mixes)
    elif a.part == "exams":
        exams(a.archive, Workspace.open(a.lab), a.out, a.tokens)
    else:
        processes(a.archive, Workspace.open(a.lab), a.out, a.tokens, a.workers)


if __name__ == "__main__":
    main()
