"""The peak learning rate for one model size, found: short runs of one reference mix at rates a factor of two apart.

The field's way (a sweep on one mix, once per size), with common random numbers: every rate sees the same seeds, so the
same weights at the start and the same batches. Runs are runs of the lab: asked again they cost nothing. Writes only
what `run_all` writes. `train.lr=auto`, the rule by size, needs none of this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mixlab import sweep
from mixlab.errors import ConfigError
from mixlab.results.listing import describe
from mixlab.train.rates import resolve_lr
from mixlab.types import RunSpec
from mixlab.workspace import Workspace

FACTOR = 2.0
SIDE = 3  # rates on each side of the middle one
NEAR = 2  # rates on each side of the best one that the parabola is put through
Sure = Literal["inside", "at the low end", "at the high end", "flat"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The curve, its lowest place, and how sure that is."""

    curve: Mapping[float, tuple[float | None, ...]]
    """Rate -> macro bits per byte of each seed; None where the run diverged or failed."""
    lr: float
    low: float
    high: float
    """Rates between which the fitted curve stays within the noise of its lowest value."""
    noise: float
    """Bits per byte: standard deviation of single runs about the fitted curve."""
    sure: Sure

    def sentence(self) -> str:
        """Which, and how sure."""
        if self.sure.startswith("at"):
            side = "lower" if self.sure == "at the low end" else "higher"
            return (
                f"The best rate tried, {self.lr:.3g}, is {self.sure} of the ladder: this says no more than that it may "
                f"lie {side}. Go on with --around {self.lr:.3g}."
            )
        told = f"lr {self.lr:.3g}; from {self.low:.3g} to {self.high:.3g} nothing is worse by more than the noise of "
        told += f"one run ({self.noise:.4f} bits per byte)."
        return told + (" The curve is flat: no rate tried is told from another." if self.sure == "flat" else "")


def find(
    spec: RunSpec,
    ws: Workspace,
    *,
    around: float | None = None,
    seeds: Sequence[int] = (0, 1),
    workers: int | None = None,
    watch: sweep.Watch | None = None,
) -> Found:
    """Trains the ladder about `around` (None: the spec's own rate, or the rule's) and reads the curve.

    Raises ConfigError if fewer than three rates gave a score.
    """
    (told,) = sweep.rehearse_all([spec], ws)
    middle = resolve_lr(told.spec.train, told.params).lr if around is None else around
    assert isinstance(middle, float)
    rates = [float(f"{middle * FACTOR**k:.3g}") for k in range(-SIDE, SIDE + 1)]
    specs = [
        replace(spec, name=f"lr-{lr:g}", seed=seed, train=replace(spec.train, lr=lr)) for lr in rates for seed in seeds
    ]
    rehearsed = sweep.rehearse_all(specs, ws)
    sweep.run_all(rehearsed, ws, name="lr-finder", workers=workers, watch=watch)
    scores = [describe(t.path)["bpb_macro"] if t.is_done else None for t in rehearsed]
    n = len(seeds)
    return read({lr: tuple(scores[i * n : (i + 1) * n]) for i, lr in enumerate(rates)})


def read(curve: Mapping[float, Sequence[float | None]]) -> Found:
    """The lowest place of a parabola in log rate, through the rates next to the best one.

    >>> found = read({0.01 * 2.0**k: (1 + 0.1 * (k - 0.5) ** 2,) for k in range(-3, 4)})
    >>> round(found.lr, 5), found.sure
    (0.01414, 'inside')
    """
    kept = {lr: [v for v in values if v is not None] for lr, values in sorted(curve.items())}
    means = {lr: float(np.mean(values)) for lr, values in kept.items() if len(values) == len(curve[lr])}
    if len(means) < 3:
        raise ConfigError(
            f"only {len(means)} of {len(curve)} rates gave a score for every seed: the others diverged or failed "
            "(`mixlab runs ls --sweep lr-finder`). Go lower with --around."
        )
    rates, best = list(means), min(means, key=lambda lr: means[lr])
    at = rates.index(best)
    near = rates[max(0, at - NEAR) : at + NEAR + 1]
    x = np.log2([lr / best for lr in near for _ in kept[lr]])
    y = np.array([v for lr in near for v in kept[lr]])
    a, b, c = np.polyfit(x, y, 2)
    left = max(1, len(y) - 3)
    noise = float(np.sqrt(((np.polyval((a, b, c), x) - y) ** 2).sum() / left))
    common = {lr: tuple(values) for lr, values in sorted(curve.items())}
    if at in (0, len(rates) - 1) or a <= 0:
        end: Sure = "at the low end" if at == 0 else "at the high end" if at == len(rates) - 1 else "flat"
        return Found(curve=common, lr=best, low=near[0], high=near[-1], noise=noise, sure=end)
    middle = float(np.clip(-b / (2 * a), x.min(), x.max()))
    width = float(np.sqrt(noise / a))  # a parabola has risen by `noise` there
    low, high = (float(best * 2 ** np.clip(middle + s * width, x.min(), x.max())) for s in (-1, 1))
    is_flat = bool(max(means[lr] for lr in near) - means[best] < 2 * noise)
    lr = float(best * 2**middle)
    return Found(curve=common, lr=lr, low=low, high=high, noise=noise, sure="flat" if is_flat else "inside")
