"""Parts of the page Advice: the verdict's card, what to train next, longer runs, power.

Draws what app/advising.py and app/onward.py tell.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from mixlab.app import advising, lab, onward, parts
from mixlab.app.advising import Wanted
from mixlab.results import charts, charts_advice

DESIGNS = ((16, 1), (32, 1), (16, 2))
"""(mixes, seeds) whose power is simulated."""
PERCENT = 100
NUMBER = st.column_config.NumberColumn
SHARES: Mapping[str, Any] = {
    "source": "Source",
    "weight": NUMBER("Weight", format="percent"),
    "equal": st.column_config.TextColumn("Equally good", help="Weights within one sd of the best, all together."),
    "epochs": NUMBER("Epochs", format="%.2f", help="Passes over the source in the run it is for."),
    "room": NUMBER("A point more room saves", format="%.5f", help="Bits per byte; –: its cap is not reached."),
}
POWER: Mapping[str, Any] = {
    "runs": NUMBER("Mixes"),
    "seeds": NUMBER("Seeds"),
    "dollars": NUMBER("Dollars", format="%.4f"),
    "regret": NUMBER("Regret", format="%.4f", help="Bits per byte that the picked mix loses to the best."),
    "decision_accuracy": NUMBER("Pairs ordered right", format="percent", help="Of pairs of mixes."),
}


def sums(sources: Sequence[str]) -> tuple[tuple[tuple[str, ...], float, float], ...]:
    """Limits on what several sources have together: a row each, and one more row as soon as the last is filled."""
    told, number, columns = list[tuple[tuple[str, ...], float, float]](), 1, [3, 2]
    while True:
        left, right = st.columns(columns, vertical_alignment="bottom")
        names = left.multiselect(
            "Limit the sum of several sources" if number == 1 else "And the sum of", sources,
            key=f"group_{number}", bind="query-params", placeholder="choose two or more",
        )  # fmt: skip
        if len(names) < 2:
            return tuple(told)
        low, high = right.slider(
            parts.plain(f"{' + '.join(names)}, from and to"), 0, PERCENT, (0, PERCENT),
            key=f"sum_{number}", format="%d %%", bind="query-params",
        )  # fmt: skip
        if (low, high) != (0, PERCENT):
            told.append((tuple(names), low / PERCENT, high / PERCENT))
        number += 1


def verdict(card: dict[str, Any]) -> None:
    """The card of `mixlab recommend`: sentence, mix beside natural, chances, shares, all else that it says."""
    st.subheader(card["sentences"][0], anchor=False)
    bars = lab.bars({"recommended": dict(card["mixture"]["weights"]), "natural": card["natural_mix"]})
    parts.chart(charts.weights(bars, lab.source_names()), key="mix")
    grid = st.grid(5, min_column_width=140)
    for label, (value, says) in advising.chances(card).items():
        grid.container().metric(label, value, border=True, help=says, height="stretch")
    table = advising.shares(card)
    said = "; ".join(f"{s} {w:.0%}, equally good {e}" for s, w, e in table[["source", "weight", "equal"]].to_numpy())
    parts.table(table, key="shares", alt=said, column_config=SHARES, placeholder="–")
    st.text("\n\n".join(card["sentences"][2:]))
    left = f"; {card['left_out']} finished runs of another recipe were left out" if card["left_out"] else ""
    st.caption(f"From {parts.several(len(card['runs']), 'run')}{left}.")
    for warning in [*card["warnings"], *card["notes"]]:
        st.warning(parts.plain(warning))


def next_runs(wanted: Wanted, batch: int) -> None:
    """A batch of mixes to train next, and whether it is worth it."""
    with st.spinner("Training in imagination, some seconds …"):
        told = onward.next_runs(wanted, batch)
    st.info(parts.plain(told["words"]), title="Go on" if told["is_worth_it"] else "Stop", icon=":material/rule:")
    proposed = {f"next {i}": mix for i, mix in enumerate(told["mixes"], 1)}
    parts.chart(charts.weights(lab.bars(proposed), lab.source_names()), key="next_mixes")
    parts.command([*wanted.of_runs("next"), "--batch", str(batch)])


def longer_runs(wanted: Wanted) -> None:
    """The best mix at some times the tokens, by a slider, and how it drifts."""
    with st.spinner("Fitting a law to every score, some seconds …"):
        told = onward.horizon(wanted)
    times = st.select_slider("Times the tokens of these runs", list(told["steps"]), key="times", bind="query-params")
    said, mix = told["steps"][times]
    st.text(said)
    if mix:
        parts.chart(charts.weights(lab.bars({f"{times:g}x": mix}), lab.source_names()), key="then")
    if len(told["drift"]):
        parts.chart(charts_advice.drift(told["drift"], lab.source_names()), key="drift")
    st.caption(
        "A power law, repeated tokens discounted as Muennighoff et al. (2023) measured: read the drift, not the mix. "
        + parts.plain(told["hangs_on"])
    )
    parts.command(wanted.of_runs("horizon"))


def power(wanted: Wanted) -> None:
    """What sweeps of some sizes would find on surfaces like the fitted one."""
    with st.spinner("Simulating designs, some seconds …"):
        found = onward.power(wanted, DESIGNS)
    least = found.iloc[int(found["regret"].argmin())]
    said = f"{least['runs']:.0f} mixes x {least['seeds']:.0f} seeds lose least: {least['regret']:.4f}"
    parts.table(found, key="power", alt=said, column_config=POWER)
    st.caption("Regret: bits per byte that the picked mix loses to the best one, on surfaces like the fitted one.")
    parts.command(wanted.of_runs("power"))
