"""What `mixlab runs show` and `mixlab run` print of one run: mix, scores, tasks and floors, what it wrote, its cost."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from mixlab import show, show_tasks
from mixlab.results import costs
from mixlab.results.floors import tasks_of
from mixlab.results.health import headline, health
from mixlab.results.listing import read_object, read_rows
from mixlab.workspace import Workspace, read_json, read_lines

SAMPLES = ("repetition", "distinct_2", "stopped", "logprob", "copied")
"""Metrics of the samples from nothing that are told in one line."""


def run(ws: Workspace, name: str, *, as_json: bool) -> None:
    """One run: its mix, its last scores, what it wrote."""
    found = show.find(ws, name)
    out = ws.root / "runs" / found["run_id"]
    written = read_lines(out / "samples.jsonl")
    written = [s for s in written if s["step"] == written[-1]["step"]] if written else []
    rows = read_rows(out / "scores.jsonl")
    tasks, report, cost = tasks_of(rows), health(out), costs.evaluation_cost(out)
    if as_json:
        told = {"health": report.state, "health_why": report.why, "events": report.events}
        more = {"tasks": tasks, "unprompted": _unprompted(rows), "evaluation": cost}
        show.print_json({**found, **told, "plan": read_object(out / "plan.json"), "samples": written, **more})
        return
    where = f"{found['state']}, step {show.cell(found['step'])} of {show.cell(found['steps'])}"
    if found["origin"]:
        told = f"{found['state']}: {found['reason']}" if found["reason"] else found["state"]
        _imported(found, read_json(out / "run.json")["origin"], told if found["steps"] is None else where)
        return
    lines: list[tuple[Any, ...]] = []
    for d in read_json(out / "plan.json")["draws"]:
        drawn = (f"{d['weight']:.2%}", f"{d['tokens']:,}", f"{d['epochs']:.2f}")
        lines.append((d["source"], *drawn, found["bpb"].get(d["source"]), d["licence"]))
    note = f"{where}, macro bits per byte {show.cell(found['bpb_macro'])}"
    columns = ("source", "weight", "tokens", "epochs", "bits per byte", "licence")
    show.table(found["run_id"], columns, lines, note=note)
    if tasks:
        show_tasks.tasks("Tasks", tasks)
    for s in written:
        show.say(f"{s['prompt']!r} {'→' if s['temperature'] else '⇒'} {s['output']!r}")
    if any(s["temperature"] for s in written):
        show.say("⇒ likeliest tokens, → a draw")
    _say_unprompted(_unprompted(rows))
    show.say(f"files: {out}")
    if said := costs.told(cost):
        show.say(said)
    Console(file=sys.stdout, highlight=False).print(
        escape(headline(report)), style="green" if report.is_quiet else "yellow", soft_wrap=True
    )
    for event in report.events:
        show.say(f"step {event['step']}: {event['text']}")


def _imported(found: Mapping[str, Any], origin: Mapping[str, Any], where: str) -> None:
    """Mix and scores of a run that was imported, each score with its unit, and whence it came."""
    units = origin["units"]
    weights = [(s, f"{w:.2%}") for s, w in sorted(found["weights"].items(), key=lambda kv: -kv[1]) if w]
    show.table(found["run_id"], ("source", "weight"), weights, note=where)
    scores = {"bpb/macro": found["bpb_macro"], **{f"bpb/{s}": v for s, v in found["bpb"].items()}}
    scores |= {"loss/macro": found["loss_macro"], **{f"loss/{s}": v for s, v in found["loss"].items()}}
    mean = {"bpb/macro": "bits per byte", "loss/macro": found["unit"]}
    rows = [(task, v, units.get(task) or mean.get(task)) for task, v in scores.items() if v is not None]
    show.table("Scores", ("score", "value", "unit"), rows)
    show.say(f"imported: {origin['from']}, {origin['path']}, there called {origin['name']}")
    for name, value in origin["settings"].items():
        show.say(f"{name}: {value}")


def _unprompted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Metric of the samples from nothing -> its last value; shares of sources with their weights."""
    last = {row["metric"]: row for row in rows if row.get("task") == costs.SAMPLES}
    shares = {m.removeprefix("share/"): row["detail"] for m, row in last.items() if m.startswith("share/")}
    metrics = {name: last[name]["value"] for name in SAMPLES if name in last}
    return {"shares": shares, "metrics": metrics} if last else {}


def _say_unprompted(told: dict[str, Any]) -> None:
    """Two lines: realised against intended mix, and what betrays loops and copies."""
    if not told:
        return
    shares = (f"{s} {t['realised']:.0%} (mix {t['intended']:.0%})" for s, t in told["shares"].items())
    show.say(f"unprompted, by the source they look like: {', '.join(shares)}")
    show.say("unprompted: " + ", ".join(f"{n} {show.cell(v)}" for n, v in told["metrics"].items()))
