"""Vibes: what runs wrote to the same prompts, side by side, blind until voted; and how the votes stand."""

import streamlit as st

from mixlab.app import lab, parts, prompts, recipes, verdicts
from mixlab.results import vibes
from mixlab.workspace import Workspace

SIDE_BY_SIDE = 4
PAGE = 5  # prompts at once
LAST = -1
state = st.session_state

st.title("Vibes")
runs = lab.runs()
sampled = verdicts.sampled(runs)
if not sampled:
    parts.empty(
        "No samples in this lab yet",
        "Runs write samples at each evaluation when `evals.prompts` lists prompts; the default exam `live` has three.",
        command=["run", "evals=live"],
    )
    st.stop()
st.caption(
    "One prompt, several models. Who wrote which text is hidden until you vote, and the order says nothing. A vote is "
    "an opinion: rankings and advice do not read it."
)
chosen = st.multiselect(
    "Runs", list(sampled), default=verdicts.rivals(runs, list(sampled)), key="runs", bind="query-params",
    max_selections=SIDE_BY_SIDE,
)  # fmt: skip
samples = verdicts.samples(chosen)
steps = sorted({int(s) for s in samples["step"]})
heats = sorted({float(t) for t in samples["temperature"]}, reverse=True)
with st.container(horizontal=True, vertical_alignment="bottom"):
    at = st.multiselect("Checkpoints", [LAST, *steps], default=[LAST], key="at", bind="query-params", width=320,
                        format_func=lambda s: "the last" if s == LAST else f"step {s}")  # fmt: skip
    heat = st.selectbox("Drawn", heats, key="heat", bind="query-params", width=220,
                        format_func=lambda t: "greedily" if t == 0 else f"at temperature {t:g}")  # fmt: skip
    shows = st.toggle(
        "Show who wrote what", key="shows", bind="query-params", help="Without voting first. Votes are then not taken."
    )
shown = vibes.shown(samples, chosen, at, heat if heat in heats else heats[0]) if heats else []
if not shown:
    parts.empty(
        "Nothing to show side by side", "These runs have no prompt in common at these checkpoints: choose others, "
        "or score one run with the prompts of the other.", command=["runs", "clone", "RUN", "evals.prompts=[...]"],
    )  # fmt: skip
told = verdicts.votes()


def cast(prompt: str, temperature: float, texts: list[vibes.Text], best: vibes.Text | None) -> None:
    """Stores a vote; an error is shown on the next run of the page."""
    try:
        vibes.vote(Workspace.open(), prompt, temperature, texts, best)
        state["voted"] = vibes.words_of(prompt, temperature, texts, best)
    except Exception as error:  # noqa: BLE001  # a callback has no place to draw on
        state["vote_error"] = error


if error := state.pop("vote_error", None):
    parts.problem(error, "The vote was not stored")

pages = -(-len(shown) // PAGE)
page = st.pagination(pages, key="page") if pages > 1 else 1
for number, row in list(enumerate(shown))[(page - 1) * PAGE : page * PAGE]:
    prompt, order = row["prompt"], vibes.order(row["prompt"], list(row["texts"]))
    is_open = shows or len(order) < 2 or vibes.is_voted(told, prompt, heat or 0.0, order)
    with st.container(border=True, key=f"prompt-{number}"):
        st.caption("Prompt")
        parts.untrusted(prompt)
        columns = st.grid(min(len(order), 2), min_column_width=280)
        for i, whose in enumerate(order):
            letter = chr(ord("A") + i)
            with columns.container():
                name = sampled[whose[0]] if len(at) == 1 else f"{sampled[whose[0]]}, step {whose[1]}"
                st.caption(f"{letter}: {parts.plain(name)}" if is_open else letter)
                parts.untrusted(row["texts"][whose])
        if not is_open:
            votes = [(f"{chr(ord('A') + i)} is better", f"vote-{number}-{i}", whose) for i, whose in enumerate(order)]
            with st.container(horizontal=True):
                for label, key, best in [*votes, ("No difference", f"tie-{number}", None)]:
                    st.button(label, key=key, on_click=cast, args=(prompt, heat or 0.0, order, best))
        elif not shows and len(order) > 1:
            st.caption(":material/how_to_vote: You voted on this one.")
        seeds = ", ".join(str(s) for s in sorted(row["seeds"]))
        st.caption(f"Drawn with sampling seed {seeds}" + ("" if len(row["seeds"]) == 1 else ": not the same for all."))

st.header("Votes", divider=True)
tally = vibes.tally(told)
if tally.empty:
    st.write("No votes yet. Each counts for every text that it puts the chosen one before.")
else:
    tally = tally.assign(run=[sampled.get(r, r) for r in map(str, tally["run_id"])])
    said = "; ".join(f"{r}: {s}" for r, s in zip(tally["run"], tally["said"], strict=True))
    shares = {c: st.column_config.NumberColumn(t, format="percent") for c, t in
              (("share", "Won"), ("lo", "95 % from"), ("hi", "95 % to"))}  # fmt: skip
    parts.table(
        tally, key="tally", alt=said, placeholder="–", column_config=shares,
        column_order=["run", "won", "lost", "tied", "share", "lo", "hi", "said"],
    )  # fmt: skip
    st.caption("Shares of the votes that decided, with Wilson's 95 % interval: one half inside is no preference.")
if "voted" in state:
    parts.command(state["voted"], "Your last vote in a shell, the better text first:")
else:
    parts.command(["runs", "vote", "PROMPT", "BEST", "OTHER"], "A vote in a shell, the better text first:")
parts.command(verdicts.VOTES_COMMAND, "The votes in a shell (they lie in annotations.jsonl of the runs):")

with st.expander("Edit the prompts"):
    text = st.text_area("One prompt a line", "\n".join(prompts.one_line(r["prompt"]) for r in shown), key="prompts")
    name = st.text_input("Save as exam", "vibes", key="prompts_name", width=240)
    with parts.guarded("Not saved"):
        lines = prompts.prompts_of(text or "")
        if st.button("Save", key="save_prompts"):
            prompts.save(name or "", lines)
            st.success("Saved.")
        parts.command(recipes.as_command(*prompts.file_of(name or "", lines)), "The same file, written in a shell:")
        st.write("A run that has finished is asked these prompts without being trained again:")
        for run in chosen[:SIDE_BY_SIDE]:
            parts.command(prompts.ask_words(run, lines))
        parts.command(["run", f"evals={name}"], "A new run with them:")
