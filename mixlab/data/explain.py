"""One document's way through cleaning and deduplication, line by line. Reads artefacts; writes nothing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlab.data import matches
from mixlab.data.badwords import finder, is_spared, word_list
from mixlab.data.cleaned import Cleaned, raw_of
from mixlab.data.documents import doc_of, read_docs, read_list, values, verdict_of
from mixlab.data.lines import judged_lines
from mixlab.data.profiles import steps_of
from mixlab.data.rulebook import rules_of, threshold_of
from mixlab.data.rules import clean_by
from mixlab.data.steps import BadWords, C4Lines, DolmaC4, LineDedup, Step, WordList
from mixlab.errors import MissingError, nearest
from mixlab.workspace import Workspace, is_complete

WORD = re.compile(r"\w+")
SHOWN_WORDS = 40  # of a shared span


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """What became of one document, and why."""

    source: str
    id: str
    profile: str
    kept: bool
    reason: str | None
    lines: list[tuple[int, str, str]]
    """Number of the line from 1, its text, and what was done: `kept`, or the rule that drops it; a page rule that sees
    the line follows after a comma."""
    rules: list[tuple[str, bool, str]]
    """Every document-level rule in order: its name, whether it hit, and what it measured or found."""
    spans: list[tuple[int, int, int, str]]
    """Number of a line, start and end in its text, and the rule that looks for what stands there."""
    duplicate: dict[str, Any] | None
    """For a near-duplicate: kept_source, kept_id, jaccard, containment, exact, and, where it was stored, the longest
    run of words that both share, as `shared_span`."""


def explain(ws: Workspace, told: Cleaned, doc_id: str) -> Explained:
    """The way of one document of a cleaned source. MissingError, with the nearest ids, if there is no such document."""
    doc = _document(raw_of(ws, told), doc_id)
    verdict = verdict_of(told.path, doc_id)
    assert verdict is not None  # a cleaning judges every raw document
    final = doc_of(told.path, doc_id) if verdict["kept"] else None
    lines = _lines(doc["text"], steps_of(told.profile), final["text"] if final else None)
    return Explained(
        source=told.source,
        id=doc_id,
        profile=told.profile,
        kept=verdict["kept"],
        reason=verdict["reason"],
        lines=lines,
        rules=_rules(doc, steps_of(told.profile), verdict),
        spans=_spans(lines, verdict["rules_hit"], steps_of(told.profile)),
        duplicate=_duplicate(ws, told, doc_id) if verdict["kept"] else None,
    )


def _lines(text: str, steps: tuple[Step, ...], final: str | None) -> list[tuple[int, str, str]]:
    """What each line of the raw text met. `final`: the text that was kept, which other documents may have cut."""
    judging = [step for step in steps if isinstance(step, C4Lines | DolmaC4)]
    raw = text.splitlines() if judging and isinstance(judging[0], C4Lines) else text.split("\n")
    told = [_through(line, judging) for line in raw]
    if final is not None and any(isinstance(step, LineDedup) for step in steps):
        told = list(_deduplicated(told, final))
    return [(i, line, what) for i, (line, what) in enumerate(told, 1)]


def _through(line: str, steps: list[C4Lines | DolmaC4]) -> tuple[str, str]:
    """One line by each step of a chain that judges lines, up to the one that drops it; none looks at its neighbours."""
    seen: list[str] = []
    for step in steps:
        if isinstance(step, DolmaC4):
            rules = [*clean_by(line, (step,), "").lines_dropped]
        else:
            judged = list(judged_lines(line + "\n", step))  # what is one line to dolma may be several here
            rules = [rule for _, rule, _ in judged if rule] if all(rule for _, rule, _ in judged) else []
            seen += [hit for _, _, hits in judged for hit in hits]
            line = "\n".join(part for part, rule, _ in judged if rule is None or rules)
        if rules:
            return line, ", ".join(dict.fromkeys([*rules, *seen]))
    return line, ", ".join(["kept", *dict.fromkeys(seen)])


def _deduplicated(told: list[tuple[str, str]], final: str) -> Iterator[tuple[str, str]]:
    """The lines, those that C4's deduplication took away marked: by another page, or as a repeat on this one."""
    left, seen = {line.strip().lower() for line in final.split("\n")}, set[str]()
    for line, what in told:
        same = line.strip().lower()
        if what == "kept" and same not in left:
            what = "line-filtered:global_duplicate"
        elif what == "kept" and same in seen:
            what = "line-filtered:local_duplicate"
        elif what == "kept":
            seen.add(same)
        yield line, what


def _rules(doc: dict[str, Any], steps: tuple[Step, ...], verdict: dict[str, Any]) -> list[tuple[str, bool, str]]:
    """Every document-level rule with what it measured; `found` where it is a matter of an entry of a list."""
    measures, hits, lines = dict(verdict["measures"]), set(verdict["rules_hit"]), dict(verdict["lines_dropped"])
    told = list[tuple[str, bool, str]]()
    for i, step in enumerate(steps):
        for rule in rules_of((step,)):
            if rule.level != "document" or rule.name == "empty":
                continue
            what = list[str]()
            if rule.name in measures and rule.sense:
                what.append(rule.words(measures[rule.name], threshold_of(step, rule) or 0))
            elif isinstance(step, BadWords):
                entry = _entry(doc, steps[:i], step, is_hit=rule.name in hits)
                what.append(f"found: {entry}" if entry else "nothing found")
            if isinstance(step, LineDedup) and (gone := lines.get("line-filtered:global_duplicate")):
                what.append(f"lines that other pages keep: {gone}")
            told.append((rule.name, rule.name in hits, "; ".join(what)))
    return [*told, ("empty", True, "no text is left")] if "empty" in hits else told


def _entry(doc: dict[str, Any], before: tuple[Step, ...], step: BadWords, *, is_hit: bool) -> str | None:
    """The entry that the step finds in what the steps before it leave; None: none, or in a line that went elsewhere."""
    key = doc["url"] or doc["id"]
    if any(isinstance(s, LineDedup) for s in before) and not is_hit and not is_spared(key, step.badword_fraction):
        return None
    find = finder(word_list(step.badwords), lowercase_list=step.lowercase_list)
    return find(clean_by(doc["text"], before, key).otherwise)


def _spans(
    lines: list[tuple[int, str, str]], hits: list[str], steps: tuple[Step, ...]
) -> list[tuple[int, int, int, str]]:
    """What each rule found: a line rule in lines that it drops, a page rule in those it sees, others in the rest."""
    lists: list[WordList] = [step.badwords for step in steps if isinstance(step, BadWords | DolmaC4)]
    own = {rule.name for step in steps if isinstance(step, C4Lines) for rule in rules_of((step,))}
    sees_all = any(isinstance(step, DolmaC4) for step in steps)
    found = list[tuple[int, int, int, str]]()
    for number, line, what in lines:
        told = what.split(", ")
        others = [rule for rule in hits if rule not in own and (sees_all or told[0] == "kept")]
        for rule in dict.fromkeys([rule for rule in told if rule != "kept"] + others):
            found += [
                (number, start, end, rule) for start, end in matches.spans(line, rule, lists[0] if lists else None)
            ]
    return found


def _duplicate(ws: Workspace, told: Cleaned, doc_id: str) -> dict[str, Any] | None:
    """The kept partner of a removed near-duplicate, by the newest deduplication that knows the document."""
    pools = sorted((p for p in (ws.root / "dedup").glob("*") if is_complete(p)), key=lambda p: -p.stat().st_mtime)
    for pool in pools:
        row = _row(pool / "removed.parquet", [("source", "=", told.source), ("id", "=", doc_id)])
        if row is not None:
            return {**row, "shared_span": _span(doc_of(told.path, doc_id), row)}
        if _row(pool / "keep.parquet", [("source", "=", told.source), ("id", "=", doc_id)]) is not None:
            return None
    return None


def _span(doc: dict[str, Any] | None, row: dict[str, Any]) -> str | None:
    """The longest run of words that a removed document shares with the kept one; None where none was stored."""
    if doc is None or not row.get("shared_words"):
        return None
    start, count = row["shared_start"], row["shared_words"]
    words = list(WORD.finditer(doc["text"]))[start : start + count]
    if not words:
        return None
    shown = words[:SHOWN_WORDS]
    more = f" … ({count} words)" if count > SHOWN_WORDS else ""
    return doc["text"][shown[0].start() : shown[-1].end()] + more


def _document(raw: Path, doc_id: str) -> dict[str, Any]:
    found = doc_of(raw, doc_id)
    if found is None:
        known: list[str] = [i for batch in read_docs(raw, ["id"]) for i in values(batch, "id")]
        told = nearest(doc_id, known if len(known) <= 20_000 else known[:20_000])
        hint, _, _ = told.partition(" Known:")
        raise MissingError(f"there is no document '{doc_id}' in {raw}, which holds {len(known):,}.{hint}")
    return found


def _row(path: Path, where: list[tuple[str, str, str]]) -> dict[str, Any] | None:
    found = read_list(path, where=where).slice(0, 1).to_pylist()
    return found[0] if found else None
