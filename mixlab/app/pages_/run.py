"""Run: one run from its curves to its sources, and what can be done with it."""

import streamlit as st

from mixlab import jobs
from mixlab.app import actions, lab, one_run, parts
from mixlab.results import charts

TABS = ("Curves", "Scores", "Samples", "Settings", "Lineage", "Events", "Log")

st.title("Run")
runs = lab.runs()
asked = st.query_params.get("id")
found = one_run.folder(asked)
parts.linked("runs", "All runs", ":material/arrow_back:")


def take() -> None:
    """The run chosen in the list becomes the one in the address."""
    st.query_params["id"] = st.session_state["pick"]


if len(runs):
    ids = list(runs["run_id"])[::-1]
    at = ids.index(asked) if asked in ids else None
    st.selectbox("Run", ids, index=at, key="pick", on_change=take, placeholder="Choose a run", width=520)
if found is None:
    if asked is not None:
        st.warning("Runs are looked up by their whole name.", title="There is no such run in this lab")
        parts.untrusted(asked[:200])
    parts.empty("No run is shown", "Choose one above, or list them all.", command=["runs", "ls", "--archived"])
    st.stop()
run, run_id = found, found.name
facts = one_run.facts(run)
is_live = facts["state"] in ("running", "slow", "queued")


@st.fragment(run_every=lab.LIVE_SECONDS if is_live else None, key="run_state")
def state() -> None:
    """State, progress and health; looks again while the run is live."""
    with parts.guarded():
        told = one_run.facts(run)
        quiet = told["report"].is_quiet
        (st.success if quiet else st.warning)(parts.plain(told["headline"].replace("\n", " ")))
        share = (told["step"] or 0) / (told["steps"] or 1)
        left = one_run.seconds_left(told)
        if told["state"] in ("running", "slow"):
            st.progress(min(share, 1.0), text=f"{share:.0%}" + (f", about {parts.span(left)} left" if left else ""))
        with st.container(horizontal=True):
            st.metric("State", told["state"], border=True, width=180)
            st.metric("Step", f"{told['step'] or 0:,} of {told['steps'] or 0:,}", border=True, width=190)
            bpb = told["bpb_macro"]
            st.metric("Bits per byte", "–" if bpb is None else f"{bpb:.4f}", border=True, width=150)
            st.metric("Tokens/s", f"{told['tokens_per_s'] or 0:,.0f}", border=True, width=150)
            wall = told["wall_s"]
            st.metric("Time", "–" if wall is None else parts.span(wall), border=True, width=130)
        st.caption(parts.age(told["heartbeat"]))


state()
said = [word for word in ("starred", "archived") if facts[f"is_{word}"]] + [f"tag {t}" for t in facts["tags"]]
if said or facts["note"]:
    st.text(lab.visible("; ".join([*said, *([f"note: {facts['note']}"] if facts["note"] else [])])))
actions.bar([run_id], key="run")


def curves() -> None:
    """Held-out bits per byte of each source, and the training loss."""
    known = runs.assign(label=runs["run_id"])
    scores, losses = (lab.named(f([run_id]), known) for f in (lab.scores, lab.losses))
    if scores.empty:
        st.write("No evaluation has finished yet; the first comes at step 0.")
    else:
        st.subheader("Held-out bits per byte")
        parts.chart(charts.run_bpb(scores, lab.source_names()), key="run_bpb")
    if len(losses):
        st.subheader("Training loss")
        parts.chart(charts.loss(losses, [run_id]), key="run_loss", height=300)
        st.caption(charts.said_of_loss(losses, [run_id]))


tabs = st.tabs(TABS, key="tab", on_change="rerun", bind="query-params")
opened = dict(zip(TABS, tabs, strict=True))
if opened["Curves"].open:
    with opened["Curves"], parts.guarded():
        st.fragment(curves, run_every=lab.LIVE_SECONDS if is_live else None)()
        mix = one_run.draws(run)
        st.subheader("Mixture")
        percent = {"weight": st.column_config.NumberColumn(format="percent")}
        numbers = {n: st.column_config.NumberColumn(format="localized") for n in ("tokens", "available")}
        parts.table(mix, key="draws", column_config={**percent, **numbers},
                    alt=f"{len(mix)} sources with weights, tokens and epochs")  # fmt: skip
if opened["Scores"].open:
    with opened["Scores"], parts.guarded():
        told = one_run.scores(run)
        if told.empty:
            st.write("Nothing is scored yet. Task scores come from a suite:")
        else:
            parts.table(told, alt=f"The last score of each of {len(told)} tasks", key="scores")
        parts.command(["runs", "eval", run_id, "--suite", "full"], "Tasks for this run, without training again:")
if opened["Samples"].open:
    with opened["Samples"], parts.guarded():
        parts.samples(run_id, key="step")
if opened["Settings"].open:
    with opened["Settings"], parts.guarded():
        told = one_run.settings(run)
        parts.table(told, alt=f"{len(told)} settings of this run", key="settings", height=500)
        seed = st.number_input("Clone with seed", 0, 10**6, int(facts["seed"] or 0) + 1, key="clone_seed", width=200)
        words = ["runs", "clone", run_id, f"seed={int(seed or 0)}"]
        parts.launch(words, key=jobs.work_key(words), label="Train the clone")
        st.caption("More may differ: name any setting of the table, e.g. `train.tokens=2e6 name=longer`.")
if opened["Lineage"].open:
    with opened["Lineage"], parts.guarded():
        parts.command(["runs", "lineage", run_id])
        told = one_run.lineage(run)
        parts.table(told, alt=f"{len(told)} steps back to the sources", key="lineage", height=500)
if opened["Events"].open:
    with opened["Events"], parts.guarded():
        told = one_run.events(run)
        if facts["report"].is_quiet:
            st.success("Nothing happened: no spike, no bad batch, no restart that needs a person.")
        for event in facts["report"].events:
            st.text(lab.visible(f"step {event.get('step')}: {event.get('text')}"))
        if len(told):
            parts.table(told, alt=f"{len(told)} lines of the logbook, newest first", key="events")
if opened["Log"].open:
    with opened["Log"], parts.guarded():
        path, text = one_run.log(run)
        st.caption("The last 64 KiB, without colours.")
        parts.untrusted(path)
        parts.untrusted(text or "Nothing is written yet.", height=500)
        parts.command(["runs", "tail", run_id])
