"""Charts as Altair values, shared by the app and the notebooks. Reads frames, writes nothing.

A source has one colour on every chart, fixed by when it came to the lab (results/catalogue.py): one that comes later
changes no other's. Sixteen can be told apart by colour-blind eyes; the seventeenth takes the first's again. Runs are
told apart by a second palette (Tol muted) and by dashes: no meaning hangs on colour alone.
Each chart carries its takeaway in `description`, which screen readers say, in the app and in a notebook.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8C8C8C")
"""Okabe & Ito (2008), black replaced by grey: it must show on dark paper too."""
OF_SOURCES = (
    *OKABE_ITO[:7],
    *("#A51E2D", "#96E1B4", "#A50F69", "#87E1E1", "#3C87FF", "#5A3CA0", "#C3B478", "#964B5A", "#D2A5B4"),
)
"""Okabe & Ito's but for the grey, then those farthest from all before them (CIEDE2000), as eyes without red or green
cones see them too (Machado 2009), and that show on white and on dark paper."""
TOL_MUTED = ("#CC6677", "#6699CC", "#999933", "#AA4499", "#44AA99", "#DDCC77", "#882255", "#88CCEE", "#117733")
"""Paul Tol's muted scheme, indigo replaced by a lighter blue for dark paper."""
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
STROKES: dict[str, Any] = {"symbolType": "stroke", "symbolStrokeWidth": 2.5, "symbolSize": 500, "symbolOpacity": 1}
"""A legend of lines shows lines, dashes included."""
MACRO = "macro"
"""The unweighted mean over sources; drawn in grey, it is no source."""
MACRO_COLOUR = "#8C8C8C"
ROW, SYMBOL = 42, 6
"""Characters that a legend has room for in a row 350 px wide, and how many of them a symbol takes."""
PLOT_PX, LEGEND_PX = 310, 24
"""Height of a chart of sources with its axis, in which pages fit the legend too, and of each of the legend's rows."""
SMOOTH = 50
"""The running mean of the training loss takes one in this many of a run's points on either side."""
SPANS = 300
"""Stretches of a long line of which the lowest and highest point are drawn: about three pixels of a wide chart each."""


def colours(sources: Sequence[str]) -> dict[str, str]:
    """Source -> its colour, by name. `sources`: all of the lab, the oldest first (`catalogue.source_order`).

    >>> colours(["wiki", "code"])
    {'code': '#E69F00', 'wiki': '#0072B2'}
    """
    known = {s: OF_SOURCES[i % len(OF_SOURCES)] for i, s in enumerate(dict.fromkeys(sources))}
    return dict(sorted(known.items()))


def run_bpb(scores: pd.DataFrame, sources: Sequence[str]) -> alt.Chart:
    """One run: held-out bits per byte of every source by training tokens, a line a source.

    `scores` is long: run, tokens, domain (a source or `macro`), value in bits per byte.
    """
    known = {**colours(sources), MACRO: MACRO_COLOUR}
    shown = [d for d in known if d in set(scores["domain"])]
    return (
        _lines(scores, _value("bits per byte"))
        .encode(
            color=alt.Color(
                "domain:N", scale=_scale(shown, [known[d] for d in shown]), legend=legend_of("source", shown)
            ),
            strokeDash=alt.StrokeDash("domain:N", scale=_dashes(shown), legend=legend_of("source", shown, **STROKES)),
            tooltip=[alt.Tooltip("domain:N", title="source"), *_TOOLTIP],
        )
        .properties(
            height=tall(shown), description=_alt_curves("Held-out bits per byte by training tokens", scores, "domain")
        )
    )


def domain_bpb(scores: pd.DataFrame, domain: str, runs: Sequence[str], *, legend: bool = True) -> alt.Chart:
    """Several runs on one domain: bits per byte by training tokens, a line a run.

    `runs` fixes colours and dashes, so that charts drawn side by side agree; columns as in `run_bpb`.
    """
    title = "mean bits per byte" if domain == MACRO else f"bits per byte on {domain}"
    frame = scores.loc[scores["domain"] == domain]
    return _run_lines(frame, runs, title, legend).properties(
        description=_alt_curves(f"Held-out {title} by training tokens", frame, "run")
    )


def loss(metrics: pd.DataFrame, runs: Sequence[str]) -> alt.LayerChart:
    """Training loss in nats per token by training tokens: raw values faint, a running mean over them.

    `metrics` is long: run, tokens, value. Where few points stand, the two agree; of many the extremes are drawn.
    """
    side = _side(metrics, runs)
    told = metrics.sort_values("tokens", ignore_index=True)
    means = told.groupby("run", sort=False)["value"]
    told["smooth"] = means.transform(lambda v: v.rolling(2 * side + 1, center=True, min_periods=1).mean())
    title = "loss (nats per token)"  # of both layers, else neither has one
    raw = _run_lines(extremes(told), runs, title, legend=True).mark_line(point=False)
    smooth = raw.encode(y=_value(title, field="smooth"))
    return alt.LayerChart(layer=[raw.mark_line(opacity=0.25, point=False), smooth]).properties(
        description=_alt_curves("Training loss by training tokens", metrics, "run")
    )


def said_of_loss(metrics: pd.DataFrame, runs: Sequence[str]) -> str:
    """What the two lines of a run in `loss` are, and whether every step is drawn; for a caption below the chart."""
    side = _side(metrics, runs)
    told = f"Faint: as logged; full: mean over {2 * side + 1} logged steps." if side else "As logged."
    if (drawn := len(extremes(metrics))) == len(metrics):
        return told
    return f"{told} Drawn are the lowest and highest of each stretch, {drawn:,} of {len(metrics):,} points."


def extremes(lines: pd.DataFrame, spans: int = SPANS) -> pd.DataFrame:
    """The rows (run, tokens, value, …) that a chart needs: the lowest and highest value in each of `spans` equal spans.

    Of lines with more than two points a span; spikes stay, and so do both ends and what is no number.
    """
    told: Any = lines.reset_index(drop=True)
    kept = list[int]()
    for _, line in told.groupby("run", sort=False):
        if len(line) <= 2 * spans:
            kept += list(line.index)
            continue
        tokens: pd.Series[float] = line["tokens"]
        at = pd.cut(tokens, spans, labels=False)
        within = line["value"].dropna().groupby(at)
        ends: list[Any] = [tokens.idxmin(), tokens.idxmax()]
        missing = line.index[line["value"].isna()]
        kept += sorted(map(int, {*within.idxmin(), *within.idxmax(), *ends, *missing}))
    return told.loc[kept]


def weights(mixes: pd.DataFrame, sources: Sequence[str]) -> alt.Chart:
    """Mixtures as bars of 100 %, a bar a run. `mixes` is long: run, source, weight (share of training tokens, 0-1).

    ValueError: a run has two weights of one source, which would be drawn as one bar of 200 %.
    """
    if mixes.duplicated(["run", "source"]).any():
        twice = mixes.loc[mixes.duplicated(["run", "source"]), "run"].iloc[0]
        raise ValueError(f"two mixes are called '{twice}': name each bar differently, such as by its run_id")
    known = colours(sources)
    names = list(dict.fromkeys(mixes["run"]))
    said = "; ".join(_said_mix(name, mixes) for name in names[:4])
    return (
        alt.Chart(mixes)
        .mark_bar()
        .encode(
            x=alt.X(
                "weight:Q", title="share of training tokens", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])
            ),
            y=alt.Y("run:N", title=None, sort=names, axis=alt.Axis(labelLimit=140)),
            color=alt.Color(
                "source:N", scale=_scale(list(known), list(known.values())), legend=legend_of("source", list(known))
            ),
            order=alt.Order("source:N"),
            tooltip=["run:N", "source:N", alt.Tooltip("weight:Q", format=".1%")],
        )
        .properties(height=alt.Step(26), description=f"Mixtures: {said}")
    )


def predicted_vs_realised(mixes: pd.DataFrame) -> alt.LayerChart:
    """Predicted against realised bits per byte with the line of equality and each prediction's interval.

    `mixes`: name, predicted, lo, hi, realised, all in bits per byte.
    """
    inside = sum(lo <= x <= hi for lo, x, hi in zip(mixes["lo"], mixes["realised"], mixes["hi"], strict=True))
    least, most = min([*mixes["lo"], *mixes["realised"]]), max([*mixes["hi"], *mixes["realised"]])
    base = alt.Chart(mixes).encode(x=_value("realised bits per byte", "realised", alt.X))
    points = base.mark_point(filled=True, size=70, color=OKABE_ITO[0]).encode(
        y=_value("predicted bits per byte", "predicted"),
        tooltip=["name:N", *(alt.Tooltip(f"{c}:Q", format=".3f") for c in ("predicted", "lo", "hi", "realised"))],
    )
    spans = base.mark_rule(aria=False, color=OKABE_ITO[0], opacity=0.6).encode(
        y=_value("predicted bits per byte", "lo"), y2="hi:Q"
    )
    equal = (
        alt.Chart(pd.DataFrame({"realised": [least, most], "predicted": [least, most]}))
        .mark_line(color=MACRO_COLOUR, strokeDash=[4, 4])
        .encode(x="realised:Q", y="predicted:Q")
    )
    said = f"Predicted against realised bits per byte: {inside} of {len(mixes)} inside the predicted interval"
    return alt.LayerChart(layer=[equal, spans, points]).properties(description=said)


def legend_of(title: str, names: Sequence[str], **look: Any) -> alt.Legend:
    """A legend below the chart: one row where a telephone has room for it, else two columns (one for up to three)."""
    return alt.Legend(title=title, orient="bottom", columns=_columns(names), labelLimit=170, symbolLimit=0, **look)


def tall(names: Sequence[str], plot: int = PLOT_PX) -> int:
    """Height of a chart that leaves its plot alike whatever number of names its legend has.

    >>> tall(["a", "b"]), tall(["a long name"] * 16)
    (334, 502)
    """
    return plot + LEGEND_PX * -(-len(names) // _columns(names))


def _columns(names: Sequence[str]) -> int:
    is_short = sum(len(name) + SYMBOL for name in names) <= ROW
    return max(1, len(names)) if is_short else 1 if len(names) <= 3 else 2


_TOOLTIP = [alt.Tooltip("tokens:Q", format=",", title="tokens"), alt.Tooltip("value:Q", format=".4f", title="value")]


def _side(metrics: pd.DataFrame, runs: Sequence[str]) -> int:
    """Points on either side that the running mean of a run's loss takes."""
    return len(metrics) // max(1, len(runs)) // SMOOTH


def _lines(frame: pd.DataFrame, y: alt.Y) -> alt.Chart:
    x = alt.X("tokens:Q", title="training tokens", axis=alt.Axis(format="~s", tickCount=5))
    return alt.Chart(frame).mark_line(point=len(frame) <= 200).encode(x=x, y=y)


def _run_lines(frame: pd.DataFrame, runs: Sequence[str], title: str, legend: bool) -> alt.Chart:
    names, drawn = list(runs), legend_of("run", runs, **STROKES) if legend else None
    palette = [TOL_MUTED[i % len(TOL_MUTED)] for i in range(len(names))]
    return _lines(frame, _value(title)).encode(
        color=alt.Color("run:N", scale=_scale(names, palette), legend=drawn),
        strokeDash=alt.StrokeDash("run:N", scale=_dashes(names), legend=drawn),
        tooltip=["run:N", *_TOOLTIP],
    )


def _value(title: str, field: str = "value", axis: Any = alt.Y) -> Any:
    """An axis for a quantity of which the differences matter: it need not start at zero."""
    return axis(f"{field}:Q", title=title or None, scale=alt.Scale(zero=False))


def _scale(names: list[str], palette: Sequence[str]) -> alt.Scale:
    return alt.Scale(domain=names, range=list(palette))


def _dashes(names: list[str]) -> alt.Scale:
    return alt.Scale(domain=names, range=[DASHES[i % len(DASHES)] for i in range(len(names))])


def _alt_curves(what: str, frame: pd.DataFrame, by: str) -> str:
    """'what: wiki from 3.10 to 2.13; …' for the first few lines, so that the picture can be heard."""
    finite = frame.dropna(subset=["value"]).sort_values("tokens")
    ends = finite.groupby(by, sort=False)["value"].agg(["first", "last"])
    said = [f"{name} from {row['first']:.2f} to {row['last']:.2f}" for name, row in ends.head(6).iterrows()]
    return f"{what}: {'; '.join(said) or 'no values yet'}" + (f"; and {len(ends) - 6} more" if len(ends) > 6 else "")


def _said_mix(name: str, mixes: pd.DataFrame) -> str:
    shares = mixes.loc[mixes["run"] == name].sort_values("weight", ascending=False)
    return f"{name} is " + ", ".join(f"{w:.0%} {s}" for s, w in zip(shares["source"], shares["weight"], strict=True))
