"""Charts of advice as Altair values: effects, attribution, drift of the best mix. Reads frames, writes nothing."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from mixlab.results.charts import MACRO_COLOUR, colours, legend_of, tall

CHANGE = "change in bits per byte"


def effects(frame: pd.DataFrame, sources: Sequence[str]) -> alt.FacetChart:
    """What one more point of each source does to each metric: bars with their 95 % intervals, a panel a metric.

    `frame` is long: metric, source, change, lo, hi, in the metrics' unit; lower is better.
    """
    x = alt.X("change:Q", title=CHANGE, axis=alt.Axis(format="+.4~f", tickCount=4))
    y = alt.Y("source:N", title=None, sort=sorted(sources))
    tips = ["source:N", *(alt.Tooltip(f"{c}:Q", format="+.5f") for c in ("change", "lo", "hi"))]
    bars = alt.Chart(frame).mark_bar(opacity=0.85).encode(x=x, y=y, color=_colour(sources), tooltip=tips)
    spans = alt.Chart(frame).mark_rule(aria=False, color=MACRO_COLOUR, strokeWidth=2).encode(x="lo:Q", x2="hi:Q", y=y)
    zero = alt.Chart(frame).mark_rule(aria=False, color=MACRO_COLOUR, strokeDash=[2, 2]).encode(x=alt.datum(0))
    best = frame.iloc[frame["change"].argmin()]
    said = f"One more point of each source: {best['source']} lowers {best['metric']} most, by {-best['change']:.4f}"
    return (
        alt.LayerChart(data=frame, layer=[bars, spans, zero])
        .properties(width=220, height=alt.Step(22))
        .facet(facet=alt.Facet("metric:N", title=None, sort=list(dict.fromkeys(frame["metric"]))), columns=3)
        .properties(description=said)
    )


def effect(frame: pd.DataFrame, metric: str, sources: Sequence[str]) -> alt.LayerChart:
    """What one more point of each source does to one metric: the panel of `effects`, as wide as its place."""
    part = frame.loc[frame["metric"] == metric]
    y = alt.Y("source:N", title=None, sort=sorted(part["source"]))
    x = alt.X("change:Q", title=f"{metric.replace('_', ' ')}: {CHANGE}", axis=alt.Axis(format="+.4~f", tickCount=4))
    tips = ["source:N", *(alt.Tooltip(f"{c}:Q", format="+.5f") for c in ("change", "lo", "hi"))]
    bars = alt.Chart(part).mark_bar(opacity=0.85).encode(x=x, y=y, color=_colour(sources, legend=False), tooltip=tips)
    spans = alt.Chart(part).mark_rule(aria=False, color=MACRO_COLOUR, strokeWidth=2).encode(x="lo:Q", x2="hi:Q", y=y)
    zero = alt.Chart(part).mark_rule(aria=False, color=MACRO_COLOUR, strokeDash=[2, 2]).encode(x=alt.datum(0))
    told = ", ".join(f"{s} {c:+.4f}" for s, c in zip(part["source"], part["change"], strict=True))
    return alt.LayerChart(layer=[bars, spans, zero]).properties(
        height=alt.Step(24), description=f"One more point of each source changes {metric}: {told}"
    )


def attribution(frame: pd.DataFrame, sources: Sequence[str]) -> alt.Chart:
    """The predicted change of each metric from one mix to another, split by source: bars that add up to it.

    `frame` is long: metric, source, part, in the metrics' unit.
    """
    metrics = list(dict.fromkeys(frame["metric"]))
    said = "; ".join(f"{m} {frame.loc[frame['metric'] == m, 'part'].sum():+.4f}" for m in metrics)
    return (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("sum(part):Q", title=CHANGE, axis=alt.Axis(format="+.3~f")),
            y=alt.Y("metric:N", title=None, sort=metrics),
            color=_colour(sources),
            tooltip=["metric:N", "source:N", alt.Tooltip("part:Q", format="+.5f")],
        )
        .properties(height=alt.Step(26), description=f"Predicted changes, by source: {said}")
    )


def drift(frame: pd.DataFrame, sources: Sequence[str]) -> alt.Chart:
    """The best mix by the length of the run: areas of 100 %. `frame` is long: times, source, weight."""
    ends: tuple[float, float] = frame["times"].min(), frame["times"].max()
    first, last = (frame.loc[frame["times"] == t] for t in ends)
    said = "; ".join(
        f"{s} from {a:.0%} to {b:.0%}" for s, a, b in zip(first["source"], first["weight"], last["weight"], strict=True)
    )
    return (
        alt.Chart(frame)
        .mark_area()
        .encode(
            x=alt.X("times:Q", title="times the tokens of these runs", scale=alt.Scale(type="log", base=2)),
            y=alt.Y("weight:Q", title="best mix", stack="normalize", axis=alt.Axis(format="%")),
            color=_colour(sources),
            tooltip=["times:Q", "source:N", alt.Tooltip("weight:Q", format=".1%")],
        )
        .properties(width=420, height=tall(sources, 280), description=f"The best mix as the run gets longer: {said}")
    )


def _colour(sources: Sequence[str], *, legend: bool = True) -> alt.Color:
    known = colours(sources)
    scale = alt.Scale(domain=list(known), range=list(known.values()))
    drawn = legend_of("source", list(known)) if legend else None
    return alt.Color("source:N", scale=scale, legend=drawn)
