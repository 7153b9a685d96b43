"""Filters: what cleaning takes at each stage, what a changed rule would bring back, and whom it hits."""

import streamlit as st

from mixlab import jobs
from mixlab.app import auditing, corpora, parts, switching
from mixlab.results import charts_data

state = st.session_state

st.title("Filters")
cleaned = corpora.choices()
if not cleaned:
    parts.empty(
        "No source is cleaned in this lab yet",
        "Once one is, this page tells what each rule costs in documents, bytes and tokens, and what another would.",
        command=["data", "prepare"],
    )
    st.stop()
with st.container(horizontal=True, vertical_alignment="bottom"):
    sources = st.multiselect("Sources", list(cleaned), default=list(cleaned), key="sources", bind="query-params",
                             width=420) or list(cleaned)  # fmt: skip
    unit = st.segmented_control("Counted in", list(charts_data.UNITS), default="docs", required=True, key="unit",
                                bind="query-params", format_func=charts_data.UNITS.__getitem__)  # fmt: skip
keys = list[str]()
several = [name for name in sources if len(cleaned[name]) > 1]
with st.expander("Which cleaning of each source", key="which") if several else st.container():
    for name in sources:
        made = {told.path.name: told for told in cleaned[name]}
        picked = next(iter(made))
        if len(made) > 1:
            picked = st.selectbox(f"Cleaning of {name}", list(made), key=f"cleaning-{name}",
                                  format_func=lambda k, made=made: f"{made[k].profile} ({k[-8:]})")  # fmt: skip
        keys.append(picked)
tables, colours = corpora.tables(keys), parts.palette()
rules = corpora.rules(keys)
if unit == "tokens" and any(tables["stages"]["tokens"].isna()):
    st.info("Tokens are known once a source is tokenised: `mixlab data prepare`. Until then, documents are counted.")
    unit = "docs"

left, by_rule, what_if, saved, bias = st.tabs(
    ["What is left", "Rules", "What if", "Thresholds", "Bias audit"], key="look", on_change="rerun", bind="query-params"
)
if left.open:
    with left:
        grid = st.grid(2, min_column_width=330)
        for name in sources:
            part = tables["stages"].loc[tables["stages"]["source"] == name]
            with grid.container():
                st.subheader(name, anchor=False)
                st.caption(parts.plain(next(t.profile for t in cleaned[name] if t.path.name in keys)))
                parts.chart(charts_data.waterfall(part, unit, colours.get(name, charts_data.OKABE_ITO[0])),
                            key=f"fall-{name}")  # fmt: skip
        with st.expander("The same as a table", key="stages"):
            parts.table(
                tables["stages"], key="stage_table", alt="What is left of each source after each step",
                column_config={c: st.column_config.NumberColumn(c, format="localized") for c in charts_data.UNITS},
            )  # fmt: skip
        parts.command(["data", "atlas", *(sources if len(sources) == 1 else [])], "The same in a shell:")
if by_rule.open:
    with by_rule:
        if tables["kills"].empty:
            st.write("No document-level rule of these profiles hits anything.")
        else:
            parts.chart(charts_data.kills(tables["kills"], colours, unit), key="kills")
            st.caption("A document that several rules hit is shared out evenly among them: the bars sum to the loss.")
            parts.table(
                tables["kills"].sort_values("docs_hit", ascending=False), key="kill_table",
                alt="What each rule removes, a row a source and rule", placeholder="–",
                column_config=switching.KILL_COLUMNS,
            )  # fmt: skip
            name = st.selectbox("Read what a rule drops", list(dict.fromkeys(tables["kills"]["rule"])), key="read")
            for told in sources:
                if len(tables["kills"].query("source == @told and rule == @name")):
                    parts.linked("documents", f"{told}: documents that {name} hits", ":material/article:",
                                 query={"source": told, "rule": str(name)})  # fmt: skip
        if len(tables["overlap"]):
            st.subheader("Rules that hit the same documents")
            parts.chart(charts_data.overlap(tables["overlap"]), key="overlap")
        st.subheader("Lines that went")
        parts.table(tables["lines"], key="line_table", placeholder="–",
                    alt="Lines that line rules drop, by source and rule",
                    column_config=switching.counted("lines", "docs"))  # fmt: skip
if what_if.open:
    with what_if:
        st.caption("Switch rules off or move thresholds: the counts follow at once, nothing is cleaned again.")
        counts = st.container()
        asked = switching.switches(rules)
        with counts:
            switching.outcome(corpora.answer(keys, asked))
        if asked:
            words = [word for one in asked for word in ("--what-if", one)]
            parts.command(["data", "atlas", *(sources if len(sources) == 1 else []), *words], "The same in a shell:")
        with parts.guarded("This rule set cannot be saved"):
            switching.save([t for name in sources for t in cleaned[name] if t.path.name in keys], asked)
if saved.open:
    with saved:
        measured = rules.loc[[bool(limits) for limits in rules["limits"]]]
        if measured.empty:
            st.write("No rule of these profiles has a threshold.")
        else:
            switching.thresholds(measured, dict(zip(sources, keys, strict=True)))
if bias.open:
    with bias:
        st.caption("Does cleaning remove documents that name a group of people more often than others?")
        found = corpora.audited(keys)
        if found is None:
            st.write("These cleanings were not audited yet. It reads all their raw text once, in the background.")
            words = ["data", "audit", *(sources if len(sources) == 1 else [])]
            parts.launch(words, key=jobs.work_key(words, *keys), label="Run the audit",
                         disabled=corpora.preparing(auditing.workspace(), "audit"))  # fmt: skip
            auditing.progress()
        else:
            auditing.shown(found)
            parts.command(["data", "audit", *(sources if len(sources) == 1 else [])], "The same in a shell:")
