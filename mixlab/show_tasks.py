"""What `mixlab runs eval` and `runs show` print of tasks and samples: one line a task, its floors beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixlab import show
from mixlab.results.floors import tasks_of
from mixlab.results.listing import read_rows


def scores(
    found: Mapping[Path, Sequence[Mapping[str, Any]]], written: Mapping[Path, Mapping[str, Any]], *, as_json: bool
) -> None:
    """Scores of runs (by folder) on a suite, and what their samples are made of; as JSON an object for one run."""
    if as_json:
        told = [
            {"run_id": run.name, "scores": [_plain(row) for row in rows], "samples": dict(written[run])}
            for run, rows in found.items()
        ]
        show.print_json(told[0] if len(told) == 1 else told)
        return
    for run, rows in found.items():
        asked = {row["task"] for row in rows}
        tasks(run.name, [t for t in tasks_of(read_rows(run / "scores.jsonl")) if t["task"] in asked])
        unprompted(written[run], as_json=False)


def tasks(title: str, told: Sequence[Mapping[str, Any]]) -> None:
    """One line a task (results/floors.py), what the untrained start and the text alone reach beside each score."""
    lines: list[tuple[Any, ...]] = []
    for t in told:
        metrics, floors = t["metrics"], t["floors"]
        some = metrics.get("gold_bpb") or metrics["bpb"]
        chosen = metrics.get("acc_char") or metrics.get("exact_match") or metrics.get("exact")
        best = max((f for f in floors if f != "chance"), key=floors.get, default="")
        lines.append(
            (
                t["task"],
                _told(some),
                _number(some["untrained"]),
                _told(chosen),
                _number(chosen["untrained"]) if chosen else "",
                f"{floors[best]:.3f} {best}" if best else "",
                f"{floors['chance']:.3f}" if floors else "",
                t["n"],
                t["n_truncated"],
                t["status"],
            )
        )
    show.table(title, COLUMNS, lines, note="Gold bpb ranks mixes at this scale; accuracy mostly shows noise.")


COLUMNS = (
    *("task", "gold bpb", "untrained", "acc per char / exact", "untrained", "best text heuristic", "chance"),
    *("items", "cut", "status"),
)
"""Of a table of tasks: each score with its floors beside it."""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _told(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    if row["value"] is None:
        return "none"
    return f"{row['value']:.3f}" + (f" ± {1.96 * row['stderr']:.3f}" if row["stderr"] is not None else "")


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A score row with its hashes at the top."""
    names = ("task", "metric", "value", "stderr", "n", "higher_is_better", "step", "tokens")
    hashes = ("suite", "suite_hash", "prompt_hash", "tokenizer_hash", "convention", "status", "n_truncated", "seconds")
    return {n: row[n] for n in names} | {n: row["detail"][n] for n in hashes} | {"floors": row["detail"]["floors"]}


def unprompted(found: Mapping[str, Any], *, as_json: bool) -> None:
    """What unprompted samples are made of."""
    if as_json:
        show.print_json(found)
        return
    lines = [
        (s, f"{t['intended']:.1%}", f"{t['realised']:.1%} ± {196 * t['stderr']:.1f}", t["told_right"])
        for s, t in found["shares"].items()
    ]
    told = ", ".join(f"{n} {'–' if v is None else f'{v:.3f}'}" for n, v in found["metrics"].items())
    columns = ("source", "weight in the mix", "share of samples", "held-out text told right")
    show.table(f"{found['run_id']}: {found['samples']} samples", columns, lines, note=told)
