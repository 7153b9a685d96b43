"""Sources: what the lab holds, preparing it, and adding a source of your own."""

from typing import Any

import streamlit as st

from mixlab import jobs
from mixlab.app import corpora, drafts, jobview, lab, parts, recipes
from mixlab.app.weights import short
from mixlab.workspace import Workspace

STATES = {
    "ready": "ready",
    "read": "only read",
    "described": "not prepared",
    "broken": "broken YAML",
}
state, ws = st.session_state, Workspace.open()

st.title("Sources")
st.caption("Where text comes from, what it is allowed for, and how much of it is ready to train on.")
found = corpora.catalogue()
ready = found.loc[found["state"] == "ready"]
if ready.empty:
    parts.empty(
        "No source is prepared in this lab yet",
        "The four starter sources need no account: 20 MB of real text, read, cleaned, deduplicated and tokenised in "
        "about a minute. Choose them below, or type:",
        command=["data", "prepare"],
    )
with st.container(horizontal=True, key="totals"):
    st.metric("Ready", f"{len(ready)} of {len(found)}", border=True, width=170)
    st.metric("Training tokens", short(sum(ready["tokens"])), border=True, width=170)
    st.metric("Documents", short(sum(ready["docs"])), border=True, width=170)
    st.metric("Text", f"{short(sum(ready['bytes']))}B", border=True, width=170)
shown = found.assign(state=[STATES[s] for s in found["state"]], made=1000 * found["made"])
unknown = sorted(found.loc[found["licence"] == "unknown", "source"])
parts.table(
    shown,
    key="catalogue",
    placeholder="–",
    column_order=corpora.COLUMNS,
    alt=f"{len(found)} sources, {len(ready)} ready with {short(sum(ready['tokens']))} training tokens",
    column_config={
        "source": st.column_config.TextColumn("Source", pinned=True),
        "state": st.column_config.TextColumn("State"),
        "docs": st.column_config.NumberColumn(
            "Docs", format="localized", help="Trained on; only read: before cleaning."
        ),
        "bytes": st.column_config.NumberColumn("Bytes", format="bytes"),
        "tokens": st.column_config.NumberColumn("Tokens", format="localized"),
        "language": st.column_config.TextColumn("Language"),
        "licence": st.column_config.TextColumn("Licence", help="Of the text.", width="medium"),
        "fingerprint": st.column_config.TextColumn("Fingerprint", help="Of the files or packages it was read from."),
        "heldout_docs": st.column_config.NumberColumn("Held out", format="localized"),
        "made": st.column_config.DatetimeColumn("Prepared", format="distance"),
    },
)
if unknown:
    st.warning(parts.plain(f"The licence of {', '.join(unknown)} is unknown."), icon=":material/gavel:")
for row in found.loc[found["state"] == "broken"].to_dict("records"):
    st.error(f"The YAML of '{row['source']}' cannot be read.")
    st.code(row["problem"], language=None, wrap_lines=True)
parts.linked("filters", "What cleaning takes from each", ":material/filter_alt:")
parts.linked("documents", "Read the documents", ":material/article:")
with st.expander("Where one comes from", key="where", on_change="rerun") as where:
    if where.open:
        name = st.selectbox("Source", list(found["source"]), key="of", bind="query-params", width=260)
        path = corpora.description(name or "")
        row = found.loc[found["source"] == name].iloc[0]
        for said in (row["attribution"], row["licence_url"]):
            st.text(lab.visible(said) if isinstance(said, str) and said else "")
        if path is None:
            st.write("It is in the lab, but no YAML here describes it.")
        else:
            st.code(path.read_text(encoding="utf-8"), language="yaml", wrap_lines=True)
            st.caption(parts.plain(str(path)))

st.subheader("Prepare")
st.caption("Read, clean, deduplicate, hold out, tokenise. What is there already is not made again.")
with st.container(horizontal=True, vertical_alignment="bottom"):
    usable = list(found.loc[found["state"] != "broken", "source"])
    chosen = st.multiselect("Sources to prepare", usable, default=corpora.starters(usable), key="prepare", width=420)
    cleaning = st.selectbox("Cleaning", corpora.cleaning_names(), key="cleaning", width=200)
words = ["data", "prepare", f"source=[{','.join(sorted(chosen))}]", f"cleaning={cleaning}"]


def last_job() -> None:
    """The newest job that prepares; looks again while it runs, and draws the catalogue anew when it ends."""
    told = corpora.last_job(ws, "prepare")
    if told is not None:
        jobview.job(told, key="sources")
        if told["state"] not in jobs.LIVE and state.get("prepared") == told["job"]:
            state.pop("prepared")
            st.rerun()
        if told["state"] in jobs.LIVE:
            state["prepared"] = told["job"]


key = jobs.work_key(words, str(corpora.stamp()))
parts.launch(words, key=key, label="Prepare", disabled=not chosen or corpora.preparing(ws))
jobview.live(last_job, key="sources", is_live=corpora.preparing(ws))

st.subheader("Add a source")
st.caption("The form writes one YAML file in this project; a run, a sweep and the mix page then know the source.")
for name, value in (drafts.load("source") or {}).items() if "new_kind" not in state else ():
    state[f"new_{name}"] = value
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = st.text_input("Name", key="new_name", placeholder="my-pages", width=240) or ""
    kind = st.selectbox("Kind", list(recipes.ABOUT), key="new_kind", width=160)
    st.text(recipes.ABOUT[kind])
given = dict[str, Any]()
fields = (*recipes.FIELDS[kind], *recipes.COMMON)
more = [field for field in fields if field not in recipes.FIRST]
grid = st.grid(2, min_column_width=300)
is_open = state.setdefault("new_more", any(state.get(f"new_{field}") for field in more))  # as the draft wants it
folded = st.expander("More settings", expanded=is_open)
beneath = folded.grid(2, min_column_width=300)
for field in fields:
    label, says = recipes.LABELS[field]
    with (beneath if field in more else grid).container():
        if field in (*recipes.LISTS, "packages", "query"):
            given[field] = st.text_area(label, key=f"new_{field}", help=says, height=80)
        elif field in recipes.NUMBERS:
            given[field] = st.number_input(label, 0, 10**15, key=f"new_{field}", help=says)
        elif field == "reader":
            given[field] = st.selectbox(label, ["", "text", "json", "jsonl", "sqlite"], key=f"new_{field}", help=says)
        else:
            given[field] = st.text_input(label, key=f"new_{field}", help=says)
if name or any(given.values()):
    drafts.save("source", {"name": name, "kind": kind, **given})
with parts.guarded("This source cannot be saved yet"):
    tree = recipes.source_tree(kind, given)
    content = recipes.source_yaml(name or "NAME", tree)
    st.caption("Exactly this is written:")
    st.code(content, language="yaml", wrap_lines=True)
    if name:
        path = recipes.path_of("source", name)
        recipes.check_source(name, tree)
        replace = path.exists() and st.checkbox("Replace the file that has this name", key=f"replace-{name}")
        if st.button("Save the source", key="save_source", type="primary", icon=":material/save:"):
            recipes.write(path, content, overwrite=replace)
            drafts.drop("source")
            st.success("Saved. It can be chosen under Prepare now.")
            st.code(str(path), language=None, wrap_lines=True)
        parts.command(recipes.as_command(path, content), "The same in a shell:")
        parts.command(["data", "prepare", f"source=[{name}]"], "Then:")
