"""Explore: comparable runs as points of the space of mixes, what each source does, how good predictions are."""

from typing import Any

import streamlit as st

from mixlab.app import advising, lab, parts, verdicts
from mixlab.app.advising import Wanted
from mixlab.results import charts, charts_advice, charts_explore, landscape

LINES = 200  # best runs drawn as lines; the points above and below are of all
state = st.session_state

st.title("Explore")
runs, left = verdicts.placed()
mixes = landscape.mixes_of(runs)
if mixes < landscape.FEWEST:
    parts.empty(
        f"{mixes} of {landscape.FEWEST} mixes",
        f"A picture needs {landscape.FEWEST} finished mixes of one recipe (same sources, model, training), a fit "
        f"{landscape.FEWEST_TO_FIT}: train {landscape.FEWEST_TO_FIT - mixes} more. The demo trains sixteen.",
        command=["demo"],
    )
    st.stop()
labels = dict(zip(runs["run_id"], runs["label"], strict=True))
sources, known = lab.source_names(), verdicts.sources_of(runs)
scores = landscape.scores_of(runs)
others = f", {left} runs of another recipe are left out: they cannot be compared with these." if left else "."
st.caption(f"{len(runs)} finished runs of one recipe, {mixes} different mixes{others}")
score = st.selectbox(
    "Score", scores, key="score", bind="query-params", format_func=charts_explore.named, width=260
) or scores[0]  # fmt: skip


def clicked(chart: str) -> None:
    """A click on a point chooses its run."""
    picked: list[dict[str, Any]] = state[chart].selection.get(charts_explore.PICK) or [{}]
    if picked[0].get("run_id") in labels:
        state["run"] = picked[0]["run_id"]


left_side, right_side = st.columns(2)
with left_side:
    st.subheader("Three sources")
    corners = st.multiselect(
        "Corners; the other sources are the rest", known, default=verdicts.widest(runs), key="corners",
        bind="query-params", max_selections=3,
    )  # fmt: skip
    with parts.guarded():
        if len(corners) == 3:
            chart = charts_explore.ternary(landscape.ternary(runs, corners), corners, score)
            parts.chart(chart, key="ternary", on_select=lambda: clicked("ternary"), selection_mode=charts_explore.PICK)
            st.caption("Where a point stands tells how the three share; the larger it is, the more goes to the rest.")
        else:
            st.info(f"A triangle has three corners: choose three of the {parts.several(len(known), 'source')}."
                    if len(known) > 2 else "A triangle needs three sources; these runs have fewer.")  # fmt: skip
with right_side:
    st.subheader("Two scores")
    with st.container(horizontal=True):
        x = st.selectbox("Across", scores[1:] or scores, key="x", bind="query-params", width=200,
                         format_func=charts_explore.named) or scores[-1]  # fmt: skip
        y = st.selectbox("Up", scores[::-1], key="y", bind="query-params", width=200,
                         format_func=charts_explore.named) or scores[0]  # fmt: skip
    with parts.guarded():
        chart = charts_explore.pareto(landscape.pareto(runs, x, y), x, y)
        parts.chart(chart, key="pareto", on_select=lambda: clicked("pareto"), selection_mode=charts_explore.PICK)
        st.caption("Lower is better on both. Runs on the front are beaten by no other on both at once.")

st.subheader("All axes at once")
axes = [*landscape.shares_of(runs), *scores, *(c for c in ("seed", "n_params", "target_tokens") if c in runs)]
chosen = st.multiselect(
    "Axes", axes, default=landscape.differing(runs, axes), key="axes", bind="query-params",
    format_func=charts_explore.named,
    help="Those in which the runs differ are chosen to begin with.",
)  # fmt: skip
with parts.guarded():
    if len(chosen) > 1:
        chart = charts_explore.parallel(landscape.parallel(runs.head(LINES), chosen), chosen)
        parts.chart(chart, key="parallel", on_select=lambda: clicked("parallel"), selection_mode=charts_explore.PICK)
        if len(runs) > LINES:
            st.caption(f"The {LINES} runs of {len(runs):,} with the lowest mean: more lines cover each other.")
    else:
        st.info("Choose two axes or more.")

st.subheader("A run's mix")
run = st.selectbox(
    "Chosen run; a click on a point chooses it too", list(labels), key="run", bind="query-params", width=380
) or next(iter(labels))
mixture = landscape.mixture_of(runs, run)
parts.chart(charts.weights(lab.bars({labels[run]: mixture}), sources), key="chosen_mix")
with st.container(horizontal=True, vertical_alignment="center"):
    if st.button("Use this mix", key="use", type="primary", icon=":material/tune:"):
        with parts.guarded("The mix was not taken over"):
            verdicts.use_mix(mixture, run)
            st.success("It is the draft of the Mix page now.")
    parts.linked("mix", "Go to the Mix page", ":material/tune:")
parts.command(["runs", "show", run], "The run in a shell:")

st.subheader("Share of each source against the score")
with parts.guarded():
    doses, grid = landscape.doses(runs, score), st.grid(2, min_column_width=280)
    for source in known:
        with grid.container():
            parts.chart(charts_explore.dose(doses, source, sources, score), key=f"dose-{source}")

st.header("What the fit says", divider=True)
if mixes < landscape.FEWEST_TO_FIT:
    more = landscape.FEWEST_TO_FIT - mixes
    parts.empty("Too few mixes for a fit", f"It needs {landscape.FEWEST_TO_FIT} different mixes: train {more} more.",
                command=["sweep", "NAME", "--dry-run"])  # fmt: skip
    st.stop()
at = st.selectbox("One point more of a source, at the mix", advising.PLACES, key="at", bind="query-params", width=260)
if not parts.is_fit_wanted(len(runs), ["advise", "check"]):
    st.stop()
place = st.empty()
place.skeleton(height=320)
with parts.guarded("The fit cannot be made"):
    told = advising.behind(Wanted(), at or advising.PLACES[0])
    with place.container():
        effects, figures = told["effects"], told["figures"]
        grid = st.grid(2, min_column_width=280)
        for metric in dict.fromkeys(effects["metric"]):
            with grid.container():
                parts.chart(charts_advice.effect(effects, metric, sources), key=f"effect-{metric}")
        unclear = effects.loc[(effects["metric"] == "mean") & (effects["said"] == "not distinguishable"), "source"]
        st.caption(
            "Bits per byte, lower is better, 95 % intervals; the other sources shrink in proportion. On the mean, not "
            f"distinguishable from no effect: {parts.plain(', '.join(unclear)) or 'none'}."
        )
        parts.command(["advise", "sensitivity", "--at", at or advising.PLACES[0]])
        st.subheader("Predicted against realised, each run left out")
        with st.container(horizontal=True):
            st.metric("Rank correlation", f"{figures['spearman']:.2f}", border=True, width=170)
            st.metric("R²", f"{figures['r2']:.2f}", border=True, width=170, help="1 - squared error / variance.")
            st.metric("Mean error", f"{figures['mae']:.4f}", border=True, width=170, help="Bits per byte.")
        parts.chart(charts_explore.unseen(told["unseen"], figures["scheme"]), key="unseen")
        parts.command(["advise", "check"])
        outcomes = advising.outcomes()
        if len(outcomes):
            st.subheader("Advice and what came of it")
            trained = sum(outcomes["pairs"] > 0)
            said = f"{len(outcomes)} mixes were advised, {trained} of them trained beside natural"
            parts.table(outcomes, key="outcomes", alt=said, placeholder="not trained yet")
            parts.command(["advise", "ledger"], f"{said}. Gains over natural in bits per byte.")
