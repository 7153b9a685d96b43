"""The part of the filters page that shows a bias audit, and how far one is. Draws; the audit is `mixlab data audit`."""

import pandas as pd
import streamlit as st

from mixlab import jobs
from mixlab.app import corpora, jobview, lab, parts
from mixlab.data.audit import ANY, MIN_DOCS, Audit
from mixlab.results import charts_data
from mixlab.workspace import Workspace

SHARES = ("rate", "low", "high", "base_rate")


COLUMNS = {
    "docs": st.column_config.NumberColumn("documents", format="localized"),
    **{c: st.column_config.NumberColumn(c.replace("_", " "), format="percent") for c in SHARES},
    **{c: st.column_config.NumberColumn(c.replace("_", " "), format="%.2f") for c in charts_data.RISK},
}


def workspace() -> Workspace:
    """The lab that the app looks at."""
    return Workspace.open()


def progress() -> None:
    """The newest audit that was started here; looks again while it runs, and draws the page anew when it ends."""
    is_live = corpora.preparing(workspace(), "audit")

    def looked() -> None:
        told = corpora.last_job(workspace(), "audit")
        if told is not None:
            jobview.job(told, key="audit")
            if is_live and told["state"] not in jobs.LIVE:
                st.rerun()

    jobview.live(looked, key="audit", is_live=is_live)


def shown(found: Audit) -> None:
    """What an audit found: risks by term, the swap, the words that mark what is removed."""
    rates = found.rates.loc[found.rates["docs"] >= MIN_DOCS]
    if rates.empty:
        st.write(f"No identity term stands in {MIN_DOCS} documents or more: nothing can be said.")
        return
    named = sorted(set(rates["rule"]) - {ANY})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = st.selectbox("Source", sorted(set(rates["source"])), key="audit_source", width=180)
        rule = st.selectbox("Rule", [ANY, *named], key="audit_rule", width=280)
    mine = rates.loc[(rates["source"] == source) & (rates["rule"] == rule)]
    if mine["relative_risk"].notna().any():
        parts.chart(charts_data.risks(mine), key="risks")
    else:
        st.write("This rule removes no document of this source that names one of the terms.")
    loud = found.alarms(1.5)
    if len(loud):
        first: pd.Series = loud.iloc[0]
        st.warning(
            parts.plain(
                f"{len(loud)} rows exceed a relative risk of 1.5 beyond their noise; the highest: '{first['term']}' in "
                f"{first['source']}, {first['relative_risk']:.1f} times, by {first['rule']}."
            )
        )
    parts.table(mine.drop(columns=["source", "rule"]).sort_values("relative_risk", ascending=False),
                key="rates", placeholder="–", alt="Removal rate by identity term with 95 % intervals",
                column_config=COLUMNS)  # fmt: skip
    st.subheader("The same documents with only the term swapped")
    swaps = found.swaps.loc[(found.swaps["source"] == source) & (found.swaps["rule"] == rule)]
    parts.table(swaps.drop(columns=["source", "rule"]).sort_values("freed", ascending=False),
                key="swaps", placeholder="–", alt="Removed documents, free once the term is swapped")  # fmt: skip
    st.caption("Freed: it was the term. Still removed: it is the company the term keeps.")
    st.subheader("Words that mark what is removed")
    words = found.words.loc[found.words["source"] == source].drop(columns="source")
    parts.table(words.assign(word=[lab.visible(w) for w in words["word"]]), key="words",
                placeholder="–", alt="Words over-represented in removed documents, by z")  # fmt: skip
