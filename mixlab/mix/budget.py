"""What a run costs before it is run: parameters, FLOPs, hours, dollars; and under which licences a plan's tokens stand.

Arithmetic and tables only. Reads and writes nothing. Every assumed figure names its origin.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mixlab.errors import ConfigError, nearest
from mixlab.types import Corpus, ModelSpec, Plan

Commercial = Literal["yes", "no", "unknown"]
CHINCHILLA = 20  # tokens per parameter, rule of thumb of arXiv 2203.15556; replications say 18 to 26


@dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """Parameters of a model; the tied embedding counts once."""

    total: int
    non_embedding: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Flops:
    """Training floating point operations, forward and backward."""

    body: float
    attention: float
    head: float

    @property
    def total(self) -> float:
        """All three."""
        return self.body + self.attention + self.head


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One device and what is known or assumed about it."""

    kind: Literal["gpu", "cpu"]
    peak: float
    """FLOP/s, dense, in the precision one trains in."""
    utilisation: float
    """Share of the peak that a large model reaches; of a CPU core, any model."""
    dollars_per_hour: float
    origin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """Hours of one device, and dollars. `basis` says whether the speed was measured or assumed."""

    device: str
    tokens_per_s: float
    hours: float
    dollars: float
    dollars_per_hour: float
    basis: str


def params(model: ModelSpec) -> Params:
    """Parameters of an MPT: V d + L (4 + 2 expansion) d^2 + (2 L + 1) d norms, and what the switches add.

    qk_ln adds 2 d a layer; biases (no_bias false) one number per output and norm; alibi false learned positions. Those
    and the token embedding are the embeddings.

    >>> params(ModelSpec(d_model=4096, n_layers=32, n_heads=32, vocab_size=50432, max_seq_len=2048)).total
    6649286656
    """
    d, layers, wide = model.d_model, model.n_layers, model.expansion_ratio
    norms = (2 * layers + 1) * d + (2 * d * layers if model.qk_ln else 0)
    biases = 0 if model.no_bias else norms + layers * (3 + 1 + wide + 1) * d
    body = layers * (4 + 2 * wide) * d * d + norms + biases
    positions = 0 if model.alibi else model.max_seq_len * d
    return Params(total=body + model.vocab_size * d + positions, non_embedding=body)


def flops(model: ModelSpec, tokens: int) -> Flops:
    """FLOPs to train on `tokens`: per token 6 L (4 + 2 expansion) d^2 body, 6 V d head, 6 L d T attention.

    Convention: 2 per multiply-add, backward twice the forward, *causal half* of the attention, tied embedding counted
    where it multiplies (the head). llm-foundry and nanoGPT count the whole T x T square, 12 L d T: twice as much.
    """
    d, layers = model.d_model, model.n_layers
    return Flops(
        body=6.0 * layers * (4 + 2 * model.expansion_ratio) * d * d * tokens,
        attention=6.0 * layers * d * model.max_seq_len * tokens,
        head=6.0 * model.vocab_size * d * tokens,
    )


def plan_flops(model: ModelSpec, plan: Plan) -> Flops:
    """FLOPs of a whole plan: attention costs what the sequences of each phase are long."""
    parts = [flops(replace(model, max_seq_len=p.seq_len), p.tokens) for p in plan.phases]
    return Flops(
        body=sum(p.body for p in parts), attention=sum(p.attention for p in parts), head=sum(p.head for p in parts)
    )


def price(
    model: ModelSpec, tokens: int, device: str, tokens_per_s: float | None = None, basis: str = "measured"
) -> Price:
    """Hours and dollars to train on `tokens` with one device; a measured `tokens_per_s` wins over the table.

    Hours of one device are GPU-hours: spread over several, they are divided, the dollars stay.

    Raises ConfigError for a device that is not in DEVICES. Evaluation is not in it.
    """
    if device not in DEVICES:
        raise ConfigError(f"there is no device '{device}' in the price table.{nearest(device, DEVICES)}")
    told = DEVICES[device]
    if tokens_per_s is not None and not tokens_per_s > 0:
        raise ConfigError(f"a rate of {tokens_per_s} tokens per second never ends: give a measured one above 0.")
    share = utilisation(model, told)
    rate = tokens_per_s or told.peak * share / flops(model, 1).total
    hours = tokens / rate / 3600
    basis = basis if tokens_per_s else f"assumed: {share:.1%} of {told.peak:.3g} FLOP/s"
    hourly = told.dollars_per_hour
    return Price(
        device=device, tokens_per_s=rate, hours=hours, dollars=hours * hourly, dollars_per_hour=hourly, basis=basis
    )


def utilisation(model: ModelSpec, device: Device) -> float:
    """Share of the peak assumed for this model: small ones keep a GPU less busy. A measured rate is better.

    Below the smallest size of SMALL_ON_GPU it falls in proportion: kernel launches set the pace.
    """
    return share_at(params(model).total, device)


def share_at(n_params: float, device: Device) -> float:
    """As `utilisation`, for a model of which only the number of parameters is known."""
    if device.kind == "cpu":
        return device.utilisation
    sizes, shares = zip(*SMALL_ON_GPU, strict=True)
    found = float(np.interp(math.log(n_params), np.log(sizes), shares)) * min(1.0, n_params / sizes[0])
    return found if n_params < sizes[-1] else device.utilisation


def overtraining(model: ModelSpec, tokens: int) -> float:
    """Tokens per parameter over Chinchilla's 20: 1 is compute-optimal, MPT-7B's 1 T tokens were 7.5."""
    return tokens / params(model).total / CHINCHILLA


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """How much of a plan stands under one licence, and what that licence says. A table, not a verdict."""

    licence: str
    tokens: int
    share: float
    commercial: Commercial
    share_alike: bool
    sources: tuple[str, ...]


def licence_exposure(plan: Plan, corpora: Mapping[str, Corpus] | None = None) -> list[Exposure]:
    """Drawn tokens by licence, the doubtful first: unknown, then not commercial, then share-alike, then by tokens.

    With `corpora` a source's tokens are split over the licences of its documents, else all stand under the one it
    states. Tokens are expected ones, rounded per source, and sum to what the plan draws.
    """
    held = {d.source: dict(corpora[d.source].licences) if corpora else {} for d in plan.draws}
    stated = {d.source: {d.licence: 1} for d in plan.draws}
    return exposure(
        {d.source: d.tokens for d in plan.draws}, {s: h if sum(h.values()) else stated[s] for s, h in held.items()}
    )


def exposure(drawn: Mapping[str, int], licences: Mapping[str, Mapping[str, int]]) -> list[Exposure]:
    """`licence_exposure` of tokens drawn by source; `licences`: source -> licence -> tokens that it has under it."""
    tokens: dict[str, int] = {}
    sources: dict[str, set[str]] = {}
    for source, left in drawn.items():
        held = licences[source]
        weight = sum(held.values())
        for licence, n in sorted(held.items()):
            part = round(left * n / (weight or 1))
            left, weight = left - part, weight - n
            if part:
                tokens[licence] = tokens.get(licence, 0) + part
                sources.setdefault(licence, set()).add(source)
    rows: list[Exposure] = []
    for licence, n in tokens.items():
        commercial, share_alike = terms(licence)
        named, share = tuple(sorted(sources[licence])), n / sum(drawn.values())
        told: dict[str, Any] = {"licence": licence, "tokens": n, "share": share, "commercial": commercial}
        rows.append(Exposure(**told, share_alike=share_alike, sources=named))
    doubt = {"unknown": 0, "no": 1, "yes": 2}
    return sorted(rows, key=lambda r: (doubt[r.commercial], not r.share_alike, -r.tokens, r.licence))


def terms(licence: str) -> tuple[Commercial, bool]:
    """May it be used commercially, and is it share-alike? Of "A OR B" the freest counts; not in the table is unknown.

    >>> terms("MIT OR GPL-2.0-only"), terms("CC-BY-NC-SA-4.0"), terms("ask the author")
    (('yes', False), ('no', True), ('unknown', False))
    """
    choices = [c.strip().lower() for c in licence.split(" OR ")]
    if any(c in FREE or c.startswith(("public domain", "us public domain")) for c in choices):
        return "yes", False
    if any(c in SHARE_ALIKE for c in choices):
        return "yes", True
    if all(c.startswith("cc-by-nc") for c in choices):
        return "no", all("-sa" in c for c in choices)
    return "unknown", False


# SPDX identifiers in lower case. Commercial use allowed, with or without attribution.
FREE = frozenset(
    {
        "0bsd",
        "apache-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsl-1.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc0-1.0",
        "isc",
        "licenseref-public-domain",
        "mit",
        "odc-by-1.0",
        "pddl-1.0",
        "postgresql",
        "psf-2.0",
        "python-2.0",
        "unlicense",
        "zlib",
    }
)
# Commercial use allowed; what is made from it must be passed on under the same terms.
SHARE_ALIKE = frozenset(
    {
        "agpl-3.0-only",
        "agpl-3.0-or-later",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "gfdl-1.2",
        "gfdl-1.2-or-later",
        "gfdl-1.3-or-later",
        "gpl-2.0",
        "gpl-2.0+",
        "gpl-2.0-only",
        "gpl-2.0-or-later",
        "gpl-3.0-only",
        "gpl-3.0-or-later",
        "lgpl-2.1-only",
        "lgpl-2.1-or-later",
        "lgpl-3.0-only",
        "mpl-2.0",
        "odbl-1.0",
    }
)

# (parameters, share of peak): assumptions for an H100-class GPU. Published: MPT-125M on A100 45 %, full square.
SMALL_ON_GPU = ((15e6, 0.15), (30e6, 0.20), (60e6, 0.25), (125e6, 0.35), (1e9, 0.37))

DEVICES: Mapping[str, Device] = {
    "cpu": Device(
        kind="cpu",
        peak=96e9,  # one core, fp32: 2 AVX2 units x 8 lanes x 2 x 3 GHz
        utilisation=0.25,
        dollars_per_hour=0.04,
        origin="Peak by arithmetic; utilisation from 26k, 3.1k and 0.6k tokens/s of 0.13, 1.3 and 6.8 M parameters, "
        "measured on one thread of a loaded 2-core machine; $0.04 per core hour is an assumption.",
    ),
    "a100": Device(
        kind="gpu",
        peak=312e12,
        utilisation=0.368,
        dollars_per_hour=1.99,
        origin="Peak: NVIDIA, bf16. Utilisation (38.3 % if the whole attention square is counted) and price from "
        "MPT-7B: 1 T tokens in 9.5 days on 440 GPUs for about $200k (databricks.com/blog/mpt-7b).",
    ),
    "h100": Device(
        kind="gpu",
        peak=989e12,
        utilisation=0.40,
        dollars_per_hour=3.00,
        origin="Peak: NVIDIA, bf16 dense. Utilisation rounded down from MPT-1B to 7B on H100, 42 to 46 % (llm-foundry "
        "benchmarks, whole square counted). Price assumed.",
    ),
    "h200": Device(
        kind="gpu",
        peak=989e12,
        utilisation=0.40,
        dollars_per_hour=3.80,
        origin="Peak: NVIDIA, bf16 dense (788 TFLOP/s measured on a matrix product). Utilisation as H100. "
        "Price assumed.",
    ),
}
