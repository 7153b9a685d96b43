"""Home: what goes on, where to begin, the last warnings, the last verdict, which mixes came out best."""

import streamlit as st

from mixlab import jobs
from mixlab.app import drafts, homeparts, jobview, lab, now, parts
from mixlab.app.weights import short
from mixlab.workspace import Workspace

st.title("mixlab")
st.caption("Which mix of sources gives the lowest held-out bits per byte, and how sure are we?")
ws = Workspace.open()
runs = lab.runs()


def card(title: str, says: str, page: str, label: str, icon: str, draft: str | None = None) -> None:
    """One way to begin: what it is for, and the link."""
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{title}**")
        st.write(says)
        if draft and (stamp := drafts.saved_at(draft)):
            label = "Resume the draft"
            st.caption(f"A draft is there, {parts.age(stamp)}.")
        parts.linked(page, label, icon)


def starts() -> None:
    """The three ways to begin."""
    data, mix, sweep = st.columns(3)
    with data:
        card("Look at the data", "What each source holds, what cleaning dropped and why.", "sources", "Sources",
             ":material/database:")  # fmt: skip
    with mix:
        card("Design a mix", "Weights that sum to 100 %, with epochs, licences and cost beside them.", "mix",
             "Design a mix", ":material/tune:", "mix")  # fmt: skip
    with sweep:
        card("Plan a sweep", "Many mixes at once: what a verdict can be fitted to.", "sweep", "Plan a sweep",
             ":material/grid_view:", "sweep")  # fmt: skip


def first_run() -> None:
    """Nothing has run yet: the demo, by a button and by its command."""
    with st.container(border=True, key="first"):
        st.subheader("Nothing has run in this lab yet", anchor=False)
        st.text(f"Lab: {ws.root}")
        st.write(
            "The demo answers the question on four small sources of real text: it prepares them, trains 16 mixes, "
            "recommends one and puts it to the test. A few minutes on two CPU cores; it goes on if this page is closed."
        )
        parts.launch(["demo"], key="demo", label="Run the demo")
        st.write("Another lab is opened with `MIXLAB_HOME=path/to/lab mixlab app`.")


if runs.empty:
    first_run()
else:
    starts()
is_live = now.is_anything_live(ws, runs)  # after the buttons: one of them may just have started something


def what_runs() -> None:
    """Jobs and runs that go on, how many runs are in which state, what ended; looks again while something goes on."""
    runs = lab.runs()
    if is_live and not now.is_anything_live(ws, runs):
        st.rerun()  # the last one ended: the verdict and the best mixes below are of before
    told = now.jobs_now(ws)
    for job in (j for j in told if j["state"] in jobs.LIVE):
        jobview.job(job, key="home")
    for run in now.live_runs(ws, runs):
        jobview.run(run)
    if len(runs):
        with st.container(horizontal=True, key="states"):
            for state, n in lab.counts(runs).items():
                st.metric(state, n, border=True, width=150)
    if ended := [j for j in told if j["state"] not in jobs.LIVE]:
        st.caption("Jobs that ended within a day")
    for job in ended:
        jobview.job(job, key="home")


if is_live or len(runs) or jobs.jobs(ws):
    st.subheader("What runs")
    jobview.live(what_runs, key="home", is_live=is_live)
if runs.empty:
    starts()
    st.stop()

warnings = now.alerts()
if len(warnings):
    st.subheader("Last warnings")
    for told in warnings.to_dict("records"):
        with st.container(horizontal=True, vertical_alignment="top"):
            st.badge(told["level"], icon=":material/warning:", color="red" if told["level"] == "error" else "orange")
            with st.container(width="stretch", gap="xxsmall"):
                st.text(lab.visible(told["text"]))
                st.caption(parts.plain(f"{told['run_id']}, step {told['step']}, {parts.age(told['at'])[8:]}"))

st.subheader("Last verdict")
homeparts.verdict()

st.subheader("Best mixes")
best = lab.best_mixes()
if best.empty:
    st.write("No run has finished yet, so there is nothing to rank.")
else:
    homeparts.ranking(best)
    st.caption("With one seed there is no spread: a gap of a few thousandths may be noise.")

sources = lab.sources()
if len(sources):
    st.caption(f"{len(sources)} prepared sources, {short(sum(sources['tokens']))} training tokens.")
