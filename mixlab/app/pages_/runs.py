"""Runs: every run in one table; the chosen ones with their curves, mixtures and samples."""

import streamlit as st

from mixlab.app import actions, lab, parts, runtable
from mixlab.results import charts

SHOWN_RUNS = 9  # more lines cannot be told apart in one chart

state = st.session_state

st.title("Runs")
runs = lab.runs()
if runs.empty:
    what = "Start with the demo, or with one run of your own:"
    parts.empty("No runs in this lab yet", what, command="mixlab demo\nmixlab run mixture=uniform")
    st.stop()

with st.container(horizontal=True, vertical_alignment="bottom"):
    text = st.text_input("Search", key="q", bind="query-params", placeholder="name, mix, source …", width=260)
    states = st.multiselect("State", sorted(set(runs["state"])), key="state", bind="query-params", width=220)
    sweeps = st.multiselect("Sweep", runtable.sweeps(runs), key="sweep", bind="query-params", width=220)
    rule = st.selectbox("Bits per byte", list(lab.RULES), key="rule", bind="query-params", width=130,
                        help="Which of a run's evaluations the table tells; the last is the final one.")  # fmt: skip
    only = st.toggle("Only differing columns", value=True, key="only_differing", bind="query-params")
    archived = st.toggle("Archived too", key="archived", bind="query-params")
found = runtable.filtered(lab.summarised(runs, rule), text or "", states, sweeps, archived=archived)
shown = runtable.columns(found, only_differing=only)


def take_rows() -> None:
    """The rows ticked in the table become the chosen runs; chosen runs that the filter hides stay chosen."""
    ticked = list(found["run_id"].iloc[state[table_key].selection.rows])
    state["run"] = [*(r for r in state["run"] if r not in set(found["run_id"])), *ticked]


place = st.container()  # the table stands above the chosen runs, but shows them ticked, so it is drawn after them
labels = dict(zip(runs["run_id"], runs["label"], strict=True))
hint = "Tick rows above, or choose here"
chosen = st.multiselect("Chosen runs", list(labels), key="run", bind="query-params", placeholder=hint)
if found.empty:
    place.write("No run matches these filters. Clear them to see all runs.")
else:
    table_key = "table" + str(hash(tuple(found["run_id"])))
    state[table_key] = {"selection": {"rows": [i for i, r in enumerate(found["run_id"]) if r in chosen]}}
    shares = {
        c: st.column_config.NumberColumn(c.replace("w_", "share "), format="percent") for c in shown if c[:2] == "w_"
    }
    bpb = {c: st.column_config.NumberColumn(c.replace("_", " "), format="%.4f") for c in shown if c[:4] == "bpb_"}
    bpb["bpb_macro"] = st.column_config.NumberColumn("mean bpb", format="%.4f",
                                                     help="Held-out bits per byte, mean of sources.")  # fmt: skip
    parts.table(
        found,
        key=table_key,
        height=min(38 + 35 * len(found), 420),
        column_order=shown,
        column_config={"label": st.column_config.TextColumn("Run", pinned=True), **shares, **bpb},
        place=place,
        on_select=take_rows,
        selection_mode="multi-row",
        placeholder="",
        alt=f"{len(found)} of {len(runs)} runs; tick rows to see their curves",
    )
    place.caption(f"{len(found)} of {len(runs)} runs. Click a column's head to sort; tick rows to see their curves.")
actions.bar(chosen, key="runs")
with st.container(horizontal=True, vertical_alignment="center"):
    table = found.loc[:, shown]
    st.download_button(
        "Table as CSV", lambda: table.to_csv(index=False), "runs.csv", "text/csv", key="csv", icon=":material/download:"
    )
    if len(chosen) == 1:
        parts.linked("run", "Open this run", ":material/show_chart:", query={"id": chosen[0]})
with st.expander("The same in a shell"):
    parts.command("mixlab runs ls\nmixlab runs export tables --to csv\nmixlab db export runs.duckdb")

if not chosen:
    st.info("Choose one run to see each source's curve, several to compare them.")
    st.stop()
picked = runs.loc[runs["run_id"].isin(chosen[:SHOWN_RUNS])]
if len(chosen) > SHOWN_RUNS:
    st.warning(f"The charts show the first {SHOWN_RUNS} of {len(chosen)} chosen runs.")
names = list(picked["label"])


@st.fragment(run_every=lab.LIVE_SECONDS if lab.is_live(picked) else None, key="curves")
def curves() -> None:
    """Held-out bits per byte and training loss of the picked runs; looks again while one of them is running."""
    scores, losses = (lab.named(f(list(picked["run_id"])), runs) for f in (lab.scores, lab.losses))
    sources = sorted(set(scores["domain"]) - {charts.MACRO})
    st.subheader("Held-out bits per byte")
    if st.toggle("Only the second half of training", key="late", bind="query-params"):
        scores = lab.late(scores)
    if scores.empty:
        st.write("No evaluation has finished yet; the first comes at step 0.")
    elif len(picked) == 1:
        parts.chart(charts.run_bpb(scores, lab.source_names()), key="bpb_run")
    else:
        mean, each = parts.mean_or_each()
        if mean.open:
            with mean:
                parts.chart(charts.domain_bpb(scores, charts.MACRO, names), key="bpb_macro", height=380)
        if each.open:
            with each:
                grid = st.grid(2, min_column_width=300)
                for source in sources:
                    with grid.container():
                        parts.chart(charts.domain_bpb(scores, source, names), key=f"bpb_{source}", height=320)
    if len(losses):
        st.subheader("Training loss")
        parts.chart(charts.loss(losses, names), key="loss", height=320)
        st.caption(charts.said_of_loss(losses, names))


curves()

st.subheader("Mixtures")
mixes = lab.mixes(picked)
parts.chart(charts.weights(mixes, lab.source_names()), key="mixes")

st.subheader("Samples")
of = st.selectbox("Run", list(picked["run_id"]), key="sample_run", format_func=lambda r: labels.get(r, r), width=360)
parts.samples(of or chosen[0], key="sample_step")
