"""Documents: those that were kept and those that went, why, and beside which twin."""

from typing import Any

import streamlit as st

from mixlab.app import corpora, lab, parts
from mixlab.app.passages import beside, lines_of, page_of_first_span, pages_of, passages
from mixlab.data import browse, labels
from mixlab.errors import MissingError

state = st.session_state

st.title("Documents")
cleaned = corpora.choices()
if not cleaned:
    parts.empty(
        "No source is cleaned in this lab yet",
        "Once one is, each of its documents can be read here, with the rule that drops it.",
        command=["data", "prepare"],
    )
    st.stop()


def first_page() -> None:
    """Other documents are wanted: back to the first page."""
    state["page"] = 1


def clear() -> None:
    """Takes every filter away."""
    state.update(fate=None, rule=None, only=False, part="", label=None, page=1)


with st.container(horizontal=True, vertical_alignment="bottom"):
    source = st.selectbox("Source", list(cleaned), key="source", bind="query-params", on_change=clear, width=170)
    made = {told.path.name: told for told in cleaned[source if source in cleaned else next(iter(cleaned))]}
    which = next(iter(made))
    if len(made) > 1:
        which = st.selectbox("Cleaning", list(made), key=f"cleaning-{source}", on_change=clear, width=260,
                             format_func=lambda k: f"{made[k].profile} ({k[-8:]})") or which  # fmt: skip
    rules = [r.name for r in made[which].rules if r.name != "empty"] + list(corpora.tables([which])["lines"]["rule"])
    rule = st.selectbox("Rule", rules, index=None, key="rule", bind="query-params", on_change=first_page,
                        placeholder="Any", width=260)  # fmt: skip
    part = st.text_input("Id contains", key="part", bind="query-params", on_change=first_page, width=180) or ""
    wanted = st.selectbox("Label", ["good", "bad", "either"], index=None, key="label", bind="query-params",
                          on_change=first_page, placeholder="Any", width=130)  # fmt: skip
    only = st.toggle("No other rule hits", key="only", bind="query-params", on_change=first_page,
                     help="Documents that would come back if the rule alone were off.")  # fmt: skip
fates = corpora.fates(which).set_index("fate")
there = {name: int(fates["docs"][name]) for name in browse.FATES if name in fates.index}
fate = st.pills("What became of them", list(there), key="fate", bind="query-params", on_change=first_page)
st.caption(browse.FATES[fate] if fate else " · ".join(f"{n:,} {name}" for name, n in there.items()))
held = corpora.labelled(source)
ids = None if wanted is None else tuple(held.loc[(held["label"] == wanted) | (wanted == "either"), "id"])
ask = browse.Ask(fate=fate, rule=rule, only=only, part=part, ids=ids)
place = st.container()
number = int(state.get("page") or 1)
rows, total = corpora.documents(which, ask, number)
if total and rows.empty:
    state["page"] = number = 1
    rows, total = corpora.documents(which, ask, number)
with st.container(horizontal=True, vertical_alignment="center"):
    if total > corpora.PAGE_DOCS:
        st.pagination(-(-total // corpora.PAGE_DOCS), key="page", bind="query-params")
    st.caption(f"{total:,} documents, {corpora.PAGE_DOCS} on a page.")


def open_row() -> None:
    """The row that was ticked is the document below."""
    picked = state[table_key].selection.rows
    state["id"] = lab.visible(rows["id"].iloc[picked[0]]) if picked else ""


if rows.empty:
    place.write("0 documents match. Fewer filters find more:")
    place.button("Clear the filters", key="clear", on_click=clear, icon=":material/filter_alt_off:")
else:
    table_key = f"rows-{which}-{hash((fate, rule, only, part, wanted, number))}"
    said = dict(zip(held["id"], held["label"], strict=True))
    inert: dict[str, list[Any]] = {c: [lab.visible(str(v)) for v in rows[c]] for c in ("id", "why", "text")}
    inert["label"] = [said.get(i) for i in rows["id"]]
    parts.table(
        rows.assign(**inert), key=table_key, height=min(38 + 35 * len(rows), 460),
        column_order=["id", "fate", "why", "text", "label", "bytes_in", "bytes_out", "lines_dropped"],
        placeholder="–", place=place, on_select=open_row, selection_mode="single-row",
        alt=f"{len(rows)} of {total} documents of {source}; tick one to read it",
        column_config={
            "id": st.column_config.TextColumn("Id", pinned=True, width=140),
            "fate": st.column_config.TextColumn("Fate", width="small"),
            "why": st.column_config.TextColumn("Why: value and threshold", width=240),
            "lines_dropped": st.column_config.NumberColumn("Lines gone", width="small"),
            "bytes_in": st.column_config.NumberColumn("Bytes", format="bytes", width="small"),
            "bytes_out": st.column_config.NumberColumn("After", format="bytes", width="small"),
            "label": st.column_config.TextColumn("Label", width="small"),
            "text": st.column_config.TextColumn("Text", width=230),
        },
    )  # fmt: skip
typed = st.text_input("Document", key="id", bind="query-params", placeholder="Tick a row, or type an id") or ""
if typed:
    try:
        found = corpora.document(which, typed)
    except MissingError as e:
        st.warning("There is no such document in this source.")
        st.code(lab.visible(str(e)), language=None, wrap_lines=True)
        st.stop()
    doc_id = found.id
    later = ", then removed as a duplicate" if found.duplicate else ""
    st.subheader(f"Kept by cleaning{later}" if found.kept else "Dropped by cleaning", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        now = held.loc[held["id"] == doc_id, "label"]
        st.badge(f"labelled {now.iloc[0]}" if len(now) else "no label", icon=":material/label:", color="gray")
        note = st.text_input("Note", key=f"note-{doc_id}", width=260) or ""
        for verdict, icon in zip(labels.VERDICTS, ("thumb_up", "thumb_down", "label_off"), strict=True):
            said = "No label" if verdict == "none" else verdict.capitalize()
            if st.button(said, key=f"label-{verdict}", icon=f":material/{icon}:"):
                corpora.label(which, doc_id, verdict, note)
                st.rerun()
    why = ["--note", lab.visible(note)] if note else []
    parts.command(["data", "label", found.source, lab.visible(doc_id), "bad", *why], "The same in a shell:")
    if found.duplicate:
        twin, both = found.duplicate, corpora.pair(which, found)
        alike = "the same words" if twin["exact"] else f"Jaccard {twin['jaccard']:.3f}"
        if twin["reason"] == "short":
            alike = "too short to compare"
        st.write(f"Removed as a duplicate: {alike}. Green: the longest shared run of words; dashed: words that differ.")
        if not both.is_compared:
            st.caption("Too long to compare word by word: only the shared run is marked.")
        sides = (("Removed", f"{found.source} {doc_id}", both.removed),
                 ("Kept", f"{twin['kept_source']} {twin['kept_id']}", both.kept))  # fmt: skip
        for column, (title, who, text) in zip(st.columns(2), sides, strict=True):
            with column:
                st.text(f"{title}: {lab.visible(who)}")
                passages(beside(text), label=f"{title} text", key=f"side-{title}")
    parts.table(corpora.verdicts(found), key="rules", placeholder="–",
                alt="Every document rule in order, whether it drops this document, and what it measured")  # fmt: skip
    pages = pages_of(found)
    lines = page_of_first_span(found)
    if pages > 1:
        lines = st.pagination(pages, default=lines, key=f"lines-{which}-{doc_id}")
    st.caption(f"{len(found.lines):,} lines. Struck: a line that a rule drops. Marked: what a rule looks for.")
    passages(lines_of(found, lines), label="Text line by line", key="text")
    with st.expander("Plain text", key="plain", on_change="rerun") as plain:
        if plain.open:
            parts.untrusted("\n".join(line for _, line, _ in found.lines)[: corpora.PLAIN_CHARS])
    parts.command(["data", "explain", found.source, lab.visible(doc_id)], "The same in a shell:")
if len(held):
    st.download_button(f"Export {len(held)} labels", labels.as_csv(held), f"labels-{source}.csv", "text/csv",
                       key="export", icon=":material/download:")  # fmt: skip
    parts.command(["data", "labels", "--out", "labels.csv"], "The same in a shell, all sources:")
