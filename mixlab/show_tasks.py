"""What `mixlab runs eval` prints: one line a task, its floors beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from mixlab import show


def scores(found: Mapping[str, Sequence[Mapping[str, Any]]], *, as_json: bool) -> None:
    """The scores of runs on a suite; as JSON an object for one run, a list for several."""
    if as_json:
        told = [{"run_id": run_id, "scores": [_plain(row) for row in rows]} for run_id, rows in found.items()]
        show.print_json(told[0] if len(told) == 1 else told)
        return
    for run_id, rows in found.items():
        _table(run_id, rows)


def _table(run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """One run; accuracies with the best of the text heuristics."""
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        found = {row["metric"]: row for row in rows if row["task"] == task}
        some = found.get("gold_bpb") or found["bpb"]
        floors = some["detail"]["floors"]
        best = max(floors, key=floors.get) if floors else ""
        lines.append(
            (
                task,
                _told(some),
                _told(found.get("acc_char") or found.get("exact")),
                f"{floors[best]:.3f} {best}" if best else "",
                some["n"],
                some["detail"]["n_truncated"],
                some["detail"]["status"],
            )
        )
    columns = ("task", "gold bpb", "acc per char / exact", "best text heuristic", "items", "cut", "status")
    show.table(run_id, columns, lines, note="Gold bpb ranks mixes at this scale; accuracy mostly shows noise.")


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
