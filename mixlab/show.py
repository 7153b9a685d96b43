"""What the commands print: tables and JSON on stdout, progress on stderr and only on a terminal.

Reads handles, rows and verdicts that others made; computes nothing.
"""

import json
import logging
import math
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mixlab import jobs
from mixlab.errors import MissingError, nearest
from mixlab.results.listing import list_runs
from mixlab.workspace import Workspace


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, note: str | None = None) -> None:
    """One table on stdout; a pipe gets it at its full width, without colour."""
    out = Console(file=sys.stdout) if sys.stdout.isatty() else Console(file=sys.stdout, width=200, no_color=True)
    grid = Table(
        title=escape(title), title_justify="left", caption=escape(note) if note else None, caption_justify="left"
    )
    for i, column in enumerate(columns):
        grid.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(escape(cell(v)) for v in row))
    out.print(grid)


def say(text: str) -> None:
    """Plain lines on stdout."""
    sys.stdout.write(text + "\n")


def print_json(value: Any) -> None:
    """JSON alone on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


MOST_SHARES = 8  # sources whose shares fit into a line
BAR = 12  # characters: at 80 the runs that are at work still have half of the line
SHOWN = 2  # running runs named in the line of progress


class Watcher:
    """Draws progress of stages and sweeps with rate and ETA on a terminal; a job writes it down for who looks in."""

    def __init__(self, bars: Progress | None) -> None:
        self.bars = bars
        self.tasks: dict[str, Any] = {}
        self.began: dict[str, tuple[float, float]] = {}
        """Task -> when it was first heard of, and how far it was then."""

    def stage(self, what: str, done: int, total: int) -> None:
        """A data stage moved on."""
        self._move(what, done, total)

    def sweep(self, state: Any) -> None:
        """A sweep moved on: runs that ended count whole, running ones by their share of steps."""
        part = state.done - state.cached + len(state.failed)
        part += sum(r.step / max(1, r.steps) for r in state.running.values())
        at_work = "; ".join(
            (f"{name} {r.step}/{r.steps}" if r.steps else f"{name} starts")
            + ("" if r.bpb_macro is None else f" bpb {r.bpb_macro:.3f}")
            for name, r in list(state.running.items())[:SHOWN]
        )
        more = f" and {len(state.running) - SHOWN} more" if len(state.running) > SHOWN else ""
        what = f"{state.done}/{state.total} runs" + (f", {len(state.failed)} failed" if state.failed else "")
        self._move(what, part, state.total - state.cached, "sweep", f"{at_work or 'starting'}{more}")

    def _move(self, what: str, done: float, total: float, task: str | None = None, rest: str | None = None) -> None:
        """Tells that `what` is so far; `rest`: what may be cut off where the line is too short for it."""
        task = task or what
        since, first = self.began.setdefault(task, (time.monotonic(), done))
        left_s = (time.monotonic() - since) * (total - done) / (done - first) if done > first else None
        jobs.report(what if rest is None else f"{what}; {rest}", done, total, left_s)
        if self.bars is None:
            return
        if task not in self.tasks:
            self.tasks[task] = self.bars.add_task(what, total=total, rest="")
        told = what if rest is not None else f"{what} {done:,.0f}/{total:,.0f}"
        self.bars.update(self.tasks[task], completed=done, total=total, description=told, rest=rest or "")


class Rest(ProgressColumn):
    """The end of a line of progress, cut to the room that the others leave."""

    def render(self, task: Any) -> Text:
        """What is at work."""
        return Text(task.fields["rest"], no_wrap=True, overflow="ellipsis")


@contextmanager
def progress() -> Generator[Watcher]:
    """A Watcher for the time of one command."""
    if not sys.stderr.isatty():
        yield Watcher(None)
        return
    told = (TextColumn("{task.description}", markup=False), BarColumn(BAR), TimeElapsedColumn(), TimeRemainingColumn())
    streams: list[Any] = [h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)]
    loggers, before = [h for h in streams if h.stream is sys.stderr], sys.stderr
    with Progress(*told, Rest(), console=Console(stderr=True), transient=True) as bars:
        for handler in loggers:
            handler.setStream(sys.stderr)  # rich's while it draws: a message stands above the bars, not in them
        try:
            yield Watcher(bars)
        finally:
            for handler in loggers:
                handler.setStream(before)


def rehearsal(told: Sequence[Any], *, as_json: bool, devices: int = 1) -> None:
    """What each run would be and cost; wall hours are device hours over `devices`."""
    facts: list[dict[str, Any]] = [
        {
            "run": t.path.name,
            "done": t.is_done,
            "mixture": dict(t.spec.mixture.weights),
            "epochs": {d.source: round(d.epochs, 4) for d in t.plan.draws},
            "tokens": t.plan.tokens,
            "params": t.params.total,
            "flops": t.flops,
            "device": t.price.device,
            "hours": t.price.hours / devices,
            "device_hours": t.price.hours,
            "usd": t.price.dollars,
            "tokens_per_s": t.price.tokens_per_s,
            "basis": t.price.basis,
            "plan": t.plan.key,
            "warnings": list(t.plan.warnings),
        }
        for t in told
    ]
    if as_json:
        print_json(facts)
        return
    rows = [
        (
            f["run"],
            " ".join(f"{s} {w:.1%}" for s, w in f["mixture"].items() if w),
            " ".join(f"{s} {e:.2f}" for s, e in f["epochs"].items() if e),
            f"{f['tokens']:,}",
            f"{f['flops']:.2e}",
            f"{f['hours'] * 60:.1f}",
            f"{f['usd']:.4f}",
            "done" if f["done"] else "to do",
        )
        for f in facts
    ]
    todo = [f for f in facts if not f["done"]]
    spent = sum(f["device_hours"] for f in todo)
    cost = f"{spent:.2f} {facts[0]['device']}-hours ({spent * 60:.1f} minutes), ${sum(f['usd'] for f in todo):.4f}"
    bases = "; ".join(dict.fromkeys(f["basis"] for f in facts))
    note = f"{len(facts)} runs, {len(facts) - len(todo)} done, {len(todo)} to do: {cost}. Speed {bases}; without evals."
    note += "".join(f"\n! {w}" for w in dict.fromkeys(w for f in facts for w in f["warnings"]))
    table("What would run", ("run", "mix", "epochs", "tokens", "FLOPs", "minutes", "USD", "state"), rows, note=note)


def corpora(found: Sequence[Any], *, as_json: bool) -> None:
    """Prepared sources: what is there and what went."""
    if as_json:
        print_json([{**{f: getattr(c, f) for f in c.__slots__}, "path": str(c.path)} for c in found])
        return
    rows: list[tuple[Any, ...]] = []
    for c in found:
        size = (f"{c.docs:,}", f"{c.bytes / 1e6:.2f}", f"{c.tokens:,}", c.heldout_docs)
        rows.append((c.source, *size, c.language, c.licence, _worst(c.dropped)))
    columns = ("source", "documents", "MB", "tokens", "held out", "language", "licence", "dropped, by reason")
    table("Corpora", columns, rows)


def runs(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """One line a run, the best first."""
    if not rows:
        raise MissingError("no runs yet: `mixlab demo` makes the first ones, `mixlab run` one.")
    ranked = sorted(rows, key=lambda r: (r["bpb_macro"] is None, r["bpb_macro"] or 0.0, r["loss_macro"] or math.inf))
    if as_json:
        print_json(ranked)
        return
    sources = sorted({s for r in rows for s in r["weights"]})
    columns = ("run", "state", "macro bpb", *(f"bpb {s}" for s in sources), *(f"% {s}" for s in sources), "tokens")
    told = [_run_row(r, sources) for r in ranked]
    if any(r["origin"] for r in rows):  # there may be dozens of sources: only what says something
        columns = (*columns, "loss", "from")
        told = [(*row, _loss(r), r["origin"]) for row, r in zip(told, ranked, strict=True)]
        filled = [any(row[i] is not None for row in told) for i in range(len(columns))]
        kept = [i for i, c in enumerate(columns) if filled[i] and (c[0] != "%" or len(sources) <= MOST_SHARES)]
        columns, told = tuple(columns[i] for i in kept), [tuple(row[i] for i in kept) for row in told]
    table("Runs", columns, told)


def outcome(ws: Workspace, names: Sequence[str], failed: Mapping[str, str], *, as_json: bool) -> None:
    """What a sweep left: its runs, then its failures."""
    rows = [r for r in list_runs(ws) if r["run_id"] in set(names)]
    runs(rows, as_json=as_json)
    for name, reason in failed.items():
        sys.stderr.write(f"failed: {name}: {reason}\n")


def verdict(advice: Any, *, as_json: bool) -> None:
    """The recommended mix, its prediction, and how sure we are."""
    card = advice.verdict
    if as_json:
        told = {"runs": advice.runs, "left_out": advice.left_out, "notes": advice.notes}
        print_json({**json.loads(card.to_json()), **told})
        return
    rows: list[tuple[Any, ...]] = []
    for s, w in card.mixture.weights.items():
        low, high = card.indifference[s]
        rows.append((s, f"{w:.1%}", f"{low:.0%} to {high:.0%}"))
    left = f"; {advice.left_out} finished runs of another recipe were left out" if advice.left_out else ""
    table("Recommended mix", ("source", "weight", "equally good"), rows, note=f"from {len(advice.runs)} runs{left}")
    for sentence in [*card.sentences, *card.warnings, *advice.notes]:
        say(f"- {sentence}")


def doctor(report: Mapping[str, Any], *, as_json: bool) -> bool:
    """The state of the machine; True if nothing that is needed is missing."""
    checks = report["checks"]
    if as_json:
        print_json(report)
    else:
        words = {(True, True): "ok", (True, False): "ok", (False, True): "MISSING", (False, False): "optional"}
        rows = [
            (c["name"], c["found"], words[c["is_ok"], c["is_needed"]], "" if c["is_ok"] else c["remedy"])
            for c in checks
        ]
        table(f"mixlab {report['mixlab']}", ("what", "found", "state", "what to do"), rows)
    return all(c["is_ok"] for c in checks if c["is_needed"])


def folder(ws: Workspace, name: str) -> Path:
    """Directory of the run that `find` finds."""
    return ws.root / "runs" / find(ws, name)["run_id"]


def find(ws: Workspace, name: str) -> Mapping[str, Any]:
    """The run with this id, or the only one whose id contains `name`."""
    rows = {r["run_id"]: r for r in list_runs(ws)}
    if name in rows:
        return rows[name]
    matching = [i for i in rows if name in i]
    if len(matching) == 1:
        return rows[matching[0]]
    if matching:
        raise MissingError(
            f"'{name}' fits {len(matching)} runs: {', '.join(sorted(matching)[:8])}. Say more of its name."
        )
    raise MissingError(f"there is no run '{name}' in {ws.root}.{nearest(name, rows)}")


def find_arm(ws: Workspace, name: str) -> Mapping[str, Any]:
    """As `find`, but a name that fits runs of one mix and recipe under several seeds is the first finished of them.

    Runs whose whole name it is go before those of which it is a part.
    """
    there = list_runs(ws)
    matching = [r for r in there if r["run_id"].rpartition("-s")[0] == name] or [
        r for r in there if name in r["run_id"]
    ]
    if len({(r["recipe"], *sorted(r["weights"].items())) for r in matching}) != 1:
        return find(ws, name)
    return min(matching, key=lambda r: (r["run_id"] != name, r["state"] != "finished", r["run_id"]))


def _run_row(r: Mapping[str, Any], sources: Sequence[str]) -> tuple[Any, ...]:
    shares = (f"{100 * r['weights'][s]:.1f}" if s in r["weights"] else "" for s in sources)
    return (r["run_id"], r["state"], r["bpb_macro"], *(r["bpb"].get(s) for s in sources), *shares, _whole(r["tokens"]))


def _loss(r: Mapping[str, Any]) -> str | None:
    """The mean of an imported run's scores that are not in bits per byte, with its unit."""
    return None if r["loss_macro"] is None else f"{r['loss_macro']:.4f} {r['unit']}"


def _whole(number: int | None) -> str | None:
    return None if number is None else f"{number:,}"


def _worst(dropped: Mapping[str, int], most: int = 3) -> str:
    ranked = sorted(dropped.items(), key=lambda kv: -kv[1])[:most]
    return ", ".join(f"{reason} {n:,}" for reason, n in ranked) or "none"


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
