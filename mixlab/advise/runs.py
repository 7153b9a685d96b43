"""From finished runs to the table that fits are made of, and to the verdict on them.

Reads rows of `results.listing.list_runs`, the plan.json and run.json of one run and the manifests of its corpora; only
runs of one recipe (same sources, model, budget and exam; other mixture, other seed) may stand in one table.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from mixlab.advise import ledger
from mixlab.advise.fits import PREFIX, fit
from mixlab.advise.objective import Objective, objective_of
from mixlab.advise.region import Limits
from mixlab.advise.target import Target
from mixlab.advise.verdict import Verdict, Wish, recommend
from mixlab.errors import ConfigError, MissingError, PlanError, nearest
from mixlab.mix import swarm
from mixlab.mix.simplex import apportion
from mixlab.results.listing import Row, of_sweep
from mixlab.workspace import Workspace, read_json

UNITS = 1_000_000  # a saved weight is a whole number of millionths
REPEATS_MORE = 2.0  # times as many epochs in the target as in the proxy that are worth a warning


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What the command line may ask of a recommendation."""

    sweep: str | None = None
    metrics: tuple[str, ...] = ()
    """`bpb_code`, `bpb/code` or `code` (of imported runs also `loss/code`); none: all."""
    max_epochs: float | None = None
    """None: that of the runs."""
    only_licences: tuple[str, ...] = ()
    target_tokens: int | None = None
    target_params: float | None = None
    device: str = "cpu"
    wish: Wish | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """A verdict, which runs it rests on, and what was not used."""

    verdict: Verdict
    runs: tuple[str, ...]
    left_out: int
    """Finished runs of another recipe: not comparable, so not used."""
    notes: tuple[str, ...]
    """Why runs were left out, and what the target run would see that the proxies did not."""
    natural: Mapping[str, float]
    recipe: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a run's own files say about its sources and its size."""

    available: dict[str, int]
    licences: dict[str, tuple[str, ...]]
    tokens: int
    max_epochs: float
    flops: float

    @property
    def natural(self) -> dict[str, float]:
        """Shares of the sources by their own size."""
        total = sum(self.available.values())
        return {s: n / total for s, n in self.available.items()}


def advise(rows: Sequence[Row], ws: Workspace, ask: Ask | None = None) -> Advice:
    """The verdict on the largest set of comparable finished runs, of one sweep if one is named.

    MissingError: no such sweep, or nothing finished yet. ConfigError, PlanError: as `recommend`, and an unknown metric
    or licences that leave nothing.
    """
    ask = ask or Ask()
    used, left, notes = comparable(rows, ask.sweep)
    metrics = metrics_of(used, ask.metrics)
    if used[0].get("origin"):
        return _elsewhere(used, ws, left, notes, metrics, ask)
    facts = facts_of(ws, used[0]["run_id"])
    target = _target(facts, ask)
    verdict = recommend(
        table(used),
        metrics,
        facts.natural,
        replace(ask.wish or Wish(), limits=_limits(facts, ask), target=target),
        widen=ledger.widen(ledger.settled(ws.ledger, rows)),
    )
    return Advice(
        verdict=verdict,
        runs=tuple(r["run_id"] for r in used),
        left_out=left,
        notes=(*notes, *_mismatch(verdict, facts, target)),
        natural=facts.natural,
        recipe=used[0]["recipe"],
    )


def fitted(rows: Sequence[Row], ws: Workspace, ask: Ask) -> tuple[Objective, Limits, float]:
    """The objective fitted to the comparable runs, what a mix must keep to (the caps that epochs set among it), and the
    dollars of one such run."""
    used, _, _ = comparable(rows, ask.sweep)
    told = table(used)
    objective = objective_of([fit(told, m) for m in metrics_of(used, ask.metrics)])
    if used[0].get("origin"):  # neither the size of their sources nor their price is known
        return objective, (ask.wish or Wish()).limits, 0.0
    facts = facts_of(ws, used[0]["run_id"])
    target, limits = _target(facts, ask), _limits(facts, ask)
    caps = {s: min(cap, limits.caps.get(s, 1.0)) for s, cap in target.caps().items()}
    return objective, replace(limits, caps={**limits.caps, **caps}), _target(facts, Ask(device=ask.device)).price()[1]


def designs(objective: Objective) -> Callable[[int, int], np.ndarray]:
    """(n, seed) -> weights (n, m) of the sweep that mixlab would design over these sources."""
    even = dict.fromkeys(objective.sources, 1.0)

    def drawn(n: int, seed: int) -> np.ndarray:
        return np.array([[m.weights[s] for s in objective.sources] for m in swarm.design(even, n, seed)])

    return drawn


def natural_of(used: Sequence[Row], ws: Workspace) -> dict[str, float]:
    """Shares of the sources by their own size; of imported runs, which do not tell it, the mean of their mixes."""
    if not used[0].get("origin"):
        return facts_of(ws, used[0]["run_id"]).natural
    return {s: fmean(r["weights"].get(s, 0.0) for r in used) for s in sorted(used[0]["weights"])}


def _elsewhere(
    used: Sequence[Row], ws: Workspace, left: int, notes: Sequence[str], metrics: Sequence[str], ask: Ask
) -> Advice:
    """The verdict on imported runs, compared with the mean of their mixes. ConfigError: what needs their text."""
    wants = {"--only-licences": ask.only_licences, "--target-tokens": ask.target_tokens}
    wants |= {"--target-params": ask.target_params, "--max-epochs": ask.max_epochs}
    if refused := [option for option, value in wants.items() if value]:
        raise ConfigError(
            f"{' and '.join(refused)}: these runs were imported ({used[0]['origin']}), so how much text their sources "
            "hold, and under which licences, is not known here. Give caps by --cap SOURCE=WEIGHT instead."
        )
    home = natural_of(used, ws)
    unit = used[0]["unit"] if used[0]["bpb_macro"] is None else "bits per byte"
    about = (
        f"These runs were imported ({used[0]['origin']}), their scores in {unit}. 'natural' is the mean of their mixes "
        "here: how much text each source holds is not known, so epochs, licences and the price are not told."
    )
    return Advice(
        verdict=recommend(table(used), metrics, home, ask.wish),
        runs=tuple(r["run_id"] for r in used),
        left_out=left,
        notes=(*notes, about),
        natural=home,
        recipe=used[0]["recipe"],
    )


def scores_of(row: Row) -> dict[str, float | None]:
    """Column -> score of a run: `bpb_<source>`, or of one imported in another unit `loss_<what>`; then `macro` too if
    that is all there is."""
    kind = "bpb" if row["bpb_macro"] is not None or row.get("loss_macro") is None else "loss"
    parts = row[kind] or {"macro": row[f"{kind}_macro"]}
    return {f"{kind}_{s}": v for s, v in parts.items()}


def comparable(rows: Sequence[Row], sweep: str | None = None) -> tuple[list[Row], int, tuple[str, ...]]:
    """The largest set of finished, scored runs of one recipe; how many of another were left out; and why, in words."""
    ended = [r for r in of_sweep(rows, sweep) if r["state"] == "finished"]
    done = [r for r in ended if _is_scored(r)]
    if not done and ended:
        raise MissingError(
            f"{len(ended)} runs are finished but none has a score: they diverged (`mixlab runs show RUN` tells the "
            "step). Lower train.lr and run the sweep again."
        )
    if not done:
        raise MissingError("no finished run to learn from yet: `mixlab demo` or `mixlab sweep NAME` makes some.")
    recipe, _ = Counter(r["recipe"] for r in done).most_common(1)[0]
    used = [r for r in done if r["recipe"] == recipe]
    notes = list[str]()
    if len(ended) > len(done):
        notes.append(f"{len(ended) - len(done)} finished runs have no score (diverged) and were left out.")
    mine, others = set(used[0]["weights"]), [r for r in done if r["recipe"] != recipe]
    unlike = sorted({", ".join(sorted(r["weights"])) for r in others if set(r["weights"]) != mine})
    if unlike:
        notes.append(
            f"Runs over other sources ({'; '.join(unlike)}) cannot be compared with {', '.join(sorted(mine))}."
        )
    return used, len(others), tuple(notes)


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """A row a run: `w_<source>` (share of training tokens), `bpb_<source>` (or `loss_<what>`), `seed`."""
    told = list[dict[str, Any]]()
    for r in sorted(rows, key=lambda r: r["run_id"]):  # not by age: same runs, same advice
        weights = {f"{PREFIX}{s}": w for s, w in sorted(r["weights"].items())}
        told.append({"run_id": r["run_id"], "seed": r["seed"], **weights, **scores_of(r)})
    return pd.DataFrame(told)


def sized(rows: Sequence[Row], metrics: Sequence[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """Finished runs of every size over the sources and the exam that most have, with `n_params` and `tokens`; metrics.

    MissingError: nothing finished. ConfigError: an unknown metric.
    """
    done = [r for r in rows if r["state"] == "finished" and _is_scored(r)]
    if not done:
        raise MissingError("no finished run to learn from yet: `mixlab demo` or `mixlab sweep NAME` makes some.")
    kind, _ = Counter((tuple(sorted(r["weights"])), r["evals_key"]) for r in done).most_common(1)[0]
    used = [r for r in done if (tuple(sorted(r["weights"])), r["evals_key"]) == kind]
    size = pd.DataFrame({r["run_id"]: (r["n_params"], r["tokens"]) for r in used}, index=["n_params", "tokens"]).T
    told = table(used).join(size.astype(float), on="run_id")
    return told, metrics_of(used, metrics)


def facts_of(ws: Workspace, run_id: str) -> Facts:
    """Sources, licences and size of a run, from its own files and the manifests of its corpora."""
    out = ws.root / "runs" / run_id
    plan, run = read_json(out / "plan.json"), read_json(out / "run.json")
    licences = dict[str, tuple[str, ...]]()
    for d in plan["draws"]:
        manifest = ws.artefact("tokens", d["source"], run["corpora"].get(d["source"], "")) / "manifest.json"
        told = read_json(manifest).get("licences") if manifest.exists() else None
        licences[d["source"]] = tuple(sorted(told or {d["licence"]: 1}))
    return Facts(
        available={d["source"]: d["available"] for d in plan["draws"]},
        licences=licences,
        tokens=plan["tokens"],
        max_epochs=run["spec"]["train"]["max_epochs"],
        flops=run["flops"],
    )


def save(path: Path, weights: Mapping[str, float], why: str) -> None:
    """Writes the mix as a hydra group file, e.g. sweeps/mixture/x.yaml for `mixlab run mixture=x`; weights sum to 1."""
    names = sorted(weights)
    parts = apportion([weights[s] for s in names], UNITS)
    told = ", ".join(f"{s}: {n / UNITS:.6f}" for s, n in zip(names, parts.tolist(), strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {why}\nname: {path.stem}\nrule: weights\nweights: {{{told}}}\n", encoding="utf-8")


def metrics_of(used: Sequence[Row], asked: Sequence[str]) -> list[str]:
    """Columns of the table that the asked names mean; none asked: all. ConfigError: an unknown name."""
    known, found = sorted(scores_of(used[0])), list[str]()
    kind = known[0].partition("_")[0] if known else "bpb"
    for name in asked:
        column = name.replace("/", "_") if name.startswith(kind) else f"{kind}_{name}"
        if column not in known:
            raise ConfigError(f"the runs have no metric '{name}'.{nearest(column, known)}")
        found.append(column)
    return found or known


def _is_scored(row: Row) -> bool:
    return row["bpb_macro"] is not None or row.get("loss_macro") is not None


def _target(facts: Facts, ask: Ask) -> Target:
    tokens = ask.target_tokens or facts.tokens
    flops = 6.0 * ask.target_params * tokens if ask.target_params else facts.flops * tokens / facts.tokens
    epochs = ask.max_epochs or facts.max_epochs
    return Target(tokens=tokens, available=facts.available, max_epochs=epochs, flops=flops, device=ask.device)


def _limits(facts: Facts, ask: Ask) -> Limits:
    """Those of the wish; caps of 0 on sources with text under another licence than allowed. PlanError: none is left."""
    limits, allowed = (ask.wish or Wish()).limits, ask.only_licences
    if not allowed:
        return limits
    fold = {a.casefold() for a in allowed}
    barred = {s: told for s, told in facts.licences.items() if not {x.casefold() for x in told} <= fold}
    if len(barred) == len(facts.licences):
        told = "; ".join(f"{s}: {', '.join(x)}" for s, x in sorted(facts.licences.items()))
        raise PlanError(f"no source stands wholly under {', '.join(allowed)} ({told}). Allow one more licence.")
    return replace(limits, caps={**limits.caps, **dict.fromkeys(barred, 0.0)})


def _mismatch(verdict: Verdict, facts: Facts, target: Target) -> list[str]:
    """Sources that the target run would repeat far more often than the proxies did."""
    if target.tokens == facts.tokens or verdict.epochs is None:
        return []
    proxy = replace(target, tokens=facts.tokens).epochs(verdict.mixture.weights)
    worse = {s: e for s, e in verdict.epochs.items() if e > 1 and e > REPEATS_MORE * proxy[s]}
    told = ", ".join(f"{s} {proxy[s]:.2f} here, {e:.2f} there" for s, e in sorted(worse.items()))
    if not worse:
        return []
    return [f"Epochs differ between these runs and the target ({told}): repetition changes which mix is best."]
