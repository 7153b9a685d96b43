"""Tokens per second to expect of a model, from measured runs: better than any table. Or a person's own word for it.

Reads and writes nothing.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mixlab.errors import ConfigError
from mixlab.mix.budget import DEVICES, Price, flops, params
from mixlab.types import ModelSpec

NEAR = math.log(3)  # sizes within a factor 3 share a utilisation


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What one run reached on one device, in training alone."""

    device: str
    """A name of budget.DEVICES."""
    model: ModelSpec
    tokens_per_s: float
    """Of one device."""
    precision: str = "fp32"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """A rate to plan with, and where it comes from."""

    tokens_per_s: float
    basis: str


def expected(model: ModelSpec, device: str, speeds: Sequence[Speed], precision: str = "fp32") -> Rate | None:
    """The median rate of runs of this shape on this device, else that of the nearest size at equal FLOP/s, else None.

    Runs of another `precision` say nothing.

    >>> expected(ModelSpec(), "cpu", [Speed(device="cpu", model=ModelSpec(), tokens_per_s=v) for v in (90, 100, 140)])
    Rate(tokens_per_s=100, basis='measured: median of 3 runs of this model, 90 to 140 tokens/s')
    """
    here = [s for s in speeds if (s.device, s.precision) == (device, precision)]
    same = [s.tokens_per_s for s in here if _shape(s.model) == _shape(model)]
    if same:
        spread = f", {min(same):,.0f} to {max(same):,.0f} tokens/s" if len(same) > 1 else ""
        runs = f"median of {len(same)} runs" if len(same) > 1 else "one run"
        return Rate(tokens_per_s=statistics.median(same), basis=f"measured: {runs} of this model{spread}")
    apart = {s: abs(math.log(params(s.model).total / params(model).total)) for s in here}
    near = sorted((s for s in here if apart[s] < NEAR), key=lambda s: apart[s])
    if not near:
        return None
    nearest = [s for s in near if apart[s] == apart[near[0]]]
    speed = statistics.median(s.tokens_per_s * flops(s.model, 1).total for s in nearest)
    size, runs = params(nearest[0].model).total, "run" if len(nearest) == 1 else "runs"
    return Rate(
        tokens_per_s=speed / flops(model, 1).total,
        basis=f"from {len(nearest)} measured {runs} of {size / 1e6:.2f} M parameters at {speed:.3g} FLOP/s",
    )


def repriced(
    price: Price, model: ModelSpec, *, dollars_per_hour: float | None = None, utilisation: float | None = None
) -> Price:
    """The price with one's own dollars per device-hour, or one's own share of the peak instead of any other speed.

    Raises ConfigError for dollars below 0, or a share that is not above 0 and at most 1.
    """
    if dollars_per_hour is not None and not 0 <= dollars_per_hour < math.inf:
        raise ConfigError(f"{dollars_per_hour:g} dollars an hour is no price: give 0 or more.")
    if utilisation is not None and not 0 < utilisation <= 1:
        raise ConfigError(f"a utilisation of {utilisation:g} is not possible: give a share of the peak, e.g. 0.35.")
    told = DEVICES[price.device]
    if utilisation is not None:
        rate = told.peak * utilisation / flops(model, 1).total
        basis = f"as you say: {utilisation:.1%} of {told.peak:.3g} FLOP/s"
        price = replace(price, hours=price.hours * price.tokens_per_s / rate, tokens_per_s=rate, basis=basis)
    hourly = told.dollars_per_hour if dollars_per_hour is None else dollars_per_hour
    return replace(price, dollars=price.hours * hourly, dollars_per_hour=hourly)


def _shape(model: ModelSpec) -> tuple[int, ...]:
    """What decides the speed."""
    return model.d_model, model.n_layers, model.n_heads, model.expansion_ratio, model.max_seq_len, model.vocab_size
