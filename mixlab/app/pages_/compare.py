"""Compare: runs or mixes against the first one picked: shares in points, seed bands, paired scores, settings."""

from typing import Any

import streamlit as st

from mixlab.app import lab, parts, verdicts
from mixlab.results import charts, charts_compare

SHOWN = 5  # more lines cannot be told apart in one chart
NUMBERS = {
    "task": st.column_config.TextColumn("Score", pinned=True),
    "difference": st.column_config.NumberColumn("b - a", format="%+.4f"),
    "interval": st.column_config.TextColumn("95 %"),
    "verdict": st.column_config.TextColumn("Verdict"),
    "n": st.column_config.NumberColumn("Items"),
    "floor": st.column_config.NumberColumn("Floor", format="%.4f", help="The best of the untrained and of the text."),
    "p_holm": st.column_config.NumberColumn("p (Holm)", format="%.3f"),
} | {c: st.column_config.NumberColumn(c, format="%.4f") for c in ("a", "b", "lo", "hi")}
state = st.session_state

st.title("Compare")
runs = lab.runs()
if runs.empty:
    parts.empty("No runs to compare yet", "The demo trains sixteen mixes.", command=["demo"])
    st.stop()
mixes = verdicts.mixes(runs)
choices = verdicts.choices(runs, mixes)
views = verdicts.views(choices)


def open_view() -> None:
    """Puts a saved view on the page."""
    state["ids"] = views[state["view"]] if state["view"] else []


if views:
    st.selectbox("Saved views", list(views), index=None, key="view", on_change=open_view, width=320)
picked = st.multiselect(
    "Mixes or runs, the baseline first", choices, key="ids", bind="query-params",
    placeholder="Choose two or more", max_selections=SHOWN,
)  # fmt: skip
if len(picked) < 2:
    parts.empty(
        "Pick two or more",
        "The first is the baseline (a), each other one (b) is held against it. A mix stands for all of its seeds.",
        command=["runs", "compare", "RUN", "OTHER"],
    )
    st.stop()
groups = {name: mixes.get(name, [name]) for name in picked}
names = {name: verdicts.short_name(name, runs, mixes) for name in picked}
firsts = {name: verdicts.representative(ids, runs) for name, ids in groups.items()}
sources = lab.source_names()
base, *others = picked
files = dict[str, Any]()

for number, other in enumerate(others):
    st.header(parts.plain(f"{names[other]} against {names[base]}"), divider=True)
    with parts.guarded("These two cannot be compared"):
        told = verdicts.comparison(firsts[base], firsts[other])
        left, right = st.columns([2, 3])
        with left:
            st.subheader("Shares")
            moved = verdicts.moved(told)
            parts.chart(charts_compare.points(moved, sources), key=f"points-{number}")
        with right:
            st.subheader("Scores")
            scores = verdicts.compared(told)
            if scores.empty:
                st.info("No score that both have: wait for an evaluation of each.")
            else:
                parts.chart(charts_compare.differences(scores), key=f"scores-{number}")
        if len(scores):
            order = ["task", "a", "b", "difference", "interval", "verdict"]
            said = "; ".join(f"{t}: {v}" for t, v in zip(scores["task"], scores["verdict"], strict=True))
            parts.table(scores, column_order=order, column_config=NUMBERS, alt=said, key=f"t-{number}")
        st.caption(
            f"b minus a in bits per byte, lower is better; a: {parts.several(len(told['a']), 'run')}, "
            f"b: {parts.several(len(told['b']), 'run')}. "
            f"{told['words']}. 95 %: the noise of training and of held-out documents; the ranking of all pairs "
            "(mixlab runs rank) asks of them at once, and has that of training alone."
        )
        tasks = verdicts.tasked(told)
        if len(tasks):
            st.subheader("Tasks, item by item")
            apart = ", ".join(tasks.loc[tasks["distinguishable"], "task"]) or "none"
            order = ["task", "n", "a", "b", "floor", "difference", "lo", "hi", "p_holm", "verdict"]
            parts.table(
                tasks, column_order=order, column_config=NUMBERS, key=f"tasks-{number}",
                alt=f"{len(tasks)} task scores, told apart: {apart}",
            )  # fmt: skip
        elif told["refused"]:
            st.warning(told["refused"], title="Task scores are not compared", icon=":material/block:")
        files[f"{base}-{other}"] = told
        parts.command(["runs", "compare", firsts[base], firsts[other]])

st.header("Curves", divider=True)
with parts.guarded():
    curves = verdicts.curves({names[g]: ids for g, ids in groups.items()})
    order = [names[g] for g in picked]
    mean, each = parts.mean_or_each()
    if mean.open:
        with mean:
            parts.chart(charts_compare.bands(curves, charts.MACRO, order), key="bands", height=360)
    if each.open:
        with each:
            grid = st.grid(2, min_column_width=300)
            for source in sorted(set(curves["domain"]) - {charts.MACRO}):
                with grid.container():
                    parts.chart(charts_compare.bands(curves, source, order), key=f"bands-{source}", height=320)
    st.caption("Lines are means over seeds, bands go from the lowest to the highest seed; one seed has no band.")

with parts.guarded():
    metrics = verdicts.task_metrics(list(firsts.values()))
    if metrics:
        st.header("Task scores and their floors", divider=True)
        metric = st.selectbox("Metric", metrics, key="metric", bind="query-params", width=240) or metrics[0]
        found, floors = verdicts.task_scores({firsts[g]: names[g] for g in picked}, metric)
        parts.chart(charts_compare.task_scores(found, floors, [names[g] for g in picked], metric), key="task-scores")
        if len(floors):
            st.caption("Floors are what the untrained model and the text alone reach: below them a score says nothing.")

st.header("Settings that differ", divider=True)
with parts.guarded():
    settings = verdicts.settings(list(firsts.values()))
    if settings.empty:
        st.write("None but the mixture: they were trained alike.")
    else:
        said = ", ".join(settings["key"].head(8))
        parts.table(settings, key="settings", alt=f"{len(settings)} settings differ: {said}")

st.header("Keep", divider=True)
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = st.text_input("Name of this view", key="view_name", placeholder="code-or-not", width=280) or ""
    if st.button("Save view", key="save_view", icon=":material/bookmark:"):
        with parts.guarded("Not saved"):
            verdicts.save_view(name, picked)
            st.toast("Saved: it is in the list above from now on.")
    for kind, mime, write in (("JSON", "application/json", verdicts.as_json), ("CSV", "text/csv", verdicts.csv)):
        st.download_button(f"Export {kind}", lambda write=write: write(files), f"comparison.{kind.lower()}", mime,
                           key=kind.lower(), on_click="ignore")  # fmt: skip
st.caption("The address of this page holds the choice: send it to share the view.")
with parts.guarded("This view cannot be saved yet"):
    if name:
        parts.command(verdicts.view_command(name, picked), "The view, saved by a shell:")
pairs = [parts.text_of(["runs", "compare", firsts[base], firsts[other], "--json"]) for other in others]
parts.command("\n".join(pairs), "What is exported, in a shell:")
