"""Charts of many mixes as Altair values: ternary, parallel coordinates, Pareto front, doses, predicted against seen.

Reads frames of results/landscape.py, writes nothing. Loss is drawn in viridis, the brightest for the lowest. Where the
chart can be clicked it has a selection `pick` on `run_id`.
"""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from mixlab.results.charts import MACRO_COLOUR, OKABE_ITO, colours
from mixlab.results.landscape import REST

PICK = "pick"
TOP = math.sqrt(3) / 2
CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.5, TOP))
FEW = 60  # runs whose lines have a point on each axis; of more, points cover the lines
ROOM = 0.14  # of the triangle's side, for the names of the corners


def ternary(placed: pd.DataFrame, corners: Sequence[str], score: str) -> alt.LayerChart:
    """Mixes in the triangle of three sources: colour for the score, size for the share of the rest.

    `placed`: `landscape.ternary` with `label`, the three `w_<source>`, `rest` and the column `score` (lower is better).
    """
    edge = pd.DataFrame({"x": [0, 1, 0.5, 0], "y": [0, 0, TOP, 0], "order": [0, 1, 2, 3]})
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-ROOM, 1 + ROOM]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-ROOM, TOP + ROOM]))
    triangle = alt.Chart(edge).mark_line(color=MACRO_COLOUR).encode(x=x, y=y, order="order:O")
    known = [
        alt.Chart(pd.DataFrame({"x": [cx], "y": [cy + (0.06 if cy else -0.06)], "name": [name]}))
        .mark_text(fontSize=13, fontWeight="bold", color=MACRO_COLOUR)
        .encode(x=x, y=y, text="name:N")
        for name, (cx, cy) in zip(corners, CORNERS, strict=True)
    ]
    shares = [alt.Tooltip(f"w_{s}:Q", title=s, format=".1%") for s in corners]
    tips = ["label:N", *shares, alt.Tooltip(f"{REST}:Q", format=".1%"), alt.Tooltip(f"{score}:Q", format=".4f")]
    shown: Any = placed[["run_id", "label", "x", "y", REST, score, *(f"w_{s}" for s in corners)]]  # of sixty columns
    size = alt.Size(f"{REST}:Q", title="rest", scale=alt.Scale(domain=[0, 1], range=[70, 500]), legend=None)
    points = _pickable(
        alt.Chart(shown)
        .mark_point(filled=True, stroke=MACRO_COLOUR, strokeWidth=1)
        .encode(x=x, y=y, size=size, color=_loss(score), tooltip=tips)
    )
    best = placed.iloc[placed[score].argmin()]
    where = ", ".join(f"{s} {best[f'w_{s}']:.0%}" for s in corners)
    said = f"{len(placed)} mixes of {', '.join(corners)}: lowest {named(score)} {best[score]:.3f} at {where}"
    return alt.LayerChart(layer=[triangle, *known, points]).properties(height=440, description=said)


def parallel(lines: pd.DataFrame, axes: Sequence[str]) -> alt.LayerChart:
    """Parallel coordinates: a line a run over the axes, each from its least to its greatest value, coloured by loss.

    `lines`: `landscape.parallel`. The ends of each axis stand at its top and bottom.
    """
    titles = {a: named(a) for a in axes}
    told = lines.assign(axis=[titles[a] for a in lines["axis"]])
    x = alt.X(
        "axis:N",
        sort=list(titles.values()),
        title=None,
        axis=alt.Axis(labelAngle=-45, labelOverlap=False, grid=True, domain=False),
    )
    y = alt.Y("at:Q", axis=None, scale=alt.Scale(domain=[-0.08, 1.08]))
    few = len(set(lines["run_id"])) <= FEW
    tips = ["label:N", "axis:N", alt.Tooltip("value:Q", format=".4~f"), alt.Tooltip("loss:Q", format=".4f")]
    drawn = _pickable(
        alt.Chart(told)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=35) if few else False)
        .encode(x=x, y=y, detail="run_id:N", color=_loss("loss", "mean bpb"), tooltip=tips)
    )
    ends: Any = lines.groupby("axis", sort=False)["value"].agg(["min", "max"]).reset_index()
    shares = [str(a).startswith("w_") for a in ends["axis"]]
    ends["axis"] = [titles[a] for a in ends["axis"]]
    ticks = pd.concat(
        [
            ends[["axis"]].assign(
                at=at, text=[f"{v:.0%}" if s else short(v) for v, s in zip(ends[column], shares, strict=True)]
            )
            for column, at in (("min", -0.06), ("max", 1.06))
        ]
    )
    labels = alt.Chart(ticks).mark_text(fontSize=11, color=MACRO_COLOUR).encode(x=x, y=y, text="text:N")
    runs, first = lines["run_id"].nunique(), lines.loc[lines["loss"].idxmin(), "label"] if len(lines) else "none"
    said = f"{runs} runs over {len(titles)} axes that differ: {', '.join(titles.values())}; {first} has the lowest loss"
    return alt.LayerChart(layer=[drawn, labels]).properties(height=400, description=said)


def pareto(told: pd.DataFrame, x: str, y: str) -> alt.LayerChart:
    """Runs by two scores, both better when lower: those that no other beats on both are joined.

    `told`: `landscape.pareto`, with `label`.
    """
    columns = dict.fromkeys(["run_id", "label", x, y, "is_best"])  # a run has sixty: the browser reads them all
    frame = told[[*columns]].assign(kind=["on the front" if b else "beaten on both" for b in told["is_best"]])
    front = frame.loc[frame["is_best"]].sort_values(x)
    scale = alt.Scale(zero=False, padding=8)
    at_x = alt.X(f"{x}:Q", title=titled(x), scale=scale, axis=alt.Axis(tickCount=5))
    at_y = alt.Y(f"{y}:Q", title=titled(y), scale=scale)
    steps = alt.Chart(front).mark_line(interpolate="step-after", color=OKABE_ITO[0], strokeDash=[4, 3])
    kinds = ["on the front", "beaten on both"]
    legend = alt.Legend(title=None, orient="bottom")
    points = _pickable(
        alt.Chart(frame)
        .mark_point(filled=True, size=80)
        .encode(
            x=at_x,
            y=at_y,
            color=alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=[OKABE_ITO[0], MACRO_COLOUR]), legend=legend),
            shape=alt.Shape("kind:N", scale=alt.Scale(domain=kinds, range=["circle", "diamond"]), legend=legend),
            tooltip=["label:N", alt.Tooltip(f"{x}:Q", format=".4f"), alt.Tooltip(f"{y}:Q", format=".4f"), "kind:N"],
        )
    )
    names = ", ".join(dict.fromkeys(front["label"].head(6)))
    said = f"{len(front)} of {len(frame)} runs on the front of {named(x)} and {named(y)}: {names}"
    return alt.LayerChart(layer=[steps.encode(x=at_x, y=at_y), points]).properties(height=320, description=said)


def dose(told: pd.DataFrame, source: str, sources: Sequence[str], score: str) -> alt.Chart:
    """Share of one source against one score. `told`: `landscape.doses`, of all sources."""
    part = told.loc[told["source"] == source]
    tie = part["weight"].corr(part["value"], method="spearman") if part["weight"].nunique() > 1 else None
    said = "all shares alike" if tie is None else f"rank correlation {tie:+.2f}"
    return (
        alt.Chart(part)
        .mark_point(filled=True, size=50, color=colours(sources)[source])
        .encode(
            x=alt.X("weight:Q", title=f"share of {source}", axis=alt.Axis(format="%", tickCount=5)),
            y=alt.Y("value:Q", title=named(score), scale=alt.Scale(zero=False, padding=6)),
            tooltip=["label:N", alt.Tooltip("weight:Q", format=".1%"), alt.Tooltip("value:Q", format=".4f")],
        )
        .properties(height=190, description=f"Share of {source} against {named(score)}: {said}")
    )


def unseen(told: pd.DataFrame, scheme: str) -> alt.LayerChart:
    """Scores of runs as fits that had not seen them foretold, against what came out; the line of equality between.

    `told`: name, predicted, lo, hi (95 %), realised, in bits per byte.
    """
    low, high = min([*told["lo"], *told["realised"]]), max([*told["hi"], *told["realised"]])
    x = alt.X("realised:Q", title="realised bits per byte", scale=alt.Scale(zero=False))
    title = "predicted, this run left out"
    tips = ["name:N", *(alt.Tooltip(f"{c}:Q", format=".4f") for c in ("predicted", "lo", "hi", "realised"))]
    base = alt.Chart(told).encode(x=x)
    points = base.mark_point(filled=True, size=70, color=OKABE_ITO[0]).encode(
        y=alt.Y("predicted:Q", title=title, scale=alt.Scale(zero=False)), tooltip=tips
    )
    spans = base.mark_rule(aria=False, color=OKABE_ITO[0], opacity=0.5).encode(y=alt.Y("lo:Q", title=title), y2="hi:Q")
    equal = (
        alt.Chart(pd.DataFrame({"realised": [low, high], "predicted": [low, high]}))
        .mark_line(color=MACRO_COLOUR, strokeDash=[4, 4])
        .encode(x="realised:Q", y="predicted:Q")
    )
    inside = sum(a <= v <= b for a, v, b in zip(told["lo"], told["realised"], told["hi"], strict=True))
    said = f"Predicted against realised ({scheme}): {inside} of {len(told)} inside their 95 % interval"
    return alt.LayerChart(layer=[equal, spans, points]).properties(height=320, description=said)


def named(column: str) -> str:
    """A column of runs in words for an axis.

    >>> named("bpb_macro"), named("bpb_code"), named("w_code"), named("target_tokens")
    ('mean bpb', 'bpb code', 'share code', 'target tokens')
    """
    if column == "bpb_macro":
        return "mean bpb"
    return (f"share {column[2:]}" if column.startswith("w_") else column).replace("_", " ")


def titled(score: str) -> str:
    """A score as the title of an axis.

    >>> titled("bpb_macro"), titled("bpb_code")
    ('mean bits per byte', 'bits per byte on code')
    """
    return "mean bits per byte" if score == "bpb_macro" else f"bits per byte on {score[4:]}"


def short(value: float) -> str:
    """A number for the end of an axis.

    >>> short(0.25), short(2.51327), short(300000.0)
    ('0.25', '2.51', '3e+05')
    """
    return f"{value:.3g}"


def _loss(field: str, title: str | None = None) -> alt.Color:
    """Viridis, the brightest for the lowest loss."""
    scale = alt.Scale(scheme="viridis", reverse=True, zero=False)
    return alt.Color(
        f"{field}:Q", title=title or named(field), scale=scale, legend=alt.Legend(orient="bottom", format=".3~f")
    )


def _pickable(chart: alt.Chart) -> alt.Chart:
    """The chart with a click that picks a run."""
    pick = alt.selection_point(name=PICK, fields=["run_id"])
    return chart.encode(opacity=alt.condition(pick, alt.value(1.0), alt.value(0.35)), detail="run_id:N").add_params(
        pick
    )
