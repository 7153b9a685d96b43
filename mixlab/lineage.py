"""Where a run comes from: the keys from a run back to its sources. Reads run.json and manifests, writes nothing."""

from pathlib import Path
from typing import Any, cast

from mixlab.config import convert
from mixlab.data.places import places
from mixlab.errors import MixlabError
from mixlab.results.listing import read_object, trained_here
from mixlab.results.usage import begun
from mixlab.types import RunSpec
from mixlab.workspace import Workspace, is_complete, read_json


def spec_of_run(run: Path) -> RunSpec:
    """The spec that a run's run.json holds."""
    return convert(RunSpec, trained_here(run)["spec"])


def lineage(run: Path, ws: Workspace) -> dict[str, Any]:
    """`run`, and `steps` from the run back to its sources: each `what, which, state` (there, gone, changed)."""
    told = read_json(run / "run.json")
    if "origin" in told:
        return {"run": run.name, "steps": _imported(told)}
    spec = spec_of_run(run)
    facts = {"mixture": told["mixture"], "git commit": told.get("git_sha"), "versions": told.get("versions")}
    if parent := begun(run, told, read_object(run / "status.json"))["parent_run_id"]:
        facts["weights from"] = parent
    facts |= {"machine": {k: told.get(k) for k in ("host", "device", "threads", "attn_impl")}}
    steps = [{"what": what, "which": shown(fact), "state": ""} for what, fact in facts.items()]
    corpora: dict[str, str] = told.get("corpora") or {}
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
        which = f"{raw.name}, {source.kind} {shown(source.packages or source.paths or source.dataset or '')}"
        steps.append({"what": f"source {source.name}", "which": which.strip(), "state": _state(raw)})
    return {"run": run.name, "steps": steps}


def _imported(told: dict[str, Any]) -> list[dict[str, str]]:
    """Where an imported run comes from, as far as its table told."""
    origin = told["origin"]
    facts = {"imported": origin["from"], "file": origin["path"], "name there": origin["name"]}
    facts |= {"mixture": shown(told["mixture"]), "settings there": shown(origin["settings"]) or "not told"}
    state = "there" if Path(origin["path"]).exists() else "gone"
    return [{"what": what, "which": fact, "state": state if what == "file" else ""} for what, fact in facts.items()]


def _state(path: Path) -> str:
    return "there" if is_complete(path) else "gone: `mixlab data prepare` makes it again"


def shown(fact: Any) -> str:
    """A fact of run.json in words.

    >>> shown({"threads": 2, "host": None})
    'threads 2, host unknown'
    """
    if isinstance(fact, dict):
        return ", ".join(f"{k} {shown(v)}" for k, v in cast("dict[str, Any]", fact).items())
    return "unknown" if fact is None else f"{fact:.4g}" if isinstance(fact, float) else str(fact)
