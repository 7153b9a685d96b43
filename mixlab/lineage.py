"""Where a run comes from, and whether it comes out the same again.

`lineage` follows the keys from a run to its sources; `rerun` trains it once more under `reruns/`, on the corpora that
are there, and compares curve, scores and weights number by number.
"""

import platform
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixlab import pipeline
from mixlab.config import convert
from mixlab.data.places import places
from mixlab.errors import MixlabError
from mixlab.types import RunSpec
from mixlab.workspace import Workspace, file_sha256, is_complete, read_json, read_lines

STAGES = ("raw", "clean", "contamination", "dedup", "spans", "split", "tokenizer", "tokens")


def spec_of_run(run: Path) -> RunSpec:
    """The spec that a run's run.json holds."""
    return convert(RunSpec, read_json(run / "run.json")["spec"])


def lineage(run: Path, ws: Workspace) -> dict[str, Any]:
    """`run`, and `steps` from the run back to its sources: each `what, which, state` (there, gone, changed)."""
    told = read_json(run / "run.json")
    spec = spec_of_run(run)
    facts = {"mixture": told["mixture"], "git commit": told.get("git_sha"), "versions": told.get("versions")}
    facts |= {"machine": {k: told.get(k) for k in ("host", "device", "threads", "attn_impl")}}
    steps = [{"what": what, "which": _shown(fact), "state": ""} for what, fact in facts.items()]
    corpora = told.get("corpora") or {}
    steps += [
        {"what": f"tokens of {s}", "which": f"{s}-{key}", "state": _state(ws.artefact("tokens", s, key))}
        for s, key in sorted(corpora.items())
    ]
    try:
        at = places(spec, ws)
    except MixlabError as e:
        steps.append({"what": "sources", "which": "cannot be read any more", "state": str(e)})
        return {"run": run.name, "steps": steps}
    for name, path in sorted(at.tokens.items()):
        if path.name != f"{name}-{corpora.get(name)}":
            steps.append({"what": f"tokens of {name} now", "which": path.name, "state": "changed since the run"})
    asked = {"evaluation items": at.contamination, "repeated spans": at.kept if at.kept != at.dedup else None}
    pool = {what: path for what, path in asked.items() if path is not None}
    pool |= {"dedup": at.dedup, "held-out split": at.split, "tokenizer": at.tokenizer}
    steps += [{"what": what, "which": p.name, "state": _state(p)} for what, p in pool.items()]
    for source in spec.sources:
        clean = f"{at.clean[source.name].name} by {spec.cleaning.profile_of(source.name)}"
        steps.append({"what": f"clean {source.name}", "which": clean, "state": _state(at.clean[source.name])})
        raw = at.raw[source.name]
        which = f"{raw.name}, {source.kind} {_shown(source.packages or source.paths or source.dataset or '')}"
        steps.append({"what": f"source {source.name}", "which": which.strip(), "state": _state(raw)})
    return {"run": run.name, "steps": steps}


def rerun(run: Path, ws: Workspace) -> dict[str, Any]:
    """Trains the run again and says what differs: `is_identical, path, differences, words`.

    Bit-identical on the same type of machine with the same versions; else the differences are shown.
    """
    beside = Workspace.open(ws.root / "reruns")
    for stage in STAGES:  # the prepared text is shared, not made again
        link = beside.root / stage
        (ws.root / stage).mkdir(exist_ok=True)
        if not link.exists():
            link.symlink_to(ws.root / stage, target_is_directory=True)
    spec = spec_of_run(run)
    shutil.rmtree(beside.root / "runs", ignore_errors=True)
    out = pipeline.run(replace(spec, name=read_json(run / "run.json")["name"]), beside)
    found = list(_differences(run, out))
    words = found or [f"{run.name}: every loss, every score and every weight came out the same, to the last bit."]
    return {"is_identical": not found, "path": out, "differences": found, "words": words}


def _differences(a: Path, b: Path) -> Iterator[str]:
    """One sentence for everything that is not the same."""
    one, other = read_json(a / "run.json"), read_json(b / "run.json")
    for what in ("key", "corpora", "versions", "git_sha", "device", "threads", "attn_impl"):
        if one.get(what) != other.get(what):
            said = f"{what}: {_shown(one.get(what))} then, {_shown(other.get(what))} now"
            if what != "git_sha":
                yield said
    losses = [{r["step"]: r["m"].get("loss/train") for r in read_lines(x / "metrics.jsonl")} for x in (a, b)]
    if losses[0] != losses[1]:
        first = min((s for s in losses[0] if losses[0][s] != losses[1].get(s)), default=0)
        yield f"the curves differ from step {first} on: {losses[0].get(first)} then, {losses[1].get(first)} now"
    scores = [
        {(r["task"], r["metric"]): r["value"] for r in read_lines(x / "scores.jsonl") if r["final"]} for x in (a, b)
    ]
    for key in sorted(set(scores[0]) & set(scores[1])):
        if scores[0][key] != scores[1][key]:
            yield f"{key[0]}: {scores[0][key]} then, {scores[1][key]} now"
    weights = [file_sha256(x / "checkpoint" / "model.safetensors") for x in (a, b)]
    if weights[0] != weights[1]:
        yield f"the weights differ (this machine: {platform.machine()}, {platform.processor() or 'unknown'})"


def _state(path: Path) -> str:
    return "there" if is_complete(path) else "gone: `mixlab data prepare` makes it again"


def _shown(fact: Any) -> str:
    if isinstance(fact, dict):
        return ", ".join(f"{k} {_shown(v)}" for k, v in fact.items())
    return "unknown" if fact is None else f"{fact:.4g}" if isinstance(fact, float) else str(fact)
