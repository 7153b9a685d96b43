"""Charts of mixes against each other as Altair values: points moved, seed bands, differences, task scores with floors.

Reads frames of results/versus.py, writes nothing. Groups (runs alike but for their seed) look as runs do in charts.py.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from mixlab.results.charts import DASHES, MACRO_COLOUR, OKABE_ITO, STROKES, TOL_MUTED, colours
from mixlab.results.contest import LOWER_IS_BETTER

SAID = {True: "told apart", False: "not distinguishable"}
FLOOR_LIMIT = 6  # tasks whose floors are said in words


def points(moved: pd.DataFrame, sources: Sequence[str]) -> alt.LayerChart:
    """How far each source's share moves, in percentage points: a bar a source. `moved`: source, points."""
    x = alt.X("points:Q", title="percentage points of the training tokens", axis=alt.Axis(format="+.3~f"))
    y = alt.Y("source:N", title=None, sort=sorted(moved["source"]))
    known = colours(sources)
    scale = alt.Scale(domain=list(known), range=list(known.values()))
    bars = (
        alt.Chart(moved)
        .mark_bar()
        .encode(x=x, y=y, color=alt.Color("source:N", scale=scale, legend=None), tooltip=_tips("source", "points"))
    )
    zero = alt.Chart(moved).mark_rule(aria=False, color=MACRO_COLOUR).encode(x=alt.datum(0))
    said = ", ".join(f"{s} {p:+.1f}" for s, p in zip(moved["source"], moved["points"], strict=True))
    return alt.LayerChart(layer=[bars, zero]).properties(
        height=alt.Step(26), description=f"Change of shares in percentage points: {said}"
    )


def bands(curves: pd.DataFrame, domain: str, groups: Sequence[str], *, legend: bool = True) -> alt.LayerChart:
    """Mean bits per byte over seeds by training tokens, a band from the lowest to the highest seed, a line a group.

    `curves`: group, domain, tokens, mean, low, high, n. `groups` fixes colours and dashes, so that charts side by side
    agree; the legend shows how many seeds stand behind each.
    """
    part: Any = curves.loc[curves["domain"] == domain]
    seeds = {g: int(part.loc[part["group"] == g, "n"].max()) if (part["group"] == g).any() else 0 for g in groups}
    names = {g: f"{g} (n = {seeds[g]})" for g in groups}
    part = part.assign(line=[names[g] for g in part["group"]]) if len(part) else part.assign(line=[])
    title = "mean bits per byte" if domain == "macro" else f"bits per byte on {domain}"
    drawn = alt.Legend(title="mix", orient="bottom", columns=1, labelLimit=280, symbolLimit=0, **STROKES)
    shown = list(names.values())
    colour = alt.Color(
        "line:N",
        scale=alt.Scale(domain=shown, range=[TOL_MUTED[i % len(TOL_MUTED)] for i in range(len(shown))]),
        legend=drawn if legend else None,
    )
    dash = alt.StrokeDash(
        "line:N",
        scale=alt.Scale(domain=shown, range=[DASHES[i % len(DASHES)] for i in range(len(shown))]),
        legend=drawn if legend else None,
    )
    x = alt.X("tokens:Q", title="training tokens", axis=alt.Axis(format="~s", tickCount=5))
    scale = alt.Scale(zero=False)
    base = alt.Chart(part).encode(x=x, color=colour)
    area = base.mark_area(opacity=0.25).encode(y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q")
    tips = [*_tips("line", "mean", "low", "high", digits=4), alt.Tooltip("n:Q", title="seeds")]
    line = base.mark_line(point=len(part) <= 200).encode(
        y=alt.Y("mean:Q", title=title, scale=scale), strokeDash=dash, tooltip=tips
    )
    ends: Any = part.sort_values("tokens").groupby("group")["mean"].last() if len(part) else {}
    said = "; ".join(f"{g} ends at {ends[g]:.3f}, {seeds[g]} seeds" for g in groups if g in ends)
    return alt.LayerChart(layer=[area, line]).properties(description=f"Held-out {title}: {said or 'no values yet'}")


def differences(scores: pd.DataFrame) -> alt.LayerChart:
    """Paired differences, b minus a, with their 95 % intervals: hollow where they include zero.

    `scores`: task, difference, lo, hi (None where the noise is unknown), distinguishable.
    """
    told = scores.assign(said=[SAID[bool(d)] for d in scores["distinguishable"]])
    y = alt.Y("task:N", title=None, sort=list(told["task"]), axis=alt.Axis(labelLimit=180))
    title = "b minus a"
    x = alt.X("difference:Q", title=title, axis=alt.Axis(format="+.3~f", tickCount=5))
    scale = alt.Scale(domain=list(SAID.values()), range=[OKABE_ITO[0], MACRO_COLOUR])
    legend = alt.Legend(title=None, orient="bottom")
    base = alt.Chart(told).encode(y=y, color=alt.Color("said:N", scale=scale, legend=legend))
    spans = base.mark_rule(aria=False, strokeWidth=2).encode(x=alt.X("lo:Q", title=title), x2="hi:Q")
    shape = alt.Shape("said:N", scale=alt.Scale(domain=list(SAID.values()), range=["circle", "diamond"]), legend=legend)
    dots = base.mark_point(filled=True, size=90).encode(
        x=x, shape=shape, tooltip=[*_tips("task", "difference", "lo", "hi", digits=4, sign="+"), alt.Tooltip("said:N")]
    )
    zero = alt.Chart(told).mark_rule(aria=False, color=MACRO_COLOUR, strokeDash=[2, 2]).encode(x=alt.datum(0))
    apart = [str(t) for t, d in zip(told["task"], told["distinguishable"], strict=True) if d]
    said = f"{len(apart)} of {len(told)} differences clear zero" + (f": {', '.join(apart[:6])}" if apart else "")
    return alt.LayerChart(layer=[zero, spans, dots]).properties(height=alt.Step(26), description=said)


def task_scores(scores: pd.DataFrame, floors: pd.DataFrame, groups: Sequence[str], metric: str) -> alt.LayerChart:
    """Scores of tasks with 95 % intervals, and their floors: what the untrained model and the text alone reach.

    `scores`: task, group, value, lo, hi; `floors`: task, floor, value. Floors are ticks across the task's row, named in
    the legend by their dashes.
    """
    names = list(groups)
    y = alt.Y("task:N", title=None, sort=sorted(set(scores["task"])), axis=alt.Axis(labelLimit=180))
    palette = alt.Scale(domain=names, range=[TOL_MUTED[i % len(TOL_MUTED)] for i in range(len(names))])
    base = alt.Chart(scores).encode(
        y=y, yOffset=alt.YOffset("group:N", sort=names),
        color=alt.Color("group:N", scale=palette, legend=alt.Legend(title="run", orient="bottom", columns=1)),
    )  # fmt: skip
    drawn: Any = pd.concat([*(scores[c].astype(float) for c in ("value", "lo", "hi")), floors["value"]])
    least, most = drawn.min(), drawn.max()  # one value makes no axis: a share lies between 0 and 1
    scale = alt.Scale(domain=[min(0.0, least), max(1.0, most)]) if least == most else alt.Scale(zero=False)
    x = alt.X("value:Q", title=metric, scale=scale)
    spans = base.mark_rule(aria=False, strokeWidth=2).encode(x=alt.X("lo:Q", title=metric), x2="hi:Q")
    dots = base.mark_point(filled=True, size=70).encode(
        x=x, tooltip=_tips("task", "group", "value", "lo", "hi", digits=4)
    )
    kinds = sorted(set(floors["floor"]), key=lambda k: (k != "untrained", k))
    shapes = alt.Scale(domain=kinds, range=["stroke", "triangle-up", "cross", "square", "triangle-down"][: len(kinds)])
    legend = alt.Legend(title="floor", orient="bottom", columns=2, symbolStrokeColor=MACRO_COLOUR)
    ticks = (
        alt.Chart(floors)
        .mark_point(size=160, color=MACRO_COLOUR, strokeWidth=2, angle=90)
        .encode(
            y=y, x=x, shape=alt.Shape("floor:N", scale=shapes, legend=legend), tooltip=_tips("task", "floor", "value")
        )
    )
    best_of = "min" if metric.startswith(LOWER_IS_BETTER) else "max"
    worst: Any = floors.groupby("task")["value"].agg(best_of) if len(floors) else {}
    best: Any = scores.groupby("task")["value"].agg(best_of)
    said = [f"{t} {best[t]:.3f} (floor {worst[t]:.3f})" if t in worst else f"{t} {best[t]:.3f}" for t in best.index]
    more = f"; and {len(said) - FLOOR_LIMIT} more" if len(said) > FLOOR_LIMIT else ""
    layers = [spans, dots] if floors.empty else [spans, dots, ticks]
    return alt.LayerChart(layer=layers).properties(
        height=alt.Step(22 * max(1, len(names))), description=f"Best {metric}: {'; '.join(said[:FLOOR_LIMIT])}{more}"
    )


def _tips(*fields: str, digits: int = 3, sign: str = "") -> list[alt.Tooltip]:
    """What hovering shows: numbers with so many digits, names as they are."""
    words = ("task", "group", "line", "source", "floor")
    return [alt.Tooltip(f"{f}:N") if f in words else alt.Tooltip(f"{f}:Q", format=f"{sign}.{digits}f") for f in fields]
