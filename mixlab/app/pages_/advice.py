"""Advice: which mix is best as far as the runs tell, how sure, under which constraints; what to train next."""

import streamlit as st

from mixlab import jobs
from mixlab.app import advising, jobview, lab, parts, verdicts, weights
from mixlab.app.advising import Wanted
from mixlab.mix import budget as cost
from mixlab.results import charts, landscape

DESIGNS = ((16, 1), (32, 1), (16, 2))
PERCENT = 100

st.title("Advice")
runs, _ = verdicts.placed()
mixes = landscape.mixes_of(runs)
if mixes < landscape.FEWEST_TO_FIT:
    parts.empty(
        f"{mixes} of {landscape.FEWEST_TO_FIT} mixes",
        f"A verdict needs {landscape.FEWEST_TO_FIT} different finished mixes of one recipe: train "
        f"{landscape.FEWEST_TO_FIT - mixes} more, by a sweep of your own or by the demo.",
        command=["demo"],
    )
    st.stop()
sources = verdicts.sources_of(runs)
licences = advising.licences()
sweeps = sorted(set(runs["sweep"].dropna()))

with st.expander("Constraints", expanded=True):
    with st.container(horizontal=True):
        metrics = st.multiselect("Scores that count (none: all)", sources, key="metric", bind="query-params", width=300)
        allowed = st.multiselect("Only these licences (none: any)", sorted({x for s in licences.values() for x in s}),
                                 key="licences", bind="query-params", width=300)  # fmt: skip
        frozen = st.multiselect("Keep these in their natural proportions", sources, key="frozen", bind="query-params",
                                width=300)  # fmt: skip
    limits = {}
    grid = st.grid(4, min_column_width=220)
    for source in sources:
        with grid.container():
            limits[source] = st.slider(f"{source}, from and to", 0, PERCENT, (0, PERCENT), key=f"limit_{source}",
                                       format="%d %%", bind="query-params")  # fmt: skip
    with st.container(horizontal=True):
        epochs = st.number_input("Passes over a source, at most", 0.01, 1000.0, None, key="epochs", bind="query-params",
                                 placeholder="as the runs", width=220)  # fmt: skip
        target = st.number_input("Tokens of the run it is for", 1000, 10**14, None, key="target", bind="query-params",
                                 placeholder="as the runs", width=220)  # fmt: skip
        caution = st.number_input("Caution, in sds", 0.0, 10.0, 0.0, 0.5, key="caution", bind="query-params", width=180)
        device = st.selectbox("Priced on", list(cost.DEVICES), key="device", bind="query-params", width=180)
        sweep = st.selectbox("Runs of", [None, *sweeps], key="sweep", width=220,
                             format_func=lambda s: s or "all sweeps")  # fmt: skip
wanted = Wanted(
    sweep=sweep,
    metrics=tuple(metrics),
    max_epochs=epochs,
    only_licences=tuple(allowed),
    floors=tuple((s, low / PERCENT) for s, (low, _) in limits.items() if low > 0),
    caps=tuple((s, high / PERCENT) for s, (_, high) in limits.items() if high < PERCENT),
    frozen=advising.proportions(frozen),
    caution=caution or 0.0,
    target_tokens=None if target is None else int(target),
    device=device or "cpu",
)
parts.command(wanted.words())
if not parts.is_fit_wanted(len(runs) if sweep is None else sum(runs["sweep"] == sweep), wanted.words()):
    st.stop()
place = st.empty()
with place.container():
    st.caption("Fitting the runs, a few seconds …")
    st.skeleton(height=300)
card = None
with parts.guarded("No mix can be recommended under these constraints"):
    card = advising.advice(wanted)
if card is None:
    place.empty()
    st.stop()
mixture = dict(card["mixture"]["weights"])
with place.container(border=True):
    st.subheader(card["sentences"][0], anchor=False)
    bars = lab.bars({"recommended": mixture, "natural": card["natural_mix"]})
    parts.chart(charts.weights(bars, lab.source_names()), key="mix")
    with st.container(horizontal=True):
        for label, value in advising.chances(card).items():
            st.metric(label, value, border=True, width=190)
    table = advising.shares(card)
    said = "; ".join(f"{s} {w:.0%}, equally good {e}" for s, w, e in table[["source", "weight", "equal"]].to_numpy())
    percent = st.column_config.NumberColumn("Weight", format="percent")
    names = {"equal": "Equally good", "epochs": "Epochs", "room": "A point more room saves", "source": "Source"}
    st.dataframe(table, hide_index=True, key="shares", alt=said, column_config={"weight": percent, **names},
                 placeholder="–")  # fmt: skip
    for sentence in card["sentences"][2:]:
        st.text(sentence)
    left = f"; {card['left_out']} finished runs of another recipe were left out" if card["left_out"] else ""
    st.caption(f"From {len(card['runs'])} runs{left}.")
    for warning in [*card["warnings"], *card["notes"]]:
        st.warning(warning)

st.header("Keep it and train it", divider=True)
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = st.text_input("Name", "advised", key="advice_name", persist_state="session", width=240) or ""
    seed = st.number_input("Seed", 0, 10_000, 0, key="advice_seed", width=140)
    clicked = st.button("Save the mix", key="save_advice", type="primary", icon=":material/save:")
with parts.guarded("Not saved"):
    path = weights.path_of(name)
    replace = path.exists() and st.checkbox("Replace the file that has this name", key=f"replace-{name}")
    if clicked:
        advising.keep_advice(name, wanted, overwrite=replace)
        st.success("Saved, and written into the ledger: what comes of it will widen or confirm later intervals.")
    parts.command([*wanted.words(), "--save", f"sweeps/mixture/{name}.yaml"])
    words = advising.train_words(name, mixture, card["runs"][0], int(seed or 0))
    key = jobs.work_key(words)
    st.write("Train it exactly as these runs were, so that the two can be compared:")
    if job := parts.launch(words, key=key, label="Train the advised mix", primary=False):
        jobview.follow(job, key="advised")
    parts.command(["run", f"mixture={name}"], "Or with the settings of this directory, once it is saved:")

st.header("What to train next", divider=True)
batch = st.number_input("Runs in a batch", 1, 32, 4, key="batch", bind="query-params", width=160)
with st.expander("Next runs, and when to stop", on_change="rerun", key="next_open") as part:
    if part.open:
        with parts.guarded():
            with st.spinner("Training in imagination, some seconds …"):
                told = advising.next_runs(wanted, int(batch or 1))
            st.info(told["words"], title="Go on" if told["is_worth_it"] else "Stop", icon=":material/rule:")
            proposed = {f"next {i}": mix for i, mix in enumerate(told["mixes"], 1)}
            parts.chart(charts.weights(lab.bars(proposed), lab.source_names()), key="next_mixes")
            parts.command([*wanted.of_runs("next"), "--batch", str(batch)])
with st.expander("Power: what a sweep of some size would find", on_change="rerun", key="power_open") as part:
    if part.open:
        with parts.guarded():
            with st.spinner("Simulating designs, some seconds …"):
                found = advising.power(wanted, DESIGNS)
            least = found.loc[found["regret"].idxmin()]
            said = f"{least['runs']:.0f} mixes x {least['seeds']:.0f} seeds lose least: {least['regret']:.4f}"
            st.dataframe(found, hide_index=True, key="power", alt=said)
            st.caption(
                "Regret: bits per byte that the picked mix loses to the best one, on surfaces like the fitted one."
            )
            parts.command(wanted.of_runs("power"))
