"""What a sweep found, as plain values: question, arms, curves, comparisons with their noise, samples, lineage.

Reads run directories and the header of sweeps/NAME.yaml; writes nothing. show_report.py makes a page of it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import mixlab
from mixlab import lineage
from mixlab.advise import runs as advising
from mixlab.errors import MissingError, MixlabError
from mixlab.results.arms import Against, Arm, against_first, arms_of
from mixlab.results.catalogue import source_order
from mixlab.results.listing import Row, list_runs, of_sweep, read_object, read_rows
from mixlab.results.store import Store
from mixlab.results.versus import bands
from mixlab.workspace import Workspace

MIXES_TO_FIT = 6
"""Distinct mixes of one recipe from which a verdict on the best mix is asked for."""
SAMPLES = 4
QUESTION = "Which mix gives the lowest held-out bits per byte?"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything on the page."""

    title: str
    question: Mapping[str, str]
    """`Question`, `Expected` and `Cost`, as far as the sweep's file says them."""
    made: str
    lab: str
    arms: Sequence[Arm]
    """The reference first."""
    sources: Sequence[str]
    shared: Sequence[str]
    """Sources whose held-out documents are the same for every arm."""
    against: Sequence[Against]
    verdict: Sequence[str]
    """Sentences of the advice, where there are mixes enough to fit."""
    is_clear: bool | None
    """Whether the recommended mix is told from natural; None without advice."""
    curves: pd.DataFrame
    """arm, domain, tokens, mean, low, high, n."""
    samples: Sequence[Mapping[str, Any]] = ()
    lineage: Sequence[Mapping[str, str]] = ()
    licences: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: Sequence[str] = ()
    known: Sequence[str] = ()
    """Every source of the lab, the oldest first: what colours hang on."""


def report(ws: Workspace, sweep: str | None, project: Path) -> Report:
    """The report on a sweep, or on every finished run of the lab. MissingError: no such sweep, nothing finished.

    `project`: the folder whose sweeps/NAME.yaml tells the question.
    """
    rows = list_runs(ws)
    used, notes = chosen(rows, ws, sweep)
    arms, shared = arms_of(used, ws)
    sources = sorted({s for r in used for s in r["bpb"]})
    if 0 < len(shared) < len(sources):
        left = ", ".join(s for s in sources if s not in shared)
        notes.append(f"Arms have other held-out documents of {left}: compared is the mean of {', '.join(shared)}.")
    told, said = against_first(rows, arms, shared, ws)
    verdict, is_clear = _verdict(rows, ws, sweep, arms)
    return Report(
        title=sweep or ws.root.name,
        question={"Question": QUESTION} | (header(project / "sweeps" / f"{sweep}.yaml") if sweep else {}),
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()) + f", mixlab {mixlab.__version__}",
        lab=ws.root.name,
        arms=arms,
        sources=sources,
        shared=shared,
        against=told,
        verdict=verdict,
        is_clear=is_clear,
        curves=_curves(ws, arms, sources),
        samples=_samples(ws, arms),
        lineage=_lineage(ws, used[0]),
        licences=_licences(ws, used[0]),
        notes=[*notes, *said],
        known=source_order(ws, Store.open(ws).runs()),
    )


def header(path: Path) -> dict[str, str]:
    """What the comment that opens a sweep file says, by its words `Question:`, `Expected:`, `Cost:`; {} without file.

    >>> header(Path("sweeps/none-such.yaml"))
    {}
    """
    if not path.is_file():
        return {}
    lines = [line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    found: dict[str, str] = {}
    last = ""
    for line in lines:
        name, colon, rest = line.partition(": ")
        if colon and name in ("Question", "Expected", "Cost", "Answer"):
            last, found[name] = name, rest
        elif last:
            found[last] += f" {line}"
    return {name: text[:1].upper() + text[1:] for name, text in found.items()}


def chosen(rows: Sequence[Row], ws: Workspace, sweep: str | None) -> tuple[list[Row], list[str]]:
    """Finished, scored runs of the sweep in the order it asked for them; what was left out, in words.

    Without a sweep those of the whole lab, of the natural mix first.
    """
    asked = [r["run_id"] for r in sorted(rows, key=lambda r: r["mixture"] != "natural")]
    if sweep is not None:
        theirs = [r["run_id"] for r in of_sweep(rows, sweep)]
        asked = list(dict.fromkeys([*(read_object(ws.sweeps / f"{sweep}.json").get("runs") or ()), *theirs]))
    by_id = {r["run_id"]: r for r in rows}
    there = [by_id[run] for run in asked if run in by_id]
    done = [r for r in there if r["state"] == "finished" and r["bpb_macro"] is not None]
    if not done:
        raise MissingError(
            f"no run of {sweep or ws.root} is finished yet: `mixlab runs status` tells how far they are."
        )
    notes = [] if len(done) == len(asked) else [f"{len(asked) - len(done)} of {len(asked)} runs are not finished."]
    return done, notes


def _verdict(
    rows: Sequence[Row], ws: Workspace, sweep: str | None, arms: Sequence[Arm]
) -> tuple[Sequence[str], bool | None]:
    """The advice's sentences, and whether its mix is told from natural; nothing where there are too few mixes."""
    if len({tuple(sorted(a.weights.items())) for a in arms}) < MIXES_TO_FIT:
        return (), None
    try:
        advice = advising.advise(rows, ws, advising.Ask(sweep=sweep))
    except MixlabError as e:
        return (f"No advice: {e}",), None
    card = advice.verdict
    return (*card.sentences, *card.warnings, *advice.notes), card.distinguishable


def _curves(ws: Workspace, arms: Sequence[Arm], sources: Sequence[str]) -> pd.DataFrame:
    """Live scores over seeds, long: group, domain, tokens, mean, low, high, n."""
    ids = [run for a in arms for run in a.runs]
    scores = Store.open(ws).scores(ids)
    told = scores.loc[(scores["metric"] == "bpb") & scores["task"].isin([f"bpb/{s}" for s in (*sources, "macro")])]
    told = told.loc[~told["is_final"]].assign(domain=told["task"].str.removeprefix("bpb/"))
    return bands(told, {run: a.name for a in arms for run in a.runs})


def _samples(ws: Workspace, arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """What the first runs of the first and the best arm wrote at the end: arm, prompt, output. Untrusted text."""
    best = min(arms, key=lambda a: a.rows[0]["bpb_macro"])
    found: list[dict[str, Any]] = []
    for arm in dict.fromkeys([arms[0].name, best.name]):
        run = next(a.runs[0] for a in arms if a.name == arm)
        rows = [r for r in read_rows(ws.root / "runs" / run / "samples.jsonl") if r.get("prompt")]
        last = [r for r in rows if r["step"] == rows[-1]["step"]][:SAMPLES]
        found += [{"arm": arm, "run": run, "prompt": str(r["prompt"]), "output": str(r.get("output"))} for r in last]
    return found


def _lineage(ws: Workspace, row: Row) -> list[Mapping[str, str]]:
    run = ws.root / "runs" / row["run_id"]
    try:
        return lineage.lineage(run, ws)["steps"]
    except (MixlabError, KeyError) as e:
        return [{"what": "lineage", "which": f"cannot be told of {run.name}", "state": str(e)}]


def _licences(ws: Workspace, row: Row) -> dict[str, str]:
    plan = read_object(ws.root / "runs" / row["run_id"] / "plan.json")
    draws: list[dict[str, Any]] = plan.get("draws") or []
    return {d["source"]: d["licence"] or "unknown" for d in draws}
