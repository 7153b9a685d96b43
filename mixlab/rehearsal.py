"""What a run is going to be, told before anything is spent: its spec in numbers, its exact plan, key and price.

Reads manifests; writes nothing, and does without torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mixlab import bounds, origin, trackers
from mixlab.data.places import places
from mixlab.errors import ConfigError
from mixlab.mix import budget, mixture, plan
from mixlab.mix.speed import Speed, expected
from mixlab.results.listing import read_object
from mixlab.train.rates import resolve_lr
from mixlab.types import Corpus, Plan, RunSpec
from mixlab.workspace import Workspace, key_of

VERSION = 2
"""Of the training arithmetic: raised when the same spec would give other numbers."""
FAILED = "failed.json"
"""Why a run failed for good, beside its files: a sweep does not try it again unasked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """What a run is going to be: its resolved spec, its exact plan, its price."""

    spec: RunSpec
    key: str
    path: Path
    plan: Plan
    params: budget.Params
    flops: float
    price: budget.Price

    @property
    def is_done(self) -> bool:
        """True if the run is finished already and will cost nothing."""
        return bool(read_object(self.path / "done.json"))

    @property
    def failure(self) -> str | None:
        """Why the run failed for good, as the same spec would again; None if it did not, or did not end yet."""
        return None if self.is_done else read_object(self.path / FAILED).get("reason")


def rehearse(
    spec: RunSpec,
    corpora: Mapping[str, Corpus],
    ws: Workspace,
    *,
    device: str = "cpu",
    speeds: Sequence[Speed] = (),
) -> Rehearsal:
    """The run that `spec` asks for, with every number that follows from it; raises what the run itself would raise.

    `speeds`: measured runs to price it by.
    """
    bounds.check(spec)
    mixture.check(spec.mixture, list(corpora))
    trackers.check(spec.train.trackers)
    vocab = {c.vocab_size for c in corpora.values()}
    if len(vocab) != 1:
        raise ConfigError(f"the corpora were tokenised with different vocabularies: {sorted(vocab)}.")
    mixed, phases = plan.resolved(spec.mixture, spec.phases, corpora, spec.train)
    model = replace(spec.model, vocab_size=vocab.pop())
    model = origin.starting_shape(model, places(spec, ws).tokenizer) if model.init_from else model
    train = resolve_lr(spec.train, budget.params(model))
    spec = replace(spec, mixture=mixed, phases=phases, model=model, train=train)
    planned = plan.plan_draws(mixed, corpora, spec.train, spec.model.max_seq_len, phases)
    key = key_of("runs", VERSION, spec, {n: c.key for n, c in sorted(corpora.items())} | origin.starting_key(model))
    return Rehearsal(
        spec=spec,
        key=key,
        path=ws.run_dir(spec.name, spec.seed, key),
        plan=planned,
        params=budget.params(spec.model),
        flops=budget.plan_flops(spec.model, planned).total,
        price=_price(spec, planned, device, speeds),
    )


def _price(spec: RunSpec, planned: Plan, device: str, speeds: Sequence[Speed]) -> budget.Price:
    """Hours and dollars of a plan, at a measured rate if there is one."""
    if (rate := expected(spec.model, device, speeds, spec.train.precision)) is None:
        return budget.price(spec.model, planned.tokens, device)
    return budget.price(spec.model, planned.tokens, device, rate.tokens_per_s, rate.basis)
