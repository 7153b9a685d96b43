"""What `mixlab mix …` prints: a mix with its plan, price and licences; two mixes; a design."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mixlab.mix import budget
from mixlab.show import print_json, say, table
from mixlab.types import Corpus, Mixture


def mix(told: Any, corpora: Mapping[str, Corpus], *, devices: int, as_json: bool) -> None:
    """A mix as it would be trained: draws, phases, price, and under which licences its tokens stand."""
    plan, spec = told.plan, told.spec
    ops, exposure = budget.plan_flops(spec.model, plan), budget.licence_exposure(plan, corpora)
    if as_json:
        cost = {
            "params": asdict(told.params),
            "flops": {**asdict(ops), "total": ops.total},
            "tokens_per_param": plan.tokens / told.params.total,
            "overtraining": budget.overtraining(spec.model, plan.tokens),
            "devices": devices,
            "wall_hours": told.price.hours / devices,
            **asdict(told.price),
        }
        print_json({"plan": asdict(plan), "cost": cost, "licences": [asdict(e) for e in exposure]})
        return
    columns = ("source", "weight", "tokens", "available", "epochs", "at most", "licence")
    for phase in plan.phases if len(plan.phases) > 1 else ():
        what = f"Phase '{phase.name}': {phase.tokens:,} tokens in sequences of {phase.seq_len:,}"
        table(what, columns, [_draw(d) for d in phase.draws])
    note = (
        f"plan {plan.key}: {plan.tokens:,} tokens in {plan.sequences:,} sequences. Epochs are per document: expected "
    )
    note += "and, of any of its tokens, at most." + "".join(f"\n! {w}" for w in plan.warnings)
    table(f"Mix '{plan.mixture.name}'", columns, [_draw(d) for d in plan.draws], note=note)
    _price(told, ops, devices)
    _licences(exposure)


def _draw(d: Any) -> tuple[Any, ...]:
    most = f"{d.epochs_max}" if d.sequences else "0"
    return d.source, f"{d.weight:.2%}", f"{d.tokens:,}", f"{d.available:,}", f"{d.epochs:.2f}", most, d.licence


def _price(told: Any, ops: budget.Flops, devices: int) -> None:
    """Parameters, FLOPs by part, over-training, hours and dollars."""
    price, tokens = told.price, told.plan.tokens
    times = budget.overtraining(told.spec.model, tokens)
    rows = [
        ("parameters", f"{told.params.total:,} ({told.params.non_embedding:,} without embeddings)"),
        ("FLOPs", f"{ops.total:.3e}"),
        ("… body, attention, head", " · ".join(f"{p / ops.total:.1%}" for p in (ops.body, ops.attention, ops.head))),
        ("tokens per parameter", f"{tokens / told.params.total:.1f} ({times:.2f} x Chinchilla's 20)"),
        ("speed", f"{price.tokens_per_s:,.0f} tokens/s on one {price.device}; {price.basis}"),
        ("hours", f"{price.hours / devices:,.3f} on {devices} x {price.device}; {price.hours:,.3f} device-hours"),
        ("dollars", f"{price.dollars:,.4f} at {price.dollars_per_hour:g} a device-hour"),
    ]
    table("Price", ("what", "value"), rows, note="Training alone: evaluation is not in it.")


def _licences(exposure: Sequence[budget.Exposure]) -> None:
    """May this be used commercially? A table, not a verdict; unknown first and loud."""
    rows = [
        (
            f"!! {e.licence} !!" if e.commercial == "unknown" else e.licence,
            f"{e.share:.1%}",
            f"{e.tokens:,}",
            e.commercial.upper() if e.commercial != "yes" else "yes",
            "yes" if e.share_alike else "no",
            ", ".join(e.sources),
        )
        for e in exposure
    ]
    unknown = math.fsum(e.share for e in exposure if e.commercial == "unknown")
    loud = f"{unknown:.1%} OF THE TOKENS HAVE NO KNOWN LICENCE. " if unknown else ""
    columns = ("licence", "share", "tokens", "commercial use", "share-alike", "sources")
    table("Licences of the text", columns, rows, note=f"{loud}What the licences say, not legal advice.")


def difference(a: Mixture, b: Mixture, *, as_json: bool) -> None:
    """Two mixes side by side, in points, and how far apart they are."""
    sources = sorted({*a.weights, *b.weights})
    pairs = {s: (a.weights.get(s, 0.0), b.weights.get(s, 0.0)) for s in sources}
    moved = math.fsum(abs(y - x) for x, y in pairs.values()) / 2
    hellinger = math.sqrt(max(0.0, 1 - math.fsum(math.sqrt(x * y) for x, y in pairs.values())))
    if as_json:
        rows = {s: {"a": x, "b": y, "points": 100 * (y - x)} for s, (x, y) in pairs.items()}
        print_json({"a": a.name, "b": b.name, "sources": rows, "moved": moved, "hellinger": hellinger})
        return
    rows = [
        (s, f"{x:.2%}", f"{y:.2%}", f"{100 * (y - x):+.2f}", f"x{y / x:.2f}" if x else "new" if y else "–")
        for s, (x, y) in pairs.items()
    ]
    note = f"{moved:.2%} of the tokens come from elsewhere; Hellinger distance {hellinger:.3f}"
    table(f"a = {a.name}, b = {b.name}", ("source", "a", "b", "points", "ratio"), rows, note=note)


def checked(told: Any, *, as_json: bool) -> None:
    """That a mix can be served, and what is doubtful about it."""
    if as_json:
        print_json({"mixture": dict(told.plan.mixture.weights), "plan": told.plan.key, "warnings": told.plan.warnings})
        return
    say(f"ok: '{told.plan.mixture.name}' can be served, plan {told.plan.key}")
    for warning in told.plan.warnings:
        say(f"! {warning}")


def design(path: Path, sweep: Path | None, mixtures: Sequence[Mixture], *, as_json: bool) -> None:
    """What a design holds and how it is run."""
    command = f"mixlab sweep {sweep.stem}" if sweep else None
    if as_json:
        rows = [{"name": m.name, "weights": dict(m.weights)} for m in mixtures]
        print_json({"csv": str(path), "sweep": str(sweep) if sweep else None, "rows": rows})
        return
    sources = sorted({s for m in mixtures for s in m.weights})
    rows = [(m.name, *(f"{m.weights[s]:.1%}" for s in sources)) for m in mixtures]
    table(f"{path}: {len(mixtures)} mixtures", ("name", *sources), rows)
    say(
        f"run them: {command}   or   python -m mixlab -m +sweeps={sweep.stem}"
        if sweep
        else "no sweep file was written: only a design in sweeps/design/ gets one."
    )
