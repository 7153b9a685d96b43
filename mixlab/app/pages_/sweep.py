"""Sweep: many mixtures at once. Design, sizes, seeds; every run with its cost, done or not; launched as a job."""

import streamlit as st

from mixlab import jobs
from mixlab.app import drafts, jobview, lab, mixing, parts, recipes, sweeping, weights
from mixlab.errors import MixlabError
from mixlab.mix import budget as cost
from mixlab.results import charts

DRAWN = 40  # mixtures shown as bars; the table has them all

st.title("Sweep")
sources, runs = lab.sources(), lab.runs()
if sources.empty:
    parts.no_sources()
presets = weights.presets(sources, runs)
draft = sweeping.from_draft(drafts.load("sweep"))


def first(options: list[str], wanted: object) -> int:
    """Place of the wanted option; the first if it is none."""
    return options.index(str(wanted)) if wanted in options else 0


kinds, middles, sizes = list(sweeping.KINDS), list(presets), list(mixing.models())
with st.container(horizontal=True, vertical_alignment="bottom"):
    kind = st.selectbox("Design", kinds, first(kinds, draft.get("kind")), key="kind", bind="query-params", width=200)
    n = st.number_input("Mixtures, at most", 1, sweeping.MOST_MIXES, int(draft.get("n", 16)), key="n",
                        bind="query-params", width=160)  # fmt: skip
    seed = st.number_input("Design seed", 0, 10**6, int(draft.get("design_seed", 0)), key="design_seed", width=140,
                           bind="query-params", help="Of the draws, not of the runs.")  # fmt: skip
    middle, spread = "natural", 0.05
    if kind == "around":
        middle = st.selectbox("Around", middles, first(middles, draft.get("middle")), key="middle", width=220,
                              bind="query-params")  # fmt: skip
        spread = st.number_input("Spread", 0.005, 0.4, draft.get("spread", 0.05), 0.01, key="spread", width=130,
                                 bind="query-params", help="Standard deviation of a weight, as a share.")  # fmt: skip
st.caption(f"{kind}: {sweeping.KINDS.get(kind or '', '')}.")
with st.container(horizontal=True, vertical_alignment="bottom"):
    models = st.multiselect("Models", sizes, draft.get("models", [mixing.DEFAULT_MODEL]), key="models",
                            bind="query-params", width=300)  # fmt: skip
    seeds = st.number_input("Seeds a mixture", 1, sweeping.MOST_SEEDS, int(draft.get("seeds", 1)), key="seeds",
                            bind="query-params", width=150, help="Two or more show the noise.")  # fmt: skip
    tokens = st.number_input(
        "Tokens a run", 10_000, mixing.MOST_TOKENS,
        int(draft.get("tokens", mixing.training(mixing.DEFAULT_MODEL).tokens)), 50_000, key="tokens",
        bind="query-params", width=180,
    )  # fmt: skip
    device = st.selectbox("Price on", list(cost.DEVICES), key="device", bind="query-params", width=130) or "cpu"
plan = sweeping.Plan(
    kind=kind or kinds[0], n=int(n or 1), design_seed=int(seed or 0), middle=middle or "natural",
    spread=float(spread or 0.05), models=tuple(models), seeds=int(seeds or 1), tokens=int(tokens or 1), max_epochs=4.0,
)  # fmt: skip

try:
    around, called = weights.called(plan.middle, sources, runs)
    found = sweeping.mixes(plan, sources, presets, called)
    table = sweeping.runs_of(plan, found, runs, device)
except MixlabError as error:
    parts.problem(error, "This sweep cannot be planned")
    st.stop()

told = sweeping.summary(table)
with st.container(horizontal=True, key="sums"):
    st.metric("Runs", f"{told['runs']:,}", border=True, width=150)
    st.metric("Done already", f"{told['done']:,}", border=True, width=150)
    st.metric("FLOPs to do", weights.short(told["flops"]), border=True, width=150)
    st.metric("Time to do", weights.duration(told["hours"]), border=True, width=150, help=f"On one {device}.")
    st.metric("Price to do", weights.dollars(told["dollars"]), border=True, width=150)
price = mixing.cost(plan.models[0], plan.tokens, device)
st.caption(parts.plain(
    f"{len(found)} mixtures. {told['done']:,} of {told['runs']:,} runs already finished; "
        f"{told['todo']:,} to run. Speed {price.basis}. "
    "Done means: same weights, seed, size and budget; the dry run below compares every setting."
))  # fmt: skip
if len(plan.models) > 1:
    st.caption("Several sizes: each gets its learning rate by the ladder rule (train.lr=auto).")

names = list(sources["source"])
with st.expander(f"Mixtures as bars ({min(len(found), DRAWN)} of {len(found)})"):
    bars = lab.bars({m.name: m.weights for m in found[:DRAWN]})
    parts.chart(charts.weights(bars, lab.source_names()), key="design")
shares = {f"w_{s}": st.column_config.NumberColumn(s, format="percent") for s in names}
parts.table(
    table,
    key="planned",
    height=min(38 + 35 * len(table), 420),
    column_order=["mixture", "model", "seed", *shares, "hours", "dollars", "is_done"],
    column_config={
        "mixture": st.column_config.TextColumn("Mixture", pinned=True),
        **shares,
        "hours": st.column_config.NumberColumn("Hours", format="%.4f"),
        "dollars": st.column_config.NumberColumn("Dollars", format="%.4f"),
        "is_done": st.column_config.CheckboxColumn("Done"),
    },
    alt=f"{len(table)} runs with their weights and cost; {told['done']} are done",
)

st.subheader("Save and launch")
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = st.text_input("Name", draft.get("name", ""), key="sweep_name", persist_state="session",
                         placeholder="first-look", width=320) or ""  # fmt: skip
    clicked = st.button("Save", key="save_sweep")
drafts.save("sweep", sweeping.draft_of(plan, name))
if not name and not clicked:
    st.caption("With a name it becomes two files that a shell can train, too, and can be launched here.")
    st.stop()
try:
    text = sweeping.as_yaml(name, plan, len(found), names)
    replace = sweeping.is_there(name, text, found) and st.checkbox(
        "Replace the files that have this name", key=f"r-{name}"
    )
    if clicked:
        sweeping.save(name, plan, found, overwrite=replace)
        st.success("Saved.")
    st.code("\n".join(map(str, sweeping.paths(name))), language=None, wrap_lines=True)
    design = parts.text_of(sweeping.design_words(name, plan, names, around))
    parts.command(f"{recipes.as_command(sweeping.paths(name)[1], text)}\n{design}", "The same two files in a shell:")
    parts.command(["sweep", name, "--dry-run"], "Every run, priced, without training it:")
    job = parts.launch(["sweep", name], key=jobs.work_key(["sweep", name], text, sweeping.content(found)),
                       label=f"Launch {told['todo']:,} runs" if told["todo"] else "Launch",
                       before=lambda: sweeping.save(name, plan, found, overwrite=replace))  # fmt: skip
    if job:
        jobview.follow(job, key="sweep")
except MixlabError as error:
    parts.problem(error, "Not saved")
