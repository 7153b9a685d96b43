"""A sweep while it is designed: its mixtures, its runs with what they cost and which are done, the files it becomes.

Reads frames of app/lab.py; writes `sweeps/design/<name>.csv` and `sweeps/<name>.yaml` in the project directory. The
browser is not trusted: names and numbers are checked again here.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixlab.app import mixing, weights
from mixlab.config import CONF
from mixlab.errors import ConfigError, PlanError
from mixlab.mix import budget, designs, swarm
from mixlab.types import Mixture
from mixlab.workspace import disk_errors

KINDS: Mapping[str, str] = {
    "swarm": "natural, uniform, each source up, then draws far from each other: the usual choice for a fit",
    "space-filling": "points as far from each other as they can be",
    "dirichlet": "draws around the natural mix, from its corners to its middle",
    "grid": "every mixture of whole steps, the finest grid that fits",
    "one-up": "natural, then each source as if it had twice its tokens",
    "leave-one-out": "natural, then without each source in turn",
    "around": "one mixture, then draws near it",
    "anchors": "natural, uniform, and in between",
}
"""Kind of design -> what it is, in words."""
MOST_MIXES, MOST_SEEDS, MOST_RUNS = 512, 20, 4096
LIMITS: Mapping[str, tuple[float, float]] = {
    "n": (1, MOST_MIXES),
    "design_seed": (0, 10**6),
    "seeds": (1, MOST_SEEDS),
    "tokens": (10_000, mixing.MOST_TOKENS),
    "spread": (0.005, 0.4),
}
"""What the page's numbers may be."""
SAME = 1e-5
"""L1 distance below which a finished run had the mixture of a row: designs are written to nine decimals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a person chose on the page."""

    kind: str
    n: int
    """Mixtures, at most."""
    design_seed: int
    middle: str
    """Of the kind `around`: the preset, or run, in the middle."""
    spread: float
    models: tuple[str, ...]
    seeds: int
    """Runs of each mixture and model, seeds 0, 1, …"""
    tokens: int
    max_epochs: float


def checked(plan: Plan) -> Plan:
    """The plan, if all of it is possible; ConfigError says what is not."""
    for what, got, most in (("mixtures", plan.n, MOST_MIXES), ("seeds", plan.seeds, MOST_SEEDS)):
        if not 1 <= got <= most:
            raise ConfigError(f"{got} {what} cannot be planned here: 1 to {most}.")
    if plan.kind not in KINDS:
        raise ConfigError(f"there is no design '{plan.kind}': {', '.join(KINDS)}.")
    if not plan.models:
        raise ConfigError("no model is chosen: at least one size has to be trained.")
    if plan.n * plan.seeds * len(plan.models) > MOST_RUNS:
        raise ConfigError(f"more than {MOST_RUNS:,} runs are too many for this page: write the sweep by hand.")
    return plan


def mixes(
    plan: Plan, sources: pd.DataFrame, presets: Mapping[str, Mapping[str, float]], called: str = "middle"
) -> list[Mixture]:
    """The mixtures of the design, within what the sources can serve; `called`: the name of the one in the middle.

    PlanError if none is, ConfigError as `checked`.
    """
    checked(plan)
    sizes = {s: float(n) for s, n in zip(sources["source"], sources["tokens"], strict=True)}
    held = sum(sizes.values())
    if held * plan.max_epochs < plan.tokens:
        raise PlanError(
            f"the {len(sizes)} sources hold {held:,.0f} tokens: read {plan.max_epochs:g} times each, as often as "
            f"allowed, they fill {held * plan.max_epochs:,.0f} tokens, not {plan.tokens:,}. Lower the tokens of a run, "
            "or prepare more text."
        )
    caps = {s: min(1.0, plan.max_epochs * n / plan.tokens) for s, n in sizes.items()}
    if plan.kind != "around":
        return designs.make(plan.kind, sizes, plan.n, plan.design_seed, caps)
    told = presets.get(plan.middle, presets["natural"])
    middle = Mixture(name=called, rule="weights", weights={s: told.get(s, 0.0) for s in sizes})
    return designs.around(middle, plan.n, plan.design_seed, caps, plan.spread)


def runs_of(plan: Plan, found: Sequence[Mixture], runs: pd.DataFrame, device: str) -> pd.DataFrame:
    """A row a run: mixture, model, seed, `w_<source>`, tokens, flops, hours, dollars, is_done.

    Done: a finished run of these weights, this seed, size and budget is there. `mixlab sweep NAME --dry-run` compares
    every setting.
    """
    done = _finished(runs)
    rows: list[dict[str, Any]] = []
    for model in plan.models:
        price = mixing.cost(model, plan.tokens, device)
        for mix in found:
            shares = {f"w_{s}": w for s, w in mix.weights.items()}
            for seed in range(plan.seeds):
                told = {"mixture": mix.name, "model": model, "seed": seed, **shares, "tokens": plan.tokens}
                told |= {"flops": price.flops, "hours": price.hours, "dollars": price.dollars}
                rows.append({**told, "is_done": _is_done(done, mix, model, seed, plan.tokens)})
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> dict[str, float]:
    """`runs, done, todo` and what is still to pay: `flops, hours, dollars`."""
    todo = table.loc[~table["is_done"]]
    told: dict[str, float] = {"runs": len(table), "done": len(table) - len(todo), "todo": len(todo)}
    return told | {c: float(todo[c].sum()) for c in ("flops", "hours", "dollars")}


def paths(name: str, project: Path | None = None) -> tuple[Path, Path]:
    """The design and the sweep file of this name. ConfigError for a name that is none, so neither leaves its folder."""
    if not weights.NAME.fullmatch(name):
        raise ConfigError(f"the name '{name}' cannot be used: lower-case letters, digits and '-', 1 to 64 of them.")
    folder = (project or Path.cwd()) / "sweeps"
    return folder / "design" / f"{name}.csv", folder / f"{name}.yaml"


def as_yaml(name: str, plan: Plan, n: int, names: Sequence[str]) -> str:
    """The sweep file: every row of the design, for every model and seed."""
    params = {"seed": ",".join(map(str, range(plan.seeds)))} if plan.seeds > 1 else {}
    train: dict[str, str | int | float] = {"tokens": plan.tokens}
    if plan.models != (mixing.DEFAULT_MODEL,):
        params["model"] = ",".join(plan.models)
    if len(plan.models) == 1:
        preset = mixing.train_preset(plan.models[0])
        params |= {} if preset == mixing.DEFAULT_TRAIN else {"train": preset}
    else:
        train["lr"] = "auto"  # one rate does not suit all sizes: the ladder rule
    if plan.max_epochs != mixing.training(plan.models[0]).max_epochs:
        train["max_epochs"] = plan.max_epochs
    if set(names) != set(mixing.default_sources()):
        params["source"] = f"[{','.join(sorted(names))}]"
    return swarm.sweep_file(name, plan.kind, Path("sweeps/design") / f"{name}.csv", n, params=params, train=train)


def is_there(name: str, text: str, found: Sequence[Mixture], project: Path | None = None) -> bool:
    """True if files of this name are there and say something else than this text and these mixtures."""
    design, sweep = paths(name, project)
    if not (design.exists() and sweep.exists()):
        return design.exists() or sweep.exists()
    return sweep.read_text(encoding="utf-8") != text or content(swarm.read_design(design)) != content(found)


def save(
    name: str, plan: Plan, found: Sequence[Mixture], *, overwrite: bool = False, project: Path | None = None
) -> tuple[Path, Path]:
    """Writes the design and the sweep file; their paths. ConfigError for a bad name, or other files under it."""
    design, sweep = paths(name, project)
    text = as_yaml(name, plan, len(found), list(found[0].weights))
    if is_there(name, text, found, project) and not overwrite:
        raise ConfigError(f"{sweep} is there already. Tick 'replace' to write over it, or choose another name.")
    if (CONF / f"{name}.yaml").exists():
        raise ConfigError(f"'{name}' is a name that mixlab uses itself. Choose another.")
    tmp = sweep.with_name(f".{sweep.name}.{os.getpid()}.tmp")
    with disk_errors(sweep):
        swarm.write_design(design, found)
        tmp.write_text(text, encoding="utf-8")
        os.replace(tmp, sweep)
    return design, sweep


def design_words(name: str, plan: Plan, names: Sequence[str], around: str = "natural") -> list[str]:
    """Words of the command that writes the same design over the sources `names`; `around`: its middle, for a shell."""
    told = ["mix", "design", plan.kind, "-o", f"sweeps/design/{name}.csv", "-n", str(plan.n)]
    told += ["--seed", str(plan.design_seed)] if plan.design_seed else []
    if plan.kind == "around":
        told += ["--around", around, "--spread", f"{plan.spread:g}"]
    told += [] if plan.tokens == mixing.training(mixing.DEFAULT_MODEL).tokens else [f"train.tokens={plan.tokens}"]
    return told + ([] if set(names) == set(mixing.default_sources()) else [f"source=[{','.join(sorted(names))}]"])


def content(found: Sequence[Mixture]) -> str:
    """The mixtures as a text that changes when one of them does."""
    return repr([(m.name, sorted((s, round(w, 9)) for s, w in m.weights.items())) for m in found])


def _finished(runs: pd.DataFrame) -> pd.DataFrame:
    if runs.empty:
        return runs
    return runs.loc[(runs["state"] == "finished") & runs["bpb_macro"].notna()]


def _is_done(done: pd.DataFrame, mix: Mixture, model: str, seed: int, tokens: int) -> bool:
    if done.empty:
        return False
    whole = tokens // mixing.training(model).batch_tokens * mixing.training(model).batch_tokens
    size = budget.params(mixing.models()[model]).total
    alike = done.loc[(done["seed"] == seed) & (done["n_params"] == size) & done["target_tokens"].isin([tokens, whole])]
    names = sorted({str(c).removeprefix("w_") for c in alike.columns if str(c).startswith("w_")} | set(mix.weights))
    if alike.empty:
        return False
    there = alike.reindex(columns=[f"w_{s}" for s in names]).fillna(0.0).to_numpy(float)
    wanted = np.array([mix.weights.get(s, 0.0) for s in names])
    return bool((np.abs(there - wanted).sum(1) < SAME).any())


def draft_of(plan: Plan, name: str) -> dict[str, Any]:
    """What of the page is kept on disk."""
    return {"name": name, **{f: getattr(plan, f) for f in Plan.__slots__}}


def from_draft(told: Mapping[str, Any] | None) -> dict[str, Any]:
    """Values of a draft that can still be used; the others are left to the page's defaults."""
    told, usable = told or {}, dict[str, Any]()
    for name, (least, most) in LIMITS.items():
        value = told.get(name)
        if isinstance(value, type(least)) and least <= value <= most:
            usable[name] = value
    usable |= {n: told[n] for n in ("kind", "middle", "name") if isinstance(told.get(n), str)}
    models = [m for m in told.get("models") or list[str]() if m in mixing.models()]
    return usable | ({"models": models} if models else {})
