"""Which source each sequence comes from. Reads and writes nothing.

Tijdeman's chairman assignment (Discrete Math. 32, 1980): at every prefix each source has been drawn within one sequence
of what its weights ask for, also where the weights change on the way. It depends on the weights alone: neither shards,
workers nor the order of the sources can change it.
"""

from collections.abc import Sequence

import numpy as np

from mixlab.data.jit import jit
from mixlab.mix.simplex import apportion

UNITS = 2**40  # weights as integers: exact arithmetic; rounding shifts no prefix by a sequence before 5e11 of them
EXACT_STEPS = 10**8  # sequences x sources counted one by one, up to 0.6 s; 5 M sequences of 20 sources


def turns(weights: Sequence[Sequence[float]], lengths: Sequence[int]) -> np.ndarray:
    """Index of the source of every sequence; int16 (sum of lengths,). `weights` (phases, sources) sum to 1 by phase.

    >>> turns([[0.25, 0.75]], [8]).tolist()
    [1, 0, 1, 1, 1, 0, 1, 1]
    """
    places, units = _units(weights)
    out = np.empty(sum(lengths), np.int16)
    _chairmen(units, np.array(lengths, np.int64), out, True)
    return places[out]


def counts(weights: Sequence[Sequence[float]], lengths: Sequence[int]) -> np.ndarray:
    """Sequences per phase and source; int64 (phases, sources). Those of `turns`.

    Beyond EXACT_STEPS by largest remainder in each phase, within one sequence of the weight too.
    """
    places, units = _units(weights)
    if sum(lengths) * len(places) > EXACT_STEPS:
        return np.stack([apportion(w, n) for w, n in zip(weights, lengths, strict=True)])
    found = np.zeros((len(lengths), len(weights[0])), np.int64)
    found[:, places] = _chairmen(units, np.array(lengths, np.int64), np.empty(0, np.int16), False)
    return found


def whole(weights: Sequence[float]) -> np.ndarray:
    """The weights as integers that sum to UNITS: what the order really depends on; int64 (sources,)."""
    return apportion(weights, UNITS)


def _units(weights: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Places of the sources drawn in any phase (int16), and their weights as integers (phases, places)."""
    assert len(weights[0]) < 2**15, "source indices are 16-bit"
    units = np.stack([whole(w) for w in weights])
    places = np.flatnonzero(units.any(0))
    return places.astype(np.int16), units[:, places]


@jit
def _chairmen(units: np.ndarray, lengths: np.ndarray, out: np.ndarray, keep: bool) -> np.ndarray:
    """Draws by phase and source; `out` gets the turns if they are to be kept.

    `lag` = what the weights ask for - drawn, in 1/UNITS. Who lags by 1/(2m - 2) may be drawn; drawn is who would first
    reach the bound 1 - 1/(2m - 2), looking ahead over the borders; the last phase has no end. Ties go to the first.
    """
    phases, m = units.shape
    lag, drawn = np.zeros(m, np.int64), np.zeros((phases, m), np.int64)
    least, t = UNITS // max(2, 2 * m - 2), 0
    for p in range(phases):
        for k in range(lengths[p]):
            chosen, soonest = -1, np.inf
            for i in range(m):
                lag[i] += units[p, i]
                if lag[i] >= least:
                    due = _due(units, i, lengths, p, lengths[p] - 1 - k, UNITS - least - lag[i])
                    if chosen < 0 or due < soonest:
                        chosen, soonest = i, due
            lag[chosen] -= UNITS
            drawn[p, chosen] += 1
            if keep:
                out[t] = chosen
            t += 1
    return drawn


@jit
def _due(units: np.ndarray, i: int, lengths: np.ndarray, p: int, left: int, need: float) -> float:
    """Turns until source `i` has gained `need` units: `left` of them in phase `p`, then through those that follow."""
    waited, need = 0.0, float(need)
    while p < len(lengths) - 1 and need > float(units[p, i]) * left:
        need -= float(units[p, i]) * left
        waited += left
        p += 1
        left = lengths[p]
    return waited + need / units[p, i] if units[p, i] else np.inf
