"""Linked weight sliders that always sum to 100 %, with locks: one Streamlit component (v2), drawn by sliders.js.

Weights are integers on a grid that sum to `units`, so no rounding error builds up, and the browser redistributes them:
one st.slider per source with callbacks races (the browser re-sends the others' stale values). Python's values win only
when `rev` is raised; until then a rerun never overwrites what the user is dragging, and what comes back carries its
`rev`, so that state from before a reset is ignored. The browser is not trusted: `_is_valid` checks what comes back.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st
from streamlit.components.v2 import component

HERE = Path(__file__).parent
_SLIDERS = component(
    "mixlab_simplex_sliders",
    html="<div id='root'></div>",
    js=(HERE / "sliders.js").read_text(encoding="utf-8"),
    css=(HERE / "sliders.css").read_text(encoding="utf-8"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What stands beside one slider."""

    name: str
    colour: str
    """#rrggbb; our own constant, never the user's text."""
    note: str = ""
    level: Literal["", "repeats", "over"] = ""
    """How loud the note is; the words say it too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Weights on the grid and which of them are locked."""

    weights: tuple[int, ...]
    locked: tuple[bool, ...]


def current(state: State, *, key: str, units: int, rev: int) -> State:
    """What the browser last sent for this `rev`, else `state`; known before the sliders are drawn in this rerun."""
    sent = st.session_state.get(key, {}).get("mix")
    return _taken(sent, state, units, rev)


def simplex_sliders(rows: Sequence[Row], state: State, *, key: str, units: int, rev: int) -> State:
    """Draws the sliders and returns what they hold now; raise `rev` to push `state` into the browser.

    Raises ValueError if `state` is not one grid weight and one lock per row, summing to `units`.
    """
    if not _is_valid(list(state.weights), list(state.locked), len(rows), units):
        raise ValueError(f"weights must be {len(rows)} integers >= 0 that sum to {units}, got {state}")
    data = {
        "rows": [asdict(row) for row in rows],
        "weights": list(state.weights),
        "locked": list(state.locked),
        "units": units,
        "rev": rev,
    }
    return _taken(_SLIDERS(key=key, data=data, on_mix_change=lambda: None).mix, state, units, rev)


def _taken(sent: Any, state: State, units: int, rev: int) -> State:
    """`sent` if it is well formed and belongs to this `rev`, else `state`."""
    try:
        weights, locked, of = list(sent["weights"]), list(sent["locked"]), sent["rev"]
    except (KeyError, TypeError):
        return state
    if of != rev or not _is_valid(weights, locked, len(state.weights), units):
        return state
    return State(weights=tuple(weights), locked=tuple(locked))


def _is_valid(weights: list[Any], locked: list[Any], n: int, units: int) -> bool:
    return (
        len(weights) == len(locked) == n
        and all(type(w) is int and w >= 0 for w in weights)
        and all(type(flag) is bool for flag in locked)
        and sum(weights) == units
    )
