"""Parts of the page Mix that say something in words: what it costs, its licences, its promise, the last look.

Draws what app/mixing.py works out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from mixlab.app import mixing, parts, weights
from mixlab.app.sliders import State
from mixlab.errors import MixlabError
from mixlab.mix.budget import CHINCHILLA, Exposure


def row_box(names: Sequence[str], take: Callable[[], None]) -> Any:
    """A popover for a row of weights, which `take` reads from `pasted`; returns the place below it for `shared`."""
    with st.popover("Paste or share", icon=":material/content_paste:"):
        st.text_area("Weights", key="pasted", placeholder=f"{names[0]}=30, {names[-1]}=70",
                     help="name=number pairs, JSON, a CSV head with its row, or numbers in order.")  # fmt: skip
        st.button("Take these", key="use_pasted", on_click=take)
        return st.container()


def shared(row: str) -> None:
    """The mix of the page as a row, and as a link."""
    st.caption("This mix as a row, and in an address that opens this page with it:")
    st.code(row, language=None, wrap_lines=True)
    st.code(parts.address("mix", weights=row), language=None, wrap_lines=True)


def cost(price: mixing.Cost, grid: State, tokens: int, device: str) -> None:
    """Five figures, each with what is behind it."""
    short, hourly = weights.short, f"${price.dollars_per_hour:g} an hour of one {device}"
    told = (
        ("Weights sum to", f"{sum(grid.weights) / weights.UNITS:.1%}", "Always: the others give way."),
        ("Training tokens", short(tokens), f"{price.tokens_per_param:.1f} a parameter; Chinchilla's is {CHINCHILLA}."),
        ("FLOPs", short(price.flops), f"Forward and backward, of {short(price.params)} parameters."),
        ("Time", weights.duration(price.hours), f"On one {device}: {price.tokens_per_s:,.0f} tokens/s, {price.basis}"),
        ("Price", weights.dollars(price.dollars), f"${price.dollars:.2g}: {hourly}."),
    )
    with st.container(horizontal=True, key="cost"):
        for title, value, says in told:
            st.metric(title, value, border=True, width=150, help=parts.plain(says))
    st.caption(
        parts.plain(f"{short(price.params)} parameters. Speed {price.basis}; {hourly}. Evaluation is not in it.")
    )


def licences(told: Sequence[Exposure]) -> None:
    """The union of licences with shares of tokens; `unknown` is its own loud state."""
    doubt = {"unknown": ("red", ":material/report:"), "no": ("orange", ":material/block:")}
    with st.container(horizontal=True, vertical_alignment="center", key="licences"):
        st.markdown("**Licences**")
        for e in told:
            colour, icon = doubt.get(e.commercial, ("green", ":material/check:"))
            words = [e.licence, f"{e.share:.0%}", *(["share-alike"] if e.share_alike else [])]
            words += (
                ["not commercial"] if e.commercial == "no" else ["terms unknown"] if e.commercial == "unknown" else []
            )
            st.badge(parts.plain(", ".join(words)), icon=icon, color=colour, help=parts.plain(", ".join(e.sources)))  # pyright: ignore[reportArgumentType]  # a Literal of colours there
    unknown = sum(e.share for e in told if e.commercial == "unknown")
    if unknown:
        names = sorted({s for e in told if e.commercial == "unknown" for s in e.sources})
        st.error(
            parts.plain(f"{unknown:.0%} of the tokens, from {', '.join(names)}, stand under terms that are not known."),
            title="Licence unknown", icon=":material/report:",
        )  # fmt: skip


def promise(mixture: Mapping[str, float], baseline: Mapping[str, float], mixes: int, runs: int) -> None:
    """The predicted score with its interval and the gain over the baseline, or what is missing for it.

    `mixes`: that have finished; `runs`: in the lab.
    """
    st.markdown("**Predicted score**")
    if mixes < mixing.LEAST_MIXES:
        st.write(f"A fit needs {mixing.LEAST_MIXES} finished mixes; there are {mixes}. A sweep makes them:")
        parts.command(["sweep", "swarm"])
        return
    if not parts.is_fit_wanted(runs, at_once=mixing.FITTED_AT_ONCE):
        return
    try:
        with st.spinner("Fitting the finished runs …"):
            told = mixing.foresee(mixture, baseline)
    except MixlabError as error:
        parts.problem(error, "Nothing can be predicted")
        return
    score, gain = told.score, told.gain
    st.metric("Bits per byte, mean of sources", f"{score.mean:.3f}", help="Lower is better.")
    st.text(f"95 % of runs between {score.lo95:.3f} and {score.hi95:.3f}")
    st.text(f"Gain over the baseline {gain.mean:+.4f} (95 %: {gain.lo95:+.4f} to {gain.hi95:+.4f}): {told.verdict}.")
    st.caption(f"From {told.runs} finished runs of {weights.short(told.tokens)} tokens; for a run of that size.")
    if told.outside:
        st.warning(parts.plain(f"The share of {', '.join(told.outside)} lies outside of what the runs had."))


def review(sources: pd.DataFrame, mixture: Mapping[str, float], price: mixing.Cost, tokens: int) -> None:
    """The last look before anything is spent: a row a source, and the bill."""
    drawn = [round(mixture[n] * tokens) for n in sources["source"]]
    epochs: list[Any] = [d / t if t else None for d, t in zip(drawn, sources["tokens"], strict=True)]
    told = sources[["source", "licence"]].assign(weight=[mixture[n] for n in sources["source"]], tokens=drawn)
    parts.table(
        told.assign(epochs=epochs, licence=told["licence"].replace("", None).fillna("unknown")),
        key="review_table",
        column_order=["source", "weight", "tokens", "epochs", "licence"],
        column_config={
            "weight": st.column_config.NumberColumn("Weight", format="percent"),
            "tokens": st.column_config.NumberColumn("Tokens", format="localized"),
            "epochs": st.column_config.NumberColumn("Epochs", format="%.2f"),
        },
        alt=f"{len(told)} sources with weight, tokens, epochs and licence",
    )
    time = weights.duration(price.hours)
    st.text(f"{weights.short(price.flops)} FLOPs, about {time}, {weights.dollars(price.dollars)}; then its evaluation.")
    if missing := mixing.unconfigured(list(sources["source"])):
        st.warning(parts.plain(f"No file describes {', '.join(missing)} here: the run will not find them by name."))
