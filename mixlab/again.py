"""A run once more: to its end, beside itself to see whether it comes out the same, or with some settings changed.

`retry` goes on with a run that stopped; `rerun` trains it again under `reruns/`, on the corpora that are there, and
compares curve, scores and weights number by number; `changed` is its spec with overrides put in, for a new run.
"""

import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from mixlab import pipeline
from mixlab.config import convert
from mixlab.data.prepare import Watch
from mixlab.errors import ConfigError, PlanError, nearest
from mixlab.lineage import shown, spec_of_run
from mixlab.results.listing import trained_here
from mixlab.types import RunSpec
from mixlab.workspace import Workspace, file_sha256, read_json, read_lines

STAGES = ("raw", "clean", "contamination", "dedup", "spans", "split", "tokenizer", "tokens")


def retry(run: Path, ws: Workspace, watch: Watch | None = None) -> Path:
    """The run, finished: from its checkpoint if it has one. PlanError if its corpora are others by now.

    A run that failed by itself (a loss that is not finite) fails again: `mixlab runs clone` with a lower train.lr.
    """
    spec = changed(run, ())
    told = pipeline.rehearse(spec, pipeline.prepare(spec, ws, watch), ws)
    if told.path != run:
        raise PlanError(
            f"{run.name} cannot go on: its sources give other tokens today, so its settings are now {told.path.name}. "
            f"`mixlab runs lineage {run.name}` shows what changed, `mixlab runs clone {run.name}` trains the new one."
        )
    return pipeline.run(spec, ws, watch=watch)


def changed(run: Path, overrides: Sequence[str]) -> RunSpec:
    """The spec of a run with dotted settings replaced, e.g. `seed=1`, `train.tokens=2e6`. ConfigError for unknown ones.

    Values are YAML; a mixture is replaced as a whole by `mixture.weights={wiki: 0.5, code: 0.5}`.
    """
    told = trained_here(run)
    spec: dict[str, Any] = {**told["spec"], "name": told["name"]}
    for override in overrides:
        path, found, value = override.partition("=")
        if not found:
            raise ConfigError(f"'{override}' is no setting: write it as seed=1 or train.tokens=2e6.")
        _put(spec, path.strip(), _value(override, value))
    return convert(RunSpec, spec)


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
    quiet = replace(spec.train, trackers=())  # they have been told of this run
    out = pipeline.run(replace(spec, train=quiet, name=read_json(run / "run.json")["name"]), beside)
    found = list(_differences(run, out))
    words = found or [f"{run.name}: every loss, every score and every weight came out the same, to the last bit."]
    return {"is_identical": not found, "path": out, "differences": found, "words": words}


def _differences(a: Path, b: Path) -> Iterator[str]:
    """One sentence for everything that is not the same."""
    one, other = read_json(a / "run.json"), read_json(b / "run.json")
    for what in ("key", "corpora", "versions", "git_sha", "device", "threads", "attn_impl"):
        if one.get(what) != other.get(what):
            said = f"{what}: {shown(one.get(what))} then, {shown(other.get(what))} now"
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


def _put(spec: dict[str, Any], path: str, value: Any) -> None:
    """Replaces one value below nested keys, all of which must be there."""
    *above, last = path.split(".")
    level = spec
    for key in above:
        if not isinstance(level.get(key), dict):
            raise ConfigError(f"a run has no setting '{path}'.{nearest(key, level)}")
        level = level[key]
    if last not in level:
        raise ConfigError(f"a run has no setting '{path}'.{nearest(last, level)}")
    level[last] = value


def _value(override: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ConfigError(f"the value in '{override}' cannot be read as YAML: {e}") from e
    if isinstance(value, str):  # YAML 1.1 takes 2e6 for a word
        try:
            return float(value)
        except ValueError:
            return value
    return value
