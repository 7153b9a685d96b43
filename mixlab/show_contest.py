"""What `mixlab runs compare · rank · court · split` print: differences with their noise, and no winner without one.

Reads the store and runs' files; computes nothing that results/ does not.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from mixlab import show
from mixlab.errors import MissingError
from mixlab.results import contest
from mixlab.results.court import court_of, parts_of
from mixlab.results.listing import Row, list_runs, of_sweep
from mixlab.results.store import Store
from mixlab.results.versus import versus
from mixlab.workspace import Workspace


def comparison(ws: Workspace, run_a: str, run_b: str, *, as_json: bool) -> None:
    """Two mixes side by side: bits per byte by domain, then tasks item by item."""
    told = versus(ws, run_a, run_b)
    if as_json:
        show.print_json(told)
        return
    lines = [
        (
            r["task"],
            r["a"],
            r["b"],
            f"{r['difference']:+.4f}",
            r["interval"],
            _said(r["distinguishable"], r["difference"]),
        )
        for r in told["scores"]
    ]
    weights = ", ".join(f"{s} {p:+.1f}" for s, p in told["points"].items())
    extra = "; ".join(
        f"{side}: mix-weighted {_cell(d['mix_weighted'])}, worst {_cell(d['worst'])} ({d['worst_domain']})"
        for side, d in told["domains"].items()
    )
    show.table(
        f"a = {_side(told['a'], run_a)}, b = {_side(told['b'], run_b)}",
        ("score", "a", "b", "difference", "95 %", "winner"),
        lines,
        note=f"b minus a; lower is better; mix difference in points: {weights}. {told['words']}. {extra}",
    )
    if not told["tasks"]:
        show.say(told["refused"] or "No task was asked of all these runs: `mixlab runs eval RUN …` asks it.")
        return
    columns = ("task", "metric", "items", "a", "b", "floor", "b - a", "95 %")
    columns += ("se training", "se items", "bootstrap (items)")
    show.table(
        "Tasks, item by item",
        (*columns, "p (Holm)", "p (McNemar)", "winner"),
        [_task(t) for t in told["tasks"]],
        note=f"{told['tasks'][0]['method']}. A winner needs the interval of both noises to clear zero, and Holm's p "
        "over these lines below 0.05; McNemar and the bootstrap know the noise of items alone.",
    )


def _side(runs: Sequence[str], asked: str) -> str:
    """One side of a comparison: the run that was asked for, and how many runs of its mix are meant.

    >>> _side(["even-s0-1a", "even-s1-2b"], "even-s0-1a")
    'even-s0-1a and 1 more seed'
    """
    more = len(runs) - 1
    return f"{asked} and {more} more seed{'s' * (more > 1)}" if more else asked


def _task(t: dict[str, Any]) -> tuple[Any, ...]:
    """One task and metric's line in the table."""
    noise = (_cell(t["training"]), _cell(t["items"]), _span(t["bootstrap_lo"], t["bootstrap_hi"]))
    floor = "–" if t["floor"] is None else f"{t['floor']:.4f} {t['floor_of']}"
    means = (t["n"], t["a"], t["b"], floor, f"{t['difference']:+.4f}", _span(t["lo"], t["hi"]))
    return t["task"], t["metric"], *means, *noise, _cell(t["p_holm"]), _cell(t["p_mcnemar"]), t["winner"]


def ranking(ws: Workspace, sweep: str | None, task: str, metric: str, *, as_json: bool) -> None:
    """All mixes of a lab or sweep on one score."""
    store, runs = Store.open(ws), _finished(ws, sweep)
    found = store.scores([r["run_id"] for r in runs], final=True).to_dict("records")
    scores = cast("list[dict[str, Any]]", found)  # a frame's columns have names
    rows = [row for row in scores if row["task"] == task and row["metric"] == metric]
    if not rows:
        known = ", ".join(sorted({f"{row['task']} {row['metric']}" for row in scores})[:20])
        raise MissingError(f"no finished run has a score '{metric}' of '{task}'. There are: {known or 'none'}.")
    exams = sorted({row["evals_key"] for row in rows})
    if len({json.loads(row["detail"] or "{}").get("exam") for row in rows}) > 1:
        known = ", ".join(sorted({name for r in runs for name in r["sweeps"]}))
        raise MissingError(
            f"'{task}' was measured on other held-out documents by some of these runs (their cleaning, deduplication "
            f"or hold-out differs), so they cannot be ranked by it. Name runs prepared alike with --sweep ({known}), "
            "another source with --task, or score all on one fixed set (docs/evaluation.md)."
        )
    if len(exams) > 1:
        raise MissingError(f"'{task}' was asked in different ways ({', '.join(exams)}): evaluate the runs alike first.")
    values = {row["run_id"]: row["value"] for row in rows}
    mixes: dict[str, dict[int, float | None]] = {}
    for r in runs:
        if (value := values.get(r["run_id"])) is not None:
            mixes.setdefault(_mix(r), {})[r["seed"]] = value if value == value else None  # NaN: it diverged
    told = contest.ranking(mixes, lower_is_better=not rows[0]["higher_is_better"])
    told["agreement"] = contest.agreement(store, [r["run_id"] for r in runs])
    told |= {"task": task, "metric": metric}
    if as_json:
        show.print_json(told)
        return
    lines = [
        (
            m["mixture"],
            m["mean"],
            m["runs"],
            _cell(m["p_best"]),
            "–" if m["rank_lo"] is None else f"{m['rank_lo']}–{m['rank_hi']}",
        )
        for m in told["mixes"]
    ]
    show.table(f"{task} {metric}", ("mix", "mean", "runs", "P(best)", "rank, 95 %"), lines, note=told["words"] or None)
    lines = [
        (p["a"], p["b"], _cell(p["difference"]), _span(p["lo"], p["hi"]), _cell(p["p_holm"]), p["winner"])
        for p in told["pairs"]
    ]
    note = (
        "Intervals: the noise of training alone; `mixlab runs compare A B` adds that of held-out documents or items. "
        f"A winner needs Holm's p over these {len(lines):,} pairs below {contest.ALPHA:g}, too, so `compare` may tell "
        "two mixes apart where a ranking does not."
    )
    if lines:
        show.table("Pairs", ("a", "b", "b - a", "95 %", "p (Holm)", "winner"), lines, note=note)
    if told["agreement"]:
        lines = [
            (a["task"], a["metric"], f"{a['decision_accuracy']:.2f}", _span(a["lo"], a["hi"]))
            for a in told["agreement"]
        ]
        show.table("Pairs of runs ordered as macro bpb orders them", ("task", "metric", "share", "95 %"), lines)


def court(ws: Workspace, sweep: str | None, *, as_json: bool) -> None:
    """What the court says of every task metric of a lab or sweep."""
    runs = [r["run_id"] for r in _finished(ws, sweep)]
    found = sorted(court_of(Store.open(ws), runs), key=lambda f: (f.is_muted, f.task, f.metric))
    if not found:
        raise MissingError(
            "no task was asked of all these runs at the same steps: train with evals.live_suite=live, or ask the "
            "finished ones with `mixlab runs eval RUN …`."
        )
    if as_json:
        show.print_json([asdict(f) for f in found])
        return
    lines = [
        (
            f.task,
            f.metric,
            _cell(f.snr, 1),
            _cell(f.monotonicity, 2),
            _cell(f.agreement, 2),
            "muted" if f.is_muted else "heard",
            f.reason,
        )
        for f in found
    ]
    show.table("Court", ("task", "metric", "SNR", "monotonicity", "agreement", "verdict", "why"), lines)


def parts(ws: Workspace, runs: Sequence[str], found: Path, metric: str, *, as_json: bool) -> None:
    """Scores by contamination."""
    told = parts_of(Store.open(ws), runs, found, metric)
    if as_json:
        show.print_json(told)
        return
    lines = [_part(t) for t in told["tasks"]]
    other = told["against"] or "no second run"
    columns = ("task", "items", "dirty", "all", "clean", "dirty items", "all - clean", "dirty - clean")
    show.table(
        f"{told['run_id']}, {metric}",
        (*columns, "Δ all", "Δ clean", "Δ dirty"),
        lines,
        note=f"Δ: {other} minus this run, paired item by item.",
    )


def _part(t: dict[str, Any]) -> tuple[Any, ...]:
    """One task's line in the table of parts."""
    gap, paired = t["dirty_minus_clean"], t["paired"]
    told = f"{_cell(gap['mean'])} ({_span(gap['lo'], gap['hi'])})" if gap else t["words"]
    means = [_cell(t[part]) for part in ("all", "clean", "dirty", "all_minus_clean")]
    return (
        t["task"],
        t["n"],
        t["n_dirty"],
        *means,
        told,
        *(_cell(paired[part]["mean"]) if paired.get(part) else "–" for part in ("all", "clean", "dirty")),
    )


def _finished(ws: Workspace, sweep: str | None) -> list[Row]:
    """Finished runs of a lab or sweep; MissingError if there is none."""
    runs = [r for r in of_sweep(list_runs(ws), sweep) if r["state"] == "finished"]
    if not runs:
        raise MissingError("no run has finished" + (f" in sweep '{sweep}'." if sweep else ": `mixlab runs ls`."))
    return runs


def _mix(run: Row) -> str:
    """Name of a mix and its weights, so that two called alike stay apart."""
    return f"{run['mixture']} " + " ".join(f"{s}={100 * w:.1f}" for s, w in sorted(run["weights"].items()) if w)


def _said(is_distinguishable: bool, difference: float) -> str:
    if not is_distinguishable:
        return contest.NOBODY
    return "b" if difference < 0 else "a"


def _span(lo: float | None, hi: float | None) -> str:
    return "unknown" if lo is None or hi is None else f"{lo:+.4f} to {hi:+.4f}"


def _cell(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
