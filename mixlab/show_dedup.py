"""What `mixlab data dedup` and `mixlab data contamination` print: tables and JSON on stdout.

Reads reports that others made; computes nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixlab import show


def dedup(facts: Mapping[str, Any], where: Path, *, as_json: bool) -> None:
    """Losses per source, the detection curve beside the threshold, planted recall, alarms."""
    if as_json:
        show.print_json({**facts, "path": where})
        return
    spec = facts["spec"]
    rows = [
        (s, f"{n['docs_in']:,}", f"{n['removed']:,}", f"{100 * n['removed'] / max(n['docs_in'], 1):.1f} %")
        for s, n in facts["per_source"].items()
    ]
    title = f"Near-duplicates: Jaccard >= {spec['threshold']} of {spec['ngram']}-word shingles, {spec['scope']} sources"
    note = ", ".join(f"{reason} {n:,}" for reason, n in facts["reasons"].items()) or "none removed"
    show.table(title, ("source", "documents", "removed", "share"), rows, note=f"{note}. Witnesses: {where}")
    curve = [(s, f"{p:.4f}") for s, p in facts["detection"].items()]
    show.table(f"Found with probability ({spec['bands']} x {spec['rows']})", ("at Jaccard", "p"), curve)
    plants = [
        (f"{p['edited']:.0%}", p["pairs"], p.get("jaccard"), p["alike"], p["found"], p["recall"])
        for p in facts["planted"]
    ]
    show.table("Planted copies", ("words edited", "pairs", "mean Jaccard", "alike", "found", "recall"), plants)
    for alarm in facts["alarms"]:
        show.say(f"alarm: {alarm}")


def contamination(facts: Mapping[str, Any], where: Path, *, as_json: bool) -> None:
    """Items found per source and task; tasks without any are counted in the note, not left out."""
    rows, sources = facts["tasks"], facts["sources"].values()
    if as_json:
        show.print_json({**facts, "path": where})
        return
    columns = ("source", "task", "items", "too_short", "met_8", "met_13", "dirty", "answered", "docs", "share")
    told = [r for r in rows if r["dirty"] or r["met_13"]]
    planted = sum(s["found"] for s in sources), sum(s["planted"] for s in sources)
    note = (
        f"{len(rows) - len(told)} of {len(rows)} pairs of source and task share no 13-gram and hold no short item; "
        f"{planted[0]} of {planted[1]} planted items found. Where: {where}"
    )
    show.table("Evaluation items in the sources", columns, [tuple(r[c] for c in columns) for r in told], note=note)
    if facts["policy"] != "report":
        losses = [(s, n["docs_in"], n["docs"], n["dropped"], n["cut"]) for s, n in facts["sources"].items()]
        note = f"Train on what is left: mixlab run decontamination.policy={facts['policy']} 'decontamination.tasks=[…]'"
        show.table(f"Policy {facts['policy']}", ("source", "documents", "left", "dropped", "cut"), losses, note=note)


def spans(facts: Mapping[str, Any], where: Path, *, as_json: bool) -> None:
    """Words cut from repeated spans, per source."""
    if as_json:
        show.print_json({**facts, "path": where})
        return
    columns = ("docs_in", "docs", "cut", "emptied", "spans", "words_cut")
    rows = [(source, *(f"{told[c]:,}" for c in columns)) for source, told in facts["sources"].items()]
    words = facts["min_words"]
    note = f"Which: {where}/spans.parquet. Train on what is left: mixlab run spans.min_words={words}"
    show.table(f"Repeated spans of {words} words and more", ("source", *columns), rows, note=note)
