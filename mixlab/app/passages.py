"""Text of documents with marked spans: one Streamlit component (v2) that sets textContent only, drawn by passages.js.

No text of a document becomes markdown or HTML, and control and direction characters are written out (`lab.visible`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamlit.components.v2 import component

from mixlab.app.lab import visible
from mixlab.data.beside import Part
from mixlab.data.explain import Explained

HERE = Path(__file__).parent
_TEXT = component(
    "mixlab_passages",
    html="<div id='root' role='region' tabindex='0'></div>",
    js=(HERE / "passages.js").read_text(encoding="utf-8"),
    css=(HERE / "passages.css").read_text(encoding="utf-8"),
)
PAGE_LINES = 150
LONGEST = 4000
"""Characters of one line that are shown; the part with the first marked span, if there is one."""
BEFORE = 400


def passages(lines: Sequence[Mapping[str, Any]], *, label: str, key: str) -> None:
    """Draws lines: n (number or None), parts [(text, kind)], note, gone. `label` names the region to be heard."""
    _TEXT(key=key, data={"lines": list(lines), "label": label})


def lines_of(found: Explained, page: int) -> list[dict[str, Any]]:
    """One page, from 1, of a document line by line: what was done to each, and the spans that a rule looks for."""
    spans: dict[int, list[tuple[int, int, str]]] = {}
    for number, start, end, rule in found.spans:
        spans.setdefault(number, []).append((start, end, rule))
    chosen = found.lines[(page - 1) * PAGE_LINES : page * PAGE_LINES]
    return [_line(number, text, what, sorted(spans.get(number, []))) for number, text, what in chosen]


def page_of_first_span(found: Explained) -> int:
    """The page on which the rule that drops the document finds something; 1 if nothing is found."""
    mine = [n for n, _, _, rule in found.spans if rule == found.reason] or [n for n, *_ in found.spans if found.reason]
    return 1 + (mine[0] - 1) // PAGE_LINES if mine else 1


def pages_of(found: Explained) -> int:
    """Number of pages of a document's lines, at least 1."""
    return max(1, -(-len(found.lines) // PAGE_LINES))


def beside(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The parts of one text of a pair as lines, without numbers."""
    lines: list[list[list[str]]] = [[]]
    for text, kind in parts:
        first, *more = text.split("\n")
        lines[-1].append([visible(first), kind])
        lines += [[[visible(one), kind]] for one in more]
    told = [{"n": None, "parts": [p for p in line if p[0]], "note": "", "gone": False} for line in lines]
    return told[: 3 * PAGE_LINES]


def _line(number: int, text: str, what: str, spans: Sequence[tuple[int, int, str]]) -> dict[str, Any]:
    """One line for the component; overlapping spans are joined, a very long line is cut to the part that matters."""
    first = spans[0][0] if spans else 0
    begin = max(0, first - BEFORE) if len(text) > LONGEST else 0
    stop = min(len(text), begin + LONGEST)
    parts, at = list[list[str]](), begin
    for start, end, _ in spans:
        start, end = max(start, at), min(end, stop)
        if end > start:
            parts += [[text[at:start], ""], [text[start:end], "match"]]
            at = end
    parts.append([text[at:stop], ""])
    cut = [*([["… ", ""]] if begin else []), *parts, *([[" …", ""]] if stop < len(text) else [])]
    rules = [rule for rule in dict.fromkeys([*what.split(", "), *(rule for _, _, rule in spans)]) if rule != "kept"]
    told = [[visible(said), kind] for said, kind in cut if said]
    note = ", ".join(rules) if text.strip() else ""  # a blank line is no loss
    return {"n": number, "parts": told, "note": note, "gone": not what.startswith("kept")}
