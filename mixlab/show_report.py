"""A report as one HTML file that stands alone: no script, no request; what others wrote in it is escaped.

Reads a `report.Report`, returns text. Charts are inline SVG with a description each; light and dark by the reader's
setting; on paper everything stays on white.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import altair as alt
import pandas as pd

from mixlab.report import Report
from mixlab.results import charts, charts_compare
from mixlab.results.arms import Against
from mixlab.results.pictures import svg

SHOWN_ARMS = 9
"""Arms whose mixes and curves are drawn: the reference, then the best. Tables have them all."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --faint: #59636e; --line: #d1d9e0; --card: #f6f8fa;
  --good: #116329; --bad: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --paper: #15191e; --ink: #e6edf3; --faint: #9da7b1; --line: #3d444d;
  --card: #1f252c; --good: #56d364; --bad: #ff8182; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; max-width: 74rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.4rem; border-bottom: 1px solid var(--line); }
.faint, figcaption { color: var(--faint); } figcaption { font-size: .9rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1.2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 14rem; overflow-wrap: anywhere; }
td.words, td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 12rem; }
details { margin: .8rem 0; } summary { cursor: pointer; }
.better { color: var(--good); } .worse { color: var(--bad); }
figure { margin: 1rem 0; overflow-x: auto; } svg { max-width: 100%; height: auto; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--card); padding: .6rem .8rem;
  margin: .3rem 0 1rem; }
.grid { display: flex; flex-wrap: wrap; gap: 1rem; } .grid figure { flex: 1 1 18rem; }
@media print { :root { --paper: #fff; --ink: #000; --faint: #444; --line: #bbb; --card: #fff; --good: #116329;
  --bad: #a40e26; } body { max-width: none; margin: 0; font-size: 10pt; }
  figure, tr, .card, pre { break-inside: avoid; }
  .wide, figure { overflow: visible; } h2 { break-after: avoid; } }
"""


def page(told: Report) -> str:
    """The report as HTML text."""
    drawn = _drawn(told)
    parts = [
        f"<h1>{_(told.question.get('Question') or told.title)}</h1>",
        f"<p class='faint'>{_(told.title)} · {sum(len(a.runs) for a in told.arms)} runs in {len(told.arms)} arms · "
        f"{_(told.made)}</p>",
        *(f"<p><b>{k}.</b> {_(v)}</p>" for k, v in told.question.items() if k != "Question"),
        "<h2>Verdict</h2>",
        _verdict(told),
        *(f"<p class='faint'>{_(n)}</p>" for n in told.notes),
        "<h2>Mixes</h2>",
        _mixes(told, drawn),
        "<h2>Against the first</h2>",
        _against(told),
        "<h2>Curves</h2>",
        _curves(told, drawn),
        "<h2>Samples</h2>",
        _samples(told),
        "<h2>Where it comes from</h2>",
        _lineage(told),
    ]
    body = "\n".join(parts)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{_(told.title)}: mixlab report</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main>"
        "</body></html>\n"
    )


def _verdict(told: Report) -> str:
    """The card: the advice, or how many arms are told from the first and which."""
    if told.verdict:
        first, *rest = told.verdict
        lines = "".join(f"<li>{_(s)}</li>" for s in rest)
        return f"<div class='card'><p><b>{_(first)}</b></p><ul>{lines}</ul></div>"
    shared = [a for a in told.against if a.score == "shared"]
    if not shared:
        return "<div class='card'><p><b>One arm: nothing to compare it with.</b></p></div>"
    apart = [a for a in shared if a.difference.distinguishable]
    if apart:
        best = min(apart, key=lambda a: a.difference.mean or 0.0)
        head = f"{len(apart)} of {len(shared)} arms are told from {told.arms[0].name}; furthest below: "
        head = (
            head if (best.difference.mean or 0.0) < 0 else f"{len(apart)} of {len(shared)} arms are told, all worse: "
        )
        head += f"{best.arm}, {_span(best)} bits per byte."
    else:
        head = f"Not distinguishable: no arm is told from {told.arms[0].name}."
    lines = "".join(f"<li>{_(a.arm)}: {_(_span(a))}, {_(a.words)}</li>" for a in shared)
    return f"<div class='card'><p><b>{_(head)}</b></p><ul>{lines}</ul></div>"


def _mixes(told: Report, drawn: Sequence[str]) -> str:
    mixes = [
        {"run": a.name, "source": s, "weight": w} for a in told.arms if a.name in drawn for s, w in a.weights.items()
    ]
    sources = sorted({s for a in told.arms for s in a.weights})
    head = ["arm", "seeds", "mean of shared", *(f"% {s}" for s in sources), *(f"bpb {s}" for s in told.sources)]
    rows = [
        [a.name, str(len(a.runs)), _number(a.bpb(told.shared))]
        + [f"{100 * a.weights.get(s, 0.0):.1f}" for s in sources]
        + [_number(a.bpb([s])) for s in told.sources]
        for a in told.arms
    ]
    licences = "; ".join(f"{s}: {name}" for s, name in told.licences.items())
    note = f"Shares of training tokens; held-out bits per byte, mean over seeds. Licences of the text: {licences}."
    same = len({tuple(a.weights.items()) for a in told.arms}) == 1
    chart = "" if same else _figure(charts.weights(pd.DataFrame(mixes), told.known or sources).properties(width=520))
    return chart + _table(head, rows, note)


def _against(told: Report) -> str:
    """Each arm minus the first, on the shared mean and on every shared source; drawn where the noise is known."""
    shared = [a for a in told.against if a.score == "shared"]
    if not shared:
        return "<p>There is one arm, or none shares an exam with the first.</p>"
    frame = pd.DataFrame(
        [
            {"task": a.arm, "difference": a.difference.mean, "lo": a.difference.lo, "hi": a.difference.hi}
            | {"distinguishable": a.difference.distinguishable}
            for a in sorted(shared, key=lambda a: a.difference.mean or 0.0)[: 3 * SHOWN_ARMS]
        ]
    )
    chart = charts_compare.differences(frame).properties(width=480)
    head = ["arm", "score", "difference", "95 % interval", "verdict"]
    by_source = _table(head, [_line(a) for a in told.against if a.score != "shared"], "", html_from=4)
    note = (
        f"Arm minus {told.arms[0].name}, bits per byte; below zero is better. {told.against[0].difference.method}. "
        "Without a correction for how many arms there are: of twenty alike, one is expected to look different."
    )
    table = _table(head, [_line(a) for a in shared], note, html_from=4)
    return f"{_figure(chart)}{table}<details><summary>Source by source</summary>{by_source}</details>"


def _line(a: Against) -> list[str]:
    """One comparison's cells, the last of them HTML."""
    score = "mean of shared" if a.score == "shared" else a.score
    verdict = f"<span class='{a.words.split()[0]}'>{_(a.words)}</span>"
    return [a.arm, score, _signed(a.difference.mean), _span(a), verdict]


def _curves(told: Report, drawn: Sequence[str]) -> str:
    if told.curves.empty:
        return "<p>No live scores.</p>"
    curves: Any = told.curves.loc[told.curves["group"].isin(drawn)]
    wanted = [d for d in ("macro", *told.sources) if d in set(curves["domain"])]
    figures = list[str]()
    for i, domain in enumerate(wanted):
        chart: Any = charts_compare.bands(curves, domain, list(drawn), legend=i == 0)
        figures.append(_figure(chart.properties(width=560 if i == 0 else 250, height=260 if i == 0 else 170)))
    note = "Scores during training, on less held-out text than the final ones above: curves need not end at those."
    return f"<p class='faint'>{note}</p>{figures[0]}<div class='grid'>{''.join(figures[1:])}</div>"


def _samples(told: Report) -> str:
    if not told.samples:
        return "<p>None were written: <code>evals.prompts</code> asks for them.</p>"
    return "".join(
        f"<p><b>{_(s['arm'])}</b> <span class='faint'>{_(s['run'])}</span></p>"
        f"<pre><b>{_(s['prompt'])}</b>{_(s['output'])}</pre>"
        for s in told.samples
    )


def _lineage(told: Report) -> str:
    rows = [[s["what"], s["which"], s["state"]] for s in told.lineage]
    runs = "".join(f"<li>{_(a.name)}: {', '.join(_(r) for r in a.runs)}</li>" for a in told.arms)
    note = f"Of {told.arms[0].runs[0]} in the lab {told.lab}."
    table = _table(["what", "which", "state"], rows, note, words=True)
    return f"{table}<details><summary>All runs</summary><ul>{runs}</ul></details>"


def _drawn(told: Report) -> list[str]:
    """Names of the arms that are drawn: the first, then the best of the others."""
    first, *rest = told.arms
    rest = sorted(rest, key=lambda a: a.bpb(told.shared) or float("inf"))[: SHOWN_ARMS - 1]
    return [first.name, *(a.name for a in rest)]


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], note: str, *, html_from: int | None = None, words: bool = False
) -> str:
    """A table under its note; cells from column `html_from` on are HTML already."""
    cells = "".join(f"<th scope='col'>{_(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(_cell(c, i, html_from, words) for i, c in enumerate(row)) + "</tr>" for row in rows)
    return (
        f"<p class='faint'>{_(note)}</p>"
        f"<div class='wide' tabindex='0' role='region' aria-label='{_(head[0])} by {_(head[-1])}'><table>"
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: str, column: int, html_from: int | None, words: bool) -> str:
    if html_from is not None and column >= html_from:
        return f"<td class='words'>{value}</td>"
    if column == 0:
        return f"<th scope='row'>{_(value)}</th>"
    return f"<td{' class=text' if words else ''}>{_(value)}</td>"


def _figure(chart: alt.Chart | alt.LayerChart) -> str:
    """A chart and, for those who do not see it, what it says."""
    said = chart.to_dict().get("description", "")
    return f"<figure>{svg(chart)}<figcaption>{_(str(said))}</figcaption></figure>"


def _span(a: Against) -> str:
    """The interval of a difference."""
    d = a.difference
    if d.lo is None or d.hi is None:
        return f"{_signed(d.mean)}, interval unknown"
    return f"{d.lo:+.4f} to {d.hi:+.4f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _(text: str) -> str:
    """Text that others may have written, inert; control characters and direction marks are made visible."""
    return escape("".join(c if c.isprintable() or c in "\n\t" else f"\\u{ord(c):04x}" for c in text), quote=True)


def words_of(told: Mapping[str, Any]) -> str:
    """One line on the page that was written."""
    return f"{told['path']}: {told['bytes'] / 1e3:.0f} kB, {told['runs']} runs in {told['arms']} arms"
