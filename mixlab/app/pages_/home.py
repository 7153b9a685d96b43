"""Home: what ran, which mixes came out best, and the last verdict."""

import streamlit as st

from mixlab.app import lab
from mixlab.app.weights import short
from mixlab.workspace import Workspace

st.title("mixlab")
st.caption("Which mix of sources gives the lowest held-out bits per byte, and how sure are we?")
runs = lab.runs()

if runs.empty:
    with st.container(border=True):
        st.subheader("Nothing has run in this lab yet")
        st.text(f"Lab: {Workspace.open().root}")
        st.write(
            "The demo answers the question on four small sources of real text: it prepares them, trains 16 mixes "
            "and recommends one. About six minutes on two CPU cores."
        )
        st.code("mixlab demo", language="bash")
        st.write("Then reload this page. Another lab is opened with `MIXLAB_HOME=path/to/lab mixlab app`.")
    st.stop()


@st.fragment(run_every=lab.LIVE_SECONDS if lab.is_live(runs) else None, key="home_states")
def states() -> None:
    """How many runs are in which state; looks again while some are running."""
    with st.container(horizontal=True, key="states"):
        for state, n in lab.counts(lab.runs()).items():
            st.metric(state, n, border=True, width=150)


states()

verdict = lab.verdict()
st.subheader("Last verdict")
if verdict is None:
    st.write("No recommendation yet: it needs finished runs of several mixes.")
    st.code("mixlab recommend", language="bash")
else:
    sentences, weights = verdict
    with st.container(border=True, key="verdict"):
        for sentence in sentences:
            st.text(sentence)
        with st.container(horizontal=True):
            for source, weight in sorted(weights.items()):
                st.metric(source, f"{weight:.1%}", width=140)

st.subheader("Best mixes")
best = lab.best_mixes()
if best.empty:
    st.write("No run has finished yet, so there is nothing to rank.")
else:
    leader = best.iloc[0]
    st.dataframe(
        best,
        hide_index=True,
        key="best",
        column_order=["mixture", "bpb_macro", "bpb_macro_sd", "n_scored", "target_tokens", "n_params"],
        alt=f"Mixes by held-out bits per byte, lowest first: {leader['mixture']} with {leader['bpb_macro']:.3f}",
        column_config={
            "mixture": st.column_config.TextColumn("Mix", pinned=True),
            "bpb_macro": st.column_config.NumberColumn(
                "Bits per byte", format="%.4f", help="Mean of sources and seeds."
            ),
            "bpb_macro_sd": st.column_config.NumberColumn("sd", format="%.4f", help="Standard deviation over seeds."),
            "n_scored": st.column_config.NumberColumn("Seeds"),
            "target_tokens": st.column_config.NumberColumn("Training tokens", format="localized"),
            "n_params": st.column_config.NumberColumn("Parameters", format="localized"),
        },
    )
    st.caption("With one seed there is no spread: a gap of a few thousandths may be noise.")

sources = lab.sources()
if len(sources):
    st.caption(f"{len(sources)} prepared sources, {short(sum(sources['tokens']))} training tokens.")
