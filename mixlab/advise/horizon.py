"""How the best mix drifts as the run gets longer: scarce sources are repeated, and a repeated token is worth less.

The law of each metric (power sum) is fitted to the runs' shares with their repetitions discounted; at `times` as many
tokens every source is that much scarcer. What a repetition is worth (R_D*) is poorly known, so the optimum is told for
its published value and for both ends of its interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mixlab.advise import runs
from mixlab.advise.fits import PREFIX, Fit, fit
from mixlab.advise.laws import PUBLISHED, effective_shares
from mixlab.advise.objective import objective_of
from mixlab.advise.optimise import minimiser
from mixlab.advise.parametric import train_power_sum
from mixlab.advise.region import Limits, region_of
from mixlab.advise.surrogate import Surrogate
from mixlab.errors import ConfigError
from mixlab.results.listing import list_runs
from mixlab.workspace import Workspace

TIMES = (1, 2, 4, 8, 16, 32, 64)
STARS = (4.9, PUBLISHED.data, 1000.0)
"""R_D*: 5 % end of its bootstrap interval, published value, and repetitions that are never told from fresh tokens."""
SAMPLES = 3000
FREE_EPOCHS = 4.0  # passes that cost next to nothing (2305.16264); more are marked


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The best mix at one horizon."""

    times: float
    tokens: int
    star: float
    weights: dict[str, float] | None
    """None: not even all sources together, repeated as often as allowed, fill the budget."""
    epochs: dict[str, float]
    moved: float
    """Share of the tokens that lie elsewhere than at the first horizon under the same R_D*."""


def drift(
    table: pd.DataFrame,
    metrics: Sequence[str],
    available: Mapping[str, int],
    tokens: int,
    *,
    times: Sequence[float] = TIMES,
    stars: Sequence[float] = STARS,
    max_epochs: float | None = None,
) -> list[Step]:
    """The best mix for runs of `times` as many tokens as those of the table, for each R_D* in `stars`.

    `available`: source -> tokens; `tokens`: of each run in the table; `max_epochs`: None sets no cap, the discount
    alone decides. Metrics are averaged, lower is better. ConfigError: as `fit`, a source without tokens, times <= 0.
    """
    if any(t <= 0 for t in times):
        raise ConfigError(f"a horizon is a number of times above 0, not {min(times):g}.")
    fits = [fit(table, m, "power-sum") for m in metrics]
    sources = fits[0].sources
    lost = [s for s in sources if not available.get(s)]
    if lost:
        raise ConfigError(f"{', '.join(PREFIX + s for s in lost)}: nothing is known of how many tokens there are.")
    room = np.array([available[s] for s in sources], float) / tokens
    found: list[Step] = []
    for star in stars:
        laws = [train_power_sum(effective_shares(f.weights, 1.0, room, star), f.losses) for f in fits]
        first: np.ndarray | None = None
        for h in times:
            mix = _best(fits, laws, room / h, star, max_epochs)
            first = mix if first is None else first
            passes = {} if mix is None else dict(zip(sources, (mix * h / room).tolist(), strict=True))
            found.append(
                Step(
                    times=h,
                    tokens=int(h * tokens),
                    star=star,
                    weights=None if mix is None else dict(zip(sources, mix.tolist(), strict=True)),
                    epochs=passes,
                    moved=0.0 if mix is None or first is None else float(np.abs(mix - first).sum() / 2),
                )
            )
    return found


def of_runs(
    ws: Workspace,
    sweep: str | None = None,
    metrics: Sequence[str] = (),
    *,
    times: Sequence[float] = TIMES,
    max_epochs: float | None = None,
) -> list[Step]:
    """`drift` over the finished runs of the lab, or of one sweep.

    ConfigError: as `drift`, too few runs, or runs that were trained elsewhere.
    """
    used, _, _ = runs.comparable(list_runs(ws), sweep)
    if used[0]["origin"]:
        raise ConfigError(
            f"these runs were imported ({used[0]['origin']}), so how much text each source holds is not known: "
            "nothing tells how a longer run would repeat it. `mixlab recommend` works on them."
        )
    facts = runs.facts_of(ws, used[0]["run_id"])
    chosen = runs.metrics_of(used, tuple(metrics))
    return drift(runs.table(used), chosen, facts.available, facts.tokens, times=times, max_epochs=max_epochs)


def frame(steps: Sequence[Step], star: float = PUBLISHED.data) -> pd.DataFrame:
    """The best mixes at one R_D*, long: times, source, weight (share of training tokens)."""
    known = [(s.times, s.weights) for s in steps if s.star == star and s.weights is not None]
    rows = [{"times": times, "source": n, "weight": w} for times, mix in known for n, w in mix.items()]
    return pd.DataFrame(rows, columns=["times", "source", "weight"])


def _best(
    fits: Sequence[Fit], laws: Sequence[Surrogate], room: np.ndarray, star: float, max_epochs: float | None
) -> np.ndarray | None:
    """The best mix (m,) where each source has `room` of a run's tokens; None if the caps leave none."""
    caps = np.ones(len(room)) if max_epochs is None else np.minimum(max_epochs * room, 1.0)
    if caps.sum() < 1:
        return None
    objective = objective_of([replace(f, learned=_scarce(law, room, star)) for f, law in zip(fits, laws, strict=True)])
    limits = Limits(caps=dict(zip(objective.sources, caps.tolist(), strict=True)))
    return minimiser(objective, region_of(objective.sources, limits), samples=SAMPLES)[0]


def _scarce(law: Surrogate, room: np.ndarray, star: float) -> Surrogate:
    return Surrogate(predict=lambda w: law.predict(effective_shares(w, 1.0, room, star)), facts=law.facts)


def words(steps: Sequence[Step], star: float = PUBLISHED.data) -> list[str]:
    """One sentence a horizon at one R_D*, and how far the optimum depends on that constant."""
    said = list[str]()
    for s in (s for s in steps if s.star == star):
        if s.weights is None:
            said.append(f"{s.times:g}x ({s.tokens:,} tokens): the sources cannot fill it within the epochs allowed.")
            continue
        mix = ", ".join(f"{n} {w:.0%}" for n, w in sorted(s.weights.items(), key=lambda kv: -kv[1]))
        often = [f"{n} {e:.1f}" for n, e in sorted(s.epochs.items()) if e > FREE_EPOCHS]
        more = f"; epochs above {FREE_EPOCHS:g}: {', '.join(often)}" if often else ""
        said.append(f"{s.times:g}x ({s.tokens:,} tokens): {mix}; {s.moved:.0%} of the tokens moved{more}")
    last = [s.weights for s in steps if s.times == max(x.times for x in steps) and s.weights is not None]
    if len(last) > 1:
        apart = max(sum(abs(a[n] - b[n]) for n in a) / 2 for a in last for b in last)
        ends = f"{min(s.star for s in steps):g} to {max(s.star for s in steps):g}"
        said.append(f"At the longest horizon the mix differs by up to {apart:.0%} of the tokens for R_D* from {ends}.")
    return said
