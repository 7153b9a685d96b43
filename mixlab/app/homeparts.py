"""Parts of the page Home: the last verdict, and the mixes in their order. Draws what app/lab.py tells."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from mixlab.app import lab, parts

NUMBER, TEXT = st.column_config.NumberColumn, st.column_config.TextColumn
MIXES: Mapping[str, Any] = {
    "mixture": TEXT("Mix", pinned=True),
    "bpb_macro": NUMBER("Bits per byte", format="%.4f", help="Held out; mean of sources, then of seeds."),
    "bpb_macro_sd": NUMBER("sd", format="%.4f", help="Standard deviation over seeds."),
    "n_scored": NUMBER("Seeds"),
    "shares": TEXT("Weights, %", help="Shares of the training tokens.", width="medium"),
    "target_tokens": NUMBER("Training tokens", format="localized"),
    "n_params": NUMBER("Parameters", format="localized"),
}
IMPORTED = {"origin": TEXT("From", help="Imported: measured elsewhere, on other held-out text.")}


def verdict() -> None:
    """The last recommendation, its weights and what came of it; without one, the command that makes it."""
    told = lab.verdict()
    if told is None:
        st.write("No recommendation yet: it needs finished runs of several mixes.")
        parts.command(["recommend"])
        return
    sentences, weights = told
    with st.container(border=True, key="verdict"):
        st.text("\n\n".join(sentences[:2]))
        with st.container(horizontal=True):
            for source, weight in sorted(weights.items()):
                st.metric(parts.plain(source), f"{weight:.1%}", width=140)
        with st.expander("All that it says"):
            st.text("\n\n".join(sentences[2:]))
        parts.linked("advice", "The verdict in full", ":material/gavel:")


def ranking(best: pd.DataFrame) -> None:
    """Finished mixes, the lowest bits per byte first."""
    leader = best.iloc[0]
    columns = {**MIXES, **(IMPORTED if bool(best["origin"].notna().any()) else {})}
    parts.table(
        best,
        key="best",
        placeholder="",
        column_order=list(columns),
        column_config=columns,
        alt=f"Mixes by held-out bits per byte, lowest first: {leader['mixture']} with {leader['bpb_macro']:.3f}",
    )
