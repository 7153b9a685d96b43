"""Learning rates: the peak by a model's size, and the schedules. Reads and writes nothing."""

import math
from collections.abc import Callable
from dataclasses import replace

from mixlab.errors import ConfigError, nearest
from mixlab.mix.budget import Params
from mixlab.types import TrainSpec

LADDER_LR, LADDER_N = 0.5 * 0.0047, 108e6
"""lr = LADDER_LR (N / LADDER_N)^(-1/3), N without embeddings (OLMo-core wsds_chinchilla_run_configurator)."""
WSD_DECAY_FRAC = 0.1  # last share of a WSD run that decays (olmix, OLMo-core)


def peak_lr(spec: TrainSpec) -> float:
    """The peak rate as a number; `auto` must have become one by `resolve_lr`."""
    if isinstance(spec.lr, str):
        raise ConfigError(f"train.lr={spec.lr} is resolved when a run is planned: it needs the model's size.")
    return spec.lr


def resolve_lr(spec: TrainSpec, params: Params) -> TrainSpec:
    """The spec with `lr: auto` put into numbers, rounded to three digits; one with a number is returned as it is.

    >>> resolve_lr(TrainSpec(lr="auto"), Params(total=2_000_000, non_embedding=1_572_864)).lr
    0.00962
    """
    if spec.lr != "auto":
        return spec
    return replace(spec, lr=float(f"{LADDER_LR * (params.non_embedding / LADDER_N) ** (-1 / 3):.3g}"))


def learning_rate(spec: TrainSpec, tokens: int, total_tokens: int) -> float:
    """Learning rate of the step that starts after `tokens` of `total_tokens` have been seen.

    Warm-up is linear from zero, so the first step has rate 0 (as in MPT); the schedule's factor multiplies it after.

    >>> [learning_rate(TrainSpec(lr=1.0, warmup_tokens=10, schedule="constant"), t, 100) for t in (0, 5, 10, 99)]
    [0.0, 0.5, 1.0, 1.0]
    """
    if spec.schedule not in SCHEDULES:
        raise ConfigError(f"train.schedule={spec.schedule} is not known.{nearest(spec.schedule, SCHEDULES)}")
    peak = peak_lr(spec)
    if tokens < spec.warmup_tokens:
        return peak * tokens / spec.warmup_tokens
    return peak * SCHEDULES[spec.schedule](tokens, spec.warmup_tokens, total_tokens, spec.lr_final_frac)


def constant(tokens: int, warmup: int, total: int, final: float) -> float:
    """1."""
    return 1.0


def cosine(tokens: int, warmup: int, total: int, final: float) -> float:
    """From 1 at the end of warm-up to `final` at `total`, along half a cosine.

    >>> cosine(0, 0, 100, 0.1), round(cosine(50, 0, 100, 0.1), 6), round(cosine(100, 0, 100, 0.1), 6)
    (1.0, 0.55, 0.1)
    """
    share = min(1.0, (tokens - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share))


def wsd(tokens: int, warmup: int, total: int, final: float) -> float:
    """1, then a straight line over the last tenth down to `final` (warm-up, stable, decay).

    >>> [round(wsd(t, 0, 100, 0.1), 6) for t in (0, 90, 95, 100)]
    [1.0, 1.0, 0.55, 0.1]
    """
    decay = max(1.0, WSD_DECAY_FRAC * total)
    share = min(1.0, max(0.0, (tokens - (total - decay)) / decay))
    return 1 - (1 - final) * share


SCHEDULES: dict[str, Callable[[int, int, int, float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "wsd": wsd,
}
"""(tokens seen, warm-up tokens, total tokens, final factor) -> factor on the peak rate."""
