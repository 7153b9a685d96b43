"""What `mixlab advise …` prints. Reads lines and cards that others made; computes nothing."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mixlab.show import print_json, say, table


def leaderboard(lines: Sequence[Any], metric: str, *, as_json: bool) -> None:
    """Methods by number of runs, with how far each is behind the default."""
    if as_json:
        print_json([dataclasses.asdict(line) for line in lines])
        return
    rows = []
    for x in lines:
        behind = "default" if x.behind is None else f"{x.behind[0]:+.3f} to {x.behind[1]:+.3f}"
        figures = (x.spearman, x.top_quarter, x.decision_accuracy, x.coverage_80)
        rows.append((f"{x.method}", x.n, *(f"{v:.3f}" for v in figures), x.regret_at_1, x.regret_at_5, behind))
    columns = ("method", "runs", "Spearman", "top quarter", "decisions", "80 % holds", "regret@1", "regret@5", "behind")
    note = "behind: Spearman of the default minus this one's, 95 % by paired bootstrap over mixes"
    table(f"Unseen mixes, {metric}", columns, rows, note=note)


def ledger(rows: Sequence[Mapping[str, Any]], factor: float, *, as_json: bool) -> None:
    """Predicted against realised gains."""
    if as_json:
        print_json({"proposals": rows, "widen": factor})
        return
    told = []
    for r in rows:
        mix = " ".join(f"{s} {w:.0%}" for s, w in sorted(r["mixture"].items(), key=lambda kv: -kv[1]))
        band = f"{r['lo95']:+.4f} to {r['hi95']:+.4f}"
        came = "not trained yet" if not r["pairs"] else f"{r['realised']:+.4f}"
        told.append((mix, f"{r['predicted']:+.4f}", band, came, r["pairs"]))
    note = f"later intervals of gains are made {factor:.2f} times as wide"
    table("Advice and what came of it", ("mix", "predicted gain", "95 %", "realised", "seed pairs"), told, note=note)


def sentences(told: Sequence[str], facts: Any, *, as_json: bool) -> None:
    """Plain lines, or their facts as JSON."""
    if as_json:
        print_json(facts)
        return
    for line in told:
        say(f"- {line}")
