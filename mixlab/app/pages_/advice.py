"""Advice: which mix is best as far as the runs tell, how sure, under which constraints; what to train next."""

import streamlit as st

from mixlab import jobs
from mixlab.app import adviceparts, advising, jobview, parts, runtable, verdicts, weights
from mixlab.app.adviceparts import PERCENT
from mixlab.app.advising import Wanted
from mixlab.mix import budget as cost
from mixlab.results import landscape

st.title("Advice")
runs, _ = verdicts.placed()
mixes = landscape.mixes_of(runs)
if mixes < landscape.FEWEST_TO_FIT:
    parts.empty(
        f"{mixes} of {landscape.FEWEST_TO_FIT} mixes",
        f"A verdict needs {landscape.FEWEST_TO_FIT} different finished mixes of one recipe: train "
        f"{landscape.FEWEST_TO_FIT - mixes} more, by a sweep of your own{'' if mixes else ' or by the demo'}.",
        command=None if mixes else ["demo"],
    )
    if mixes:  # a lab of one's own sources, for which the demo's would say nothing
        parts.linked("sweep", "Plan a sweep", ":material/grid_view:")
    st.stop()
sources = verdicts.sources_of(runs)
titles = {s: parts.plain(s) for s in sources}
licences = advising.licences()
sweeps = runtable.sweeps(runs)

with st.expander("Constraints", expanded=True):
    with st.container(horizontal=True):
        allowed = st.multiselect("Only these licences (none: any)", sorted({x for s in licences.values() for x in s}),
                                 key="licences", bind="query-params", width=300)  # fmt: skip
        frozen = st.multiselect("Keep these in their natural proportions", sources, key="frozen", bind="query-params",
                                width=300)  # fmt: skip
        epochs = st.number_input("Passes over a source, at most", 0.01, 1000.0, None, key="epochs", bind="query-params",
                                 placeholder="as the runs", width=220)  # fmt: skip
    limits = dict[str, tuple[int, int]]()
    grid = st.grid(4, min_column_width=200)
    for source in sources:
        with grid.container():
            limits[source] = st.slider(f"{titles[source]}, from and to", 0, PERCENT, (0, PERCENT),
                                       key=f"limit_{source}", format="%d %%", bind="query-params")  # fmt: skip
    sums = adviceparts.sums(sources)
with st.expander("What counts, how boldly, and for which run"):
    with st.container(horizontal=True, vertical_alignment="bottom"):
        metrics = st.multiselect("Scores that count (none: all)", sources, key="metric", bind="query-params", width=300)
        sweep = st.selectbox("Runs of", sweeps, index=None, key="sweep", bind="query-params", width=220,
                             placeholder="all sweeps")  # fmt: skip
        alike = st.toggle("Divide scores by their spread", key="standardise", bind="query-params",
                          help="By their standard deviation between runs, so that none counts more.")  # fmt: skip
    counts, ceilings = dict[str, float | None](), dict[str, float | None]()
    grid = st.grid(4, min_column_width=200)
    for source in metrics or sources:
        with grid.container():
            counts[source] = st.number_input(f"{titles[source]} counts", 0.0, 100.0, 1.0, 0.5, key=f"counts_{source}",
                                             bind="query-params")  # fmt: skip
            ceilings[source] = st.number_input(f"{titles[source]}, bits per byte at most", 0.01, 100.0, None, 0.01,
                                               key=f"ceiling_{source}", bind="query-params")  # fmt: skip
    with st.container(horizontal=True):
        caution = st.number_input("Caution, in sds", 0.0, 10.0, 0.0, 0.5, key="caution", bind="query-params", width=160,
                                  help="Added to each predicted loss: mixes of which less is known lose.")  # fmt: skip
        pull = st.number_input("Pull towards natural", 0.0, 10.0, 0.0, 0.01, key="pull", bind="query-params", width=180,
                               help="Loss that a nat of KL from the natural mix costs.")  # fmt: skip
        target = st.number_input("Tokens of the run it is for", 1000, 10**14, None, key="target", bind="query-params",
                                 placeholder="as the runs", width=220)  # fmt: skip
        size = st.number_input("Parameters of its model", 1000, 10**13, None, key="params", bind="query-params",
                               placeholder="as the runs", width=220)  # fmt: skip
        device = st.selectbox("Priced on", list(cost.DEVICES), key="device", bind="query-params", width=160)
wanted = Wanted(
    sweep=sweep,
    metrics=tuple(metrics),
    max_epochs=epochs,
    only_licences=tuple(allowed),
    floors=tuple((s, low / PERCENT) for s, (low, _) in limits.items() if low > 0),
    caps=tuple((s, high / PERCENT) for s, (_, high) in limits.items() if high < PERCENT),
    groups=sums,
    frozen=advising.proportions(frozen),
    importance=tuple((s, n) for s, n in counts.items() if n not in (None, 1.0)),
    ceilings=tuple((s, v) for s, v in ceilings.items() if v is not None),
    standardise=alike,
    caution=caution or 0.0,
    pull=pull or 0.0,
    target_tokens=None if target is None else int(target),
    target_params=None if size is None else float(size),
    device=device or "cpu",
)
parts.command(wanted.words())
if not parts.is_fit_wanted(len(runtable.filtered(runs, "", [], [sweep] if sweep else [])), wanted.words()):
    st.stop()
place = st.empty()
with place.container():
    st.caption("Fitting the runs, a few seconds …")
    st.skeleton(height=300)
card = None
with parts.guarded("No mix can be recommended under these constraints"):
    card = advising.advice(wanted)
if card is None:  # pyright: ignore[reportUnnecessaryComparison]  # `guarded` ends the block early
    place.empty()
    st.stop()
mixture = dict(card["mixture"]["weights"])
with place.container(border=True):
    adviceparts.verdict(card)

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
for title, key, draw in (
    ("Next runs, and when to stop", "next_open", lambda: adviceparts.next_runs(wanted, int(batch or 1))),
    ("Longer runs: how the best mix drifts", "horizon_open", lambda: adviceparts.longer_runs(wanted)),
    ("Power: what a sweep of some size would find", "power_open", lambda: adviceparts.power(wanted)),
):
    with st.expander(title, on_change="rerun", key=key) as part:
        if part.open:
            with parts.guarded():
                draw()
