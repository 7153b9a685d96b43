"""What `mixlab advise …` prints. Reads lines and cards that others made; computes nothing."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mixlab.advise.target import priced
from mixlab.show import print_json, say, table


def leaderboard(lines: Sequence[Any], metric: str, *, as_json: bool) -> None:
    """Methods by number of runs, with how far each is behind the default."""
    if as_json:
        print_json([dataclasses.asdict(line) for line in lines])
        return
    rows: list[tuple[Any, ...]] = []
    for x in lines:
        behind = "default" if x.behind is None else f"{x.behind[0]:+.3f} to {x.behind[1]:+.3f}"
        figures = (x.spearman, x.kendall, x.top_quarter, x.decision_accuracy, x.coverage_80)
        cells = ("" if v is None else f"{v:.3f}" for v in figures)
        rows.append((x.method, x.n, x.judged_on or "same", *cells, x.regret_at_1, x.regret_at_5, behind))
    shares = ("Spearman", "Kendall", "top quarter", "decisions", "80 % holds")
    columns = ("method", "runs", "judged on", *shares, "regret@1", "regret@5", "behind")
    note = "behind: Spearman of the default minus this one's, 95 % by paired bootstrap over mixes"
    table(f"Unseen mixes, {metric}", columns, rows, note=note)


def ledger(rows: Sequence[Mapping[str, Any]], factor: float, *, as_json: bool) -> None:
    """Predicted against realised gains."""
    if as_json:
        print_json({"proposals": rows, "widen": factor})
        return
    if not rows:
        say("Nothing is written down yet: `mixlab recommend --save sweeps/mixture/x.yaml` does it.")
        return
    told: list[tuple[Any, ...]] = []
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


def designs(told: Sequence[Any]) -> list[str]:
    """A sentence a design: what it costs and what it can be expected to find."""
    lines = list[str]()
    for p in told:
        d, price = p.design, f" ({priced(p.dollars)})" if p.dollars else ""
        size = "" if d.n_params is None else f" of {d.n_params / 1e6:g} M (rank agreement {d.agreement:.2f})"
        lines.append(
            f"{d.runs} mixes x {d.seeds} seeds{size}{price}: expected regret {p.regret:.4f}, "
            f"{p.decision_accuracy:.0%} of clear pairs ordered rightly"
        )
    return lines


def sensitivity(effects: Any, parts: Any, at: str, *, as_json: bool) -> None:
    """Frames of `sensitivity.effects` and of attributions, a column a metric."""
    if as_json:
        print_json({"at": at, "effects": effects.to_dict("records"), "attribution": parts.to_dict("records")})
        return
    metrics = list(dict.fromkeys(effects["metric"]))
    rows: list[tuple[Any, ...]] = []
    for source, part in effects.groupby("source"):
        cells = {e.metric: _with_interval(e.change, e.lo, e.hi) for e in part.itertuples()}
        rows.append((source, *(cells[m] for m in metrics)))
    note = "bits per byte, lower is better; 95 % intervals; the other sources shrink in proportion"
    table(f"One point more of a source, at the {at} mix", ("source", *metrics), rows, note=note)
    rows = [
        (s, *(f"{v:+.4f}" for v in part.set_index("metric")["part"])) for s, part in parts.groupby("source", sort=False)
    ]
    rows.append(("together", *(f"{v:+.4f}" for v in parts.groupby("metric", sort=False)["part"].sum())))
    columns = ("source", *dict.fromkeys(parts["metric"]))
    table("From natural to recommended: what each source's change does", columns, rows)


def checked(told: Sequence[Any]) -> None:
    """Cross-validated figures of every method."""
    rows: list[tuple[Any, ...]] = []
    for c in told:
        cv, behind = c.cv, "default" if c.behind is None else f"{c.behind[0]:+.3f} to {c.behind[1]:+.3f}"
        shares = (cv.spearman, cv.kendall, cv.q2, cv.top_quarter_spearman, cv.decision_accuracy)
        held = "/".join(f"{v:.0%}" for v in cv.coverage.values())
        figures = ("" if v is None else f"{v:.2f}" for v in shares)
        rows.append((c.method, *figures, cv.mae, cv.regret_at_1, cv.regret_at_5, held, behind))
    columns = ("method", "Spearman", "Kendall", "Q2", "top quarter", "decisions", "error", "regret@1", "regret@5")
    note = f"{told[0].cv.scheme}, {told[0].cv.n} runs; behind: the default's Spearman minus this one's, 95 %"
    table("Runs the fit has not seen", (*columns, "50/80/95 % hold", "behind"), rows, note=note)


def sizes(told: Any, runs: Any, n_params: float, tokens: float, *, as_json: bool) -> None:
    """Rank agreement of each pair of sizes, then the best mixes at the target, then what speaks against it."""
    sources = [c.removeprefix("w_") for c in runs.columns if c.startswith("w_")]
    best: list[dict[str, Any]] = [
        {
            "predicted": float(told.predicted[i]),
            "weights": dict(zip(sources, told.mixes[i].tolist(), strict=True)),
        }
        for i in told.order
    ]
    if as_json:
        agreements = [dataclasses.asdict(a) for a in told.agreements]
        print_json({"agreements": agreements, "ranking": best, "warnings": told.warnings})
        return
    rows = [
        (f"{a.small:,.0f}", f"{a.large:,.0f}", a.mixes, f"{a.spearman:.2f} ({a.lo:.2f} to {a.hi:.2f})")
        for a in told.agreements
    ]
    table("Do mixes rank alike at two sizes?", ("parameters", "and", "shared mixes", "Spearman (95 %)"), rows)
    rows = [(i, *(f"{w:.1%}" for w in b["weights"].values()), b["predicted"]) for i, b in enumerate(best[:8], 1)]
    title = f"The best mixes seen, at {n_params:,.0f} parameters and {tokens:,.0f} tokens (joint law)"
    table(title, ("rank", *sources, "predicted"), rows)
    for line in told.warnings:
        say(f"- {line}")


def rivals(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Mixes on equal compute: score, gain over natural, and what finding them took."""
    if as_json:
        print_json(list(rows))
        return
    told: list[tuple[Any, ...]] = []
    for r in rows:
        mix = " ".join(f"{s} {w:.0%}" for s, w in sorted(r["weights"].items(), key=lambda kv: -kv[1]))
        gain = "" if r["gain"] is None else f"{r['gain']:+.4f}"
        gain += "" if r["half_width"] is None else f" +- {r['half_width']:.4f}"
        name = r["mix"] if r["same_as"] is None else f"{r['mix']} (is {r['same_as']} here)"
        told.append((name, mix, r["bpb_macro"], gain, len(r["seeds"]), f"{r['search_runs']:g}"))
    columns = ("mix", "weights", "macro bpb", "gain over natural", "seeds", "runs to find it")
    table("Mixes on equal compute", columns, told, note="bits per byte, lower is better; +- is 95 %")


def _with_interval(mean: float, low: float | None, high: float | None) -> str:
    return f"{mean:+.4f}" if low is None or high is None else f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"
