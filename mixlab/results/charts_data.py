"""Charts of cleaning as Altair values: what is left, which rule took it, where its measures lie. Reads frames only."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from mixlab.results.charts import MACRO_COLOUR, OKABE_ITO

UNITS: Mapping[str, str] = {"docs": "documents", "bytes": "bytes", "tokens": "tokens"}
"""Column that can be counted -> its name."""
SPLIT = OKABE_ITO[5]
"""What a rule drops; the words of the tooltip and a dashed line at the threshold say it too."""


def waterfall(table: pd.DataFrame, unit: str = "docs", colour: str = OKABE_ITO[0]) -> alt.LayerChart:
    """What is left of one source after each step, a bar a step, labelled with its share of the first.

    `table` is a source's part of `browse.stages` or `atlas.waterfall`: source, step, docs, bytes, tokens.
    """
    frame: Any = table.assign(share=table[unit] / max(table[unit].iloc[0], 1), before=table[unit].shift(1))
    frame = frame.assign(gone=(frame["before"] - frame[unit]).fillna(0))
    steps = list(frame["step"])
    source, worst = frame["source"].iloc[0], frame.loc[frame["gone"].idxmax()]
    said = f"{source}: {frame['share'].iloc[-1]:.1%} of its {UNITS[unit]} are left"
    said += f"; '{worst['step']}' takes most, {worst['gone']:,.0f}" if worst["gone"] else "; nothing is taken"
    tips = ["step:N", *(alt.Tooltip(f"{c}:Q", format=",", title=UNITS[c]) for c in UNITS)]
    tips.append(alt.Tooltip("gone:Q", format=",", title=f"{UNITS[unit]} taken here"))
    base = alt.Chart(frame).encode(
        y=alt.Y("step:N", sort=steps, title=None, axis=alt.Axis(labelLimit=190)),
        x=alt.X(f"{unit}:Q", title=f"{UNITS[unit]} left", axis=alt.Axis(format="~s", tickCount=4)),
        tooltip=tips,
    )
    bars = base.mark_bar(color=colour)
    words = base.mark_text(align="right", dx=-4, color=_ink(colour), fontWeight="bold").encode(
        text=alt.Text("share:Q", format=".1%"), opacity=alt.condition("datum.share > 0.25", alt.value(1), alt.value(0))
    )
    return alt.LayerChart(data=frame, layer=[bars, words]).properties(height=alt.Step(24), description=said)


def kills(table: pd.DataFrame, colours: Mapping[str, str], unit: str = "docs") -> alt.Chart:
    """Shapley share of each rule in what is removed, a bar a rule, coloured by source; `table` from `atlas.kills`."""
    frame: Any = table
    worst = frame.groupby("rule")[f"shapley_{unit}"].sum().sort_values(ascending=False)
    told = f"{worst.index[0]} removes most, {worst.iloc[0]:,.0f} {UNITS[unit]}" if len(worst) else "nothing is removed"
    known = [s for s in colours if s in set(frame["source"])]
    scale = alt.Scale(domain=known, range=[colours[s] for s in known])
    return (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X(f"shapley_{unit}:Q", title=f"{UNITS[unit]} removed (Shapley share)", axis=alt.Axis(tickCount=4)),
            y=alt.Y("rule:N", sort="-x", title=None, axis=alt.Axis(labelLimit=190)),
            color=alt.Color("source:N", scale=scale, legend=alt.Legend(title="source", orient="bottom", columns=3)),
            tooltip=["source", "rule", "docs_hit", "docs_only", alt.Tooltip(f"shapley_{unit}:Q", format=",.1f")],
        )
        .properties(height=alt.Step(24), description=f"What each rule removes: {told}.")
    )


def overlap(table: pd.DataFrame) -> alt.Chart:
    """Which rules hit the same documents, as a heat map; `table` from `atlas.overlap`."""
    axis = alt.Axis(labelLimit=170)
    return (
        alt.Chart(table)
        .mark_rect()
        .encode(
            x=alt.X("rule:N", title=None, axis=axis),
            y=alt.Y("other:N", title=None, axis=axis),
            color=alt.Color("sum(docs):Q", title="documents", scale=alt.Scale(scheme="viridis")),
            tooltip=["rule", "other", "sum(docs):Q", alt.Tooltip("max(jaccard):Q", format=".2f")],
        )
        .properties(description=f"Pairs of rules that hit the same documents: {len(table)} pairs.")
    )


def measures(bars: pd.DataFrame, rule: str, now: float, moved: float | None, sense: str | None) -> alt.LayerChart:
    """Where a rule's measures lie, the threshold as a line, and the moved one dashed.

    `bars` from `switches.histogram`: low, high, docs, dropped. `sense` "min": what lies left of the line is dropped.
    """
    frame = bars.assign(passes=bars["docs"] - bars["dropped"])
    hit, all_ = sum(bars["dropped"]), sum(bars["docs"])
    said = f"{rule}: {hit:,} of {all_:,} documents lie "
    said += f"{'below' if sense == 'min' else 'above'} the threshold {now:g}"
    passes = frame.assign(verdict="passes", n=frame["passes"], under=0, over=frame["passes"])
    drops = frame.assign(verdict="dropped", n=frame["dropped"], under=frame["passes"], over=frame["docs"])
    both = pd.concat([passes, drops])
    long = both.loc[both["n"] > 0, ["low", "high", "verdict", "n", "under", "over"]]
    drawn = (
        alt.Chart(long)
        .mark_rect()
        .encode(
            x=alt.X("low:Q", title=f"what {rule} measures", axis=alt.Axis(tickCount=6)),
            x2="high:Q",
            y=alt.Y("under:Q", title="documents"),
            y2="over:Q",
            color=alt.Color(
                "verdict:N",
                scale=alt.Scale(domain=["passes", "dropped"], range=[OKABE_ITO[4], SPLIT]),
                legend=alt.Legend(title=None, orient="bottom"),
            ),
            tooltip=["verdict:N", "low:Q", "high:Q", alt.Tooltip("n:Q", format=",", title="documents")],
        )
    )
    layers = [drawn, _line(now, [1, 0])]
    if moved is not None and moved != now:
        said += f"; it is moved to {moved:g}"
        layers.append(_line(moved, [5, 4]))
    return alt.LayerChart(data=long, layer=layers).properties(description=said)


def risks(rates: pd.DataFrame, most: int = 20) -> alt.LayerChart:
    """Removal rate relative to all documents, by identity term: the highest, with 95 % intervals; 1 is no difference.

    `rates` from `audit.Audit.rates`, one rule; terms without a risk are left out.
    """
    told: Any = rates.dropna(subset=["relative_risk"]).sort_values("relative_risk", ascending=False).head(most)
    base = alt.Chart(told).encode(
        y=alt.Y("term:N", sort=list(told["term"]), title=None),
        tooltip=["source", "term", "docs", "removed", *(alt.Tooltip(f"{c}:Q", format=".2f") for c in RISK)],
    )
    x = alt.X("relative_risk:Q", title="removed, times the rate of all documents", scale=alt.Scale(type="log"))
    points = base.mark_point(filled=True, size=60, color=OKABE_ITO[0]).encode(x=x)
    spans = base.mark_rule(aria=False, color=OKABE_ITO[0], opacity=0.6).encode(x="risk_low:Q", x2="risk_high:Q")
    loud = int((told["risk_low"] > 1).sum())
    said = f"{loud} of {len(told)} terms are removed more often than chance allows"
    return alt.LayerChart(data=told, layer=[_line(1.0, [5, 4]), spans, points]).properties(description=said)


RISK = ("relative_risk", "risk_low", "risk_high")


def _ink(colour: str) -> str:
    """Black or white, whichever reads better on this colour (#rrggbb; WCAG 2.2 relative luminance).

    >>> _ink("#0072B2"), _ink("#E69F00")
    ('white', '#12181F')
    """
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    light = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "white" if 1.05 / (light + 0.05) > 4.5 else "#12181F"


def _line(at: float, dash: list[int]) -> alt.Chart:
    return (
        alt.Chart(pd.DataFrame({"at": [at]}))
        .mark_rule(aria=False, color=MACRO_COLOUR, strokeWidth=2.5, strokeDash=dash)
        .encode(x="at:Q")
    )
