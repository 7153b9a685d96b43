"""What `mixlab data atlas · audit · explain · labels` print. Computes nothing."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from mixlab.data.audit import MIN_DOCS
from mixlab.show import print_json, say, table

SHOWN = 15  # rows, where a table may be long


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as plain JSON values, null for what is missing."""
    return json.loads(frame.to_json(orient="records") or "[]")


def atlas(frames: dict[str, pd.DataFrame], *, as_json: bool) -> None:
    """The atlas of some sources: waterfall, kills, overlap, lines."""
    if as_json:
        print_json({name: records(frame) for name, frame in frames.items()})
        return
    rows = [tuple(_shown(v) for v in r.values()) for r in records(frames["waterfall"])]
    table("What is left after each rule", ("source", "step", "documents", "bytes", "tokens"), rows)
    columns = ("source", "rule", "docs_hit", "docs_first", "docs_only", "bytes_only", "tokens_only", "shapley_docs")
    rows = [tuple(_shown(r[c]) for c in columns) for r in records(frames["kills"])]
    heads = ("source", "rule", "hits", "is the reason", "only this rule", "bytes only", "tokens only", "Shapley share")
    table("What each rule removes", heads, rows)
    rows = [tuple(_shown(v) for v in r.values()) for r in records(frames["overlap"])[:SHOWN]]
    table("Rules that hit the same documents", ("source", "rule", "other", "documents", "Jaccard"), rows)
    rows = [tuple(_shown(v) for v in r.values()) for r in records(frames["lines"])]
    table("Lines that went", ("source", "rule", "lines", "documents"), rows)


def what_if(answer: pd.DataFrame, moved: pd.DataFrame, asked: str, *, as_json: bool) -> None:
    """What a change of one rule would do, and to which documents."""
    if as_json:
        print_json({"what_if": asked, "sources": records(answer), "documents": records(moved)})
        return
    rows = [tuple(_shown(v) for v in r.values()) for r in records(answer)]
    table(f"What if {asked}", [str(c) for c in answer.columns], rows)
    rows = [tuple(_shown(v) for v in r.values()) for r in records(moved)[:SHOWN]]
    note = f"{len(moved):,} documents; read one with `mixlab data explain SOURCE ID`"
    table("Documents that would move", [str(c) for c in moved.columns], rows, note=note)
    if not all(answer["is_exact"]):
        say(
            "Not exact: a later step of the profile compares documents, and those that come back would take part in it."
        )


def switched(answer: pd.DataFrame, asked: Sequence[str], *, as_json: bool) -> None:
    """What several changes would do together."""
    if as_json:
        print_json({"what_if": list(asked), "sources": records(answer)})
        return
    rows = [tuple(_shown(v) for v in r.values()) for r in records(answer)]
    note = "before deduplication and hold-out, which would see the documents that come back"
    table(f"What if {' and '.join(asked)}", [str(c) for c in answer.columns], rows, note=note)


def audit(found: Any, alarms: pd.DataFrame, max_risk: float | None, *, as_json: bool) -> None:
    """Removal rates by identity term, the swap, the words of the removed, and what exceeds the limit."""
    if as_json:
        frames = {"rates": found.rates, "swaps": found.swaps, "words": found.words, "alarms": alarms}
        print_json({"max_risk": max_risk, **{name: records(frame) for name, frame in frames.items()}})
        return
    told = found.rates[found.rates["docs"] >= MIN_DOCS]
    worst = told.sort_values("relative_risk", ascending=False, na_position="last").head(2 * SHOWN)
    rows: list[tuple[Any, ...]] = []
    for r in records(worst):
        rate = f"{r['rate']:.1%} ({r['low']:.1%} to {r['high']:.1%})"
        risk = (
            "–"
            if r["relative_risk"] is None
            else f"{r['relative_risk']:.2f} ({r['risk_low']:.2f} to {r['risk_high']:.2f})"
        )
        rows.append((r["source"], r["rule"], r["term"], r["docs"], rate, f"{r['base_rate']:.1%}", risk))
    heads = ("source", "rule", "term", "documents", "removed, 95 %", "of all", "relative risk, 95 %")
    note = f"terms in fewer than {MIN_DOCS} documents are left out here; all are in --json"
    table("Removal by identity term, the highest risk first", heads, rows, note=note)
    freed = found.swaps.sort_values(["freed", "removed"], ascending=False, kind="stable")
    swaps = [tuple(r.values()) for r in records(freed)[:SHOWN]]
    heads = ("source", "rule", "term", "removed", "free once swapped")
    note = f"{int((freed['freed'] > 0).sum())} of {len(freed)} rows hold a document that the term alone removed"
    table("The same documents with nothing but the term swapped", heads, swaps, note=note)
    rows = [tuple(_shown(v) for v in r.values()) for r in records(found.words)]
    table("Words that mark what is removed", ("source", "word", "removed", "kept", "log-odds", "z"), rows)
    if max_risk is not None:
        say(f"{len(alarms)} rows exceed a relative risk of {max_risk:g} (at least 10 documents, interval above 1).")


def explained(found: Any, *, as_json: bool) -> None:
    """One document, line by line, then rule by rule."""
    if as_json:
        print_json({name: getattr(found, name) for name in found.__slots__})
        return
    state = "kept" if found.kept else f"dropped: {found.reason}"
    state = "kept by cleaning, then removed as a duplicate" if found.duplicate else state
    table(f"{found.source} {found.id}, {found.profile}, {state}", ("line", "what was done", "text"), [
        (i, what, line if len(line) <= 100 else line[:99] + "…") for i, line, what in found.lines
    ])  # fmt: skip
    rows = [(name, "drops it" if hit else "passes", what) for name, hit, what in found.rules]
    table("Document rules", ("rule", "verdict", "measured"), rows)
    if found.duplicate:
        d = found.duplicate
        alike = "the same words" if d["exact"] else f"Jaccard {d['jaccard']:.3f}"
        say(f"Removed as a duplicate of {d['kept_source']} {d['kept_id']}: {alike}.")
        if d["shared_span"]:
            say(f"Both share: {d['shared_span']}")


def labels(found: pd.DataFrame) -> None:
    """Documents that people called good or bad."""
    rows = [tuple(r[c] for c in ("source", "id", "label", "fate", "note")) for r in records(found)]
    table(f"{len(rows)} labelled documents", ("source", "id", "label", "cleaning", "note"), rows)


def _shown(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:,.0f}" if (value.is_integer() and abs(value) < 1e15) or abs(value) >= 1000 else f"{value:,.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
