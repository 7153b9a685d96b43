"""What stands beside a mixture while it is designed: where to start, what it costs, its licences, how it differs.

Reads frames of app/lab.py, the packaged presets of models and training, and speeds measured in the lab; writes nothing.
The browser is not trusted: every number is checked again here.
"""

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
import yaml

from mixlab.app import lab, weights
from mixlab.app.lab import Stamp
from mixlab.app.sliders import State
from mixlab.config import CONF, convert, read_yaml
from mixlab.errors import ConfigError, nearest
from mixlab.mix import budget
from mixlab.mix import mixture as algebra
from mixlab.mix.speed import Speed, expected, repriced
from mixlab.results.speeds import measured
from mixlab.types import ModelSpec, TrainSpec
from mixlab.workspace import Workspace

DEFAULT_MODEL = "mpt-tiny"
DEFAULT_TRAIN = "cpu-demo"
RULES = ("temperature", "UniMax")
"""Presets that have a parameter."""
MOST_TOKENS = 10**13
LEAST_MIXES = 5  # advise.fits.MIN_MIXES
FITTED_AT_ONCE = 256  # runs: 0.6 CPU s, as no cross-validation is shown here; 1,000 took 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one run of a mixture costs, with the assumptions behind it."""

    params: int
    flops: float
    tokens_per_param: float
    hours: float
    dollars: float
    tokens_per_s: float
    dollars_per_hour: float
    basis: str
    """Where the speed is from: measured here, or assumed."""


@st.cache_data(show_spinner=False)
def models() -> dict[str, ModelSpec]:
    """The packaged models by name, the smallest first."""
    found = {p.stem: convert(ModelSpec, read_yaml(p), p.name) for p in (CONF / "model").glob("*.yaml")}
    return dict(sorted(found.items(), key=lambda kv: budget.params(kv[1]).total))


def training(model: str) -> TrainSpec:
    """How a model of this name is trained unless something else is said: the preset that is called like it."""
    return convert(TrainSpec, read_yaml(CONF / "train" / f"{train_preset(model)}.yaml"))


def train_preset(model: str) -> str:
    """Name of the group `train` that goes with a model.

    >>> train_preset("mpt-1m"), train_preset("mpt-tiny")
    ('mpt-1m', 'cpu-demo')
    """
    return model if (CONF / "train" / f"{model}.yaml").exists() else DEFAULT_TRAIN


def by_rule(rule: str, sources: pd.DataFrame, tokens: int, parameter: float) -> Mapping[str, float]:
    """The weights that a preset with a parameter gives; PlanError if UniMax cannot fill the budget."""
    sizes = dict(zip(sources["source"], sources["tokens"].astype(int), strict=True))
    if not parameter > 0:
        raise ConfigError(f"{rule} needs a number above 0, not {parameter:g}.")
    if rule == "temperature":
        return algebra.temperature(sizes, parameter).weights
    return algebra.unimax(sizes, tokens, parameter).weights


def paste(text: str, names: Sequence[str]) -> dict[str, float]:
    """A row that was pasted as weights that sum to 1: `code=30, wiki: 70 %`, JSON, a CSV head with its row, or numbers.

    Numbers alone are taken in the order of `names`. What is not named gets 0. ConfigError says which part is wrong.

    >>> paste("code=1 wiki=3", ["code", "wiki"]), paste("25;75", ["code", "wiki"])
    ({'code': 0.25, 'wiki': 0.75}, {'code': 0.25, 'wiki': 0.75})
    """
    if not text.strip():
        raise ConfigError(f"there is nothing to read: paste e.g. {names[0]}=30, {names[-1]}=70.")
    told = _pairs(text.strip(), names)
    for name, value in told.items():
        if name not in names:
            raise ConfigError(f"'{name}' is not a prepared source here.{nearest(name, names)}")
        if not 0 <= value < float("inf"):
            raise ConfigError(f"the weight of '{name}' is {value:g}: a weight is a number from 0 up.")
    total = sum(told.values())
    if not total > 0:
        raise ConfigError("all pasted weights are 0: at least one source needs a share.")
    return {name: told.get(name, 0.0) / total for name in names}


def grid_of_draft(told: Mapping[str, Any] | None, names: Sequence[str]) -> tuple[State, list[str]] | None:
    """The sliders that a draft asks for, and the sources it gives weight to that are not here; None without a use."""
    shares: dict[str, Any] | None = (told or {}).get("weights")
    if not isinstance(shares, dict):
        return None
    usable = {str(n): float(w) for n, w in shares.items() if isinstance(w, int | float) and 0 < w < float("inf")}
    if not sum(usable.get(n, 0.0) for n in names) > 0:
        return None
    locked: list[str] = (told or {}).get("locked") or []
    grid = weights.on_grid(usable, names)
    return replace(grid, locked=tuple(n in locked for n in names)), sorted(set(usable) - set(names))


def draft_of(grid: State, names: Sequence[str], name: str, baseline: str) -> dict[str, Any]:
    """What of the page is kept on disk: `weights` (shares), `locked` (names), `name`, `baseline`."""
    locked = [n for n, is_locked in zip(names, grid.locked, strict=True) if is_locked]
    return {"weights": weights.as_weights(grid, names), "locked": locked, "name": name, "baseline": baseline}


def finished_mixes(runs: pd.DataFrame) -> int:
    """Mixtures with a finished, scored run: what a fit needs LEAST_MIXES of."""
    if runs.empty or "bpb_macro" not in runs:
        return 0
    done = runs.loc[(runs["state"] == "finished") & runs["bpb_macro"].notna()]
    return int(done["mix_id"].nunique())


def foresee(mixture: Mapping[str, float], baseline: Mapping[str, float]) -> Any:
    """`foresight.foresee`, imported now: it takes seconds the first time."""
    return importlib.import_module("mixlab.app.foresight").foresee(mixture, baseline)


def _pairs(text: str, names: Sequence[str]) -> dict[str, float]:
    """Name -> number as pasted."""
    if text.startswith("{"):
        try:
            tree = yaml.safe_load(text)
        except yaml.YAMLError as e:
            raise ConfigError(f"this is neither JSON nor YAML: {' '.join(str(e).split())}") from e
        return {str(k): _number(str(v), str(k)) for k, v in tree.items()}
    lines = [line for line in text.splitlines() if line.strip()]
    cells = [re.split(r"[\s,;]+", line.strip(" ,;\t")) for line in lines]
    if len(cells) == 2 and len(cells[0]) == len(cells[1]) and set(cells[0]) & set(names):
        return {n: _number(v, n) for n, v in zip(*cells, strict=True) if n not in ("name", "seed")}
    found = re.findall(r"([^\s,;=:]+)\s*[=:]\s*([^\s,;]+)", text)
    if found:
        return {n: _number(v, n) for n, v in found}
    flat = [c for row in cells for c in row if c != "%"]
    if len(flat) != len(names):
        raise ConfigError(
            f"{len(flat)} numbers for {len(names)} sources: give one each, in the order {', '.join(names)}, or names."
        )
    return {n: _number(v, n) for n, v in zip(names, flat, strict=True)}


def _number(text: str, name: str) -> float:
    try:
        return float(text.strip().strip("%\"'"))
    except ValueError:
        raise ConfigError(f"the weight of '{name}' is '{text[:40]}', which is no number.") from None


def licences(sources: pd.DataFrame, mixture: Mapping[str, float], tokens: int) -> list[budget.Exposure]:
    """Tokens of the mixture by licence, the doubtful first; a source that states none is 'unknown'."""
    held, drawn = dict[str, dict[str, int]](), dict[str, int]()
    for name, many, one in zip(sources["source"], sources["licences"], sources["licence"], strict=True):
        told = {k or "unknown": int(v) for k, v in json.loads(many or "{}").items()}
        held[name] = told if sum(told.values()) else {one if isinstance(one, str) and one else "unknown": 1}
        drawn[name] = round(mixture.get(name, 0.0) * tokens)
    return budget.exposure(drawn, held) if any(drawn.values()) else []


def cost(
    model: str, tokens: int, device: str, *, hourly: float | None = None, utilisation: float | None = None
) -> Cost:
    """FLOPs, hours and dollars of a run; `hourly` (dollars) and `utilisation` (of the peak) replace what is known.

    ConfigError for a model, a device, a budget or a price that is not possible.
    """
    if model not in models():
        raise ConfigError(f"there is no model '{model}'.{nearest(model, models())}")
    if not 0 < tokens <= MOST_TOKENS:
        raise ConfigError(f"a budget of {tokens:,} tokens is not possible: 1 to {MOST_TOKENS:,}.")
    spec = models()[model]
    known = expected(spec, device, _speeds(), training(model).precision)
    if known is not None:
        price = budget.price(spec, tokens, device, known.tokens_per_s, known.basis)
    else:
        price = budget.price(spec, tokens, device)
    price = repriced(price, spec, dollars_per_hour=hourly, utilisation=utilisation)
    n = budget.params(spec).total
    return Cost(
        params=n,
        flops=budget.flops(spec, tokens).total,
        tokens_per_param=tokens / n,
        hours=price.hours,
        dollars=price.dollars,
        tokens_per_s=price.tokens_per_s,
        dollars_per_hour=price.dollars_per_hour,
        basis=price.basis,
    )


def moved(mixture: Mapping[str, float], baseline: Mapping[str, float]) -> pd.DataFrame:
    """How far each share moves from the baseline, both on the grid: source, baseline, mixture (0-1), points."""
    names = sorted({*mixture, *baseline})
    a, b = (weights.as_weights(weights.on_grid(m, names), names) for m in (baseline, mixture))
    rows = [(n, a[n], b[n]) for n in names]
    frame = pd.DataFrame(rows, columns=["source", "baseline", "mixture"])
    return frame.assign(points=(100 * (frame["mixture"] - frame["baseline"])).round(6))


def refused(sources: pd.DataFrame, mixture: Mapping[str, float], tokens: int, max_epochs: float) -> str | None:
    """Why a run of this mixture would be refused; None if it would not."""
    over = {
        n: mixture.get(n, 0.0) * tokens / have if have else float("inf")
        for n, have in zip(sources["source"], sources["tokens"], strict=True)
        if mixture.get(n, 0.0) > 0
    }
    worst = {n: e for n, e in over.items() if e > max_epochs}
    if not worst:
        return None
    told = ", ".join(f"{n} {e:.1f} epochs" for n, e in sorted(worst.items(), key=lambda kv: -kv[1]))
    return (
        f"A run of this mix repeats {told}, over the limit of {max_epochs:g}, and is refused. Lower these weights or "
        "the budget, or raise the limit above."
    )


def run_words(
    name: str, names: Sequence[str], *, model: str, tokens: int, seed: int = 0, max_epochs: float | None = None
) -> list[str]:
    """The words after `mixlab` that train the saved mixture `name` over the sources `names`."""
    told = ["run", f"mixture={name}", *_settings(names, model, tokens, max_epochs)]
    return told + ([f"seed={seed}"] if seed else [])


def price_words(
    name: str, names: Sequence[str], *, model: str, tokens: int, device: str,
    max_epochs: float | None = None, hourly: float | None = None, utilisation: float | None = None,
) -> list[str]:  # fmt: skip
    """The words after `mixlab` that tell draws and price of the saved mixture `name`, at one's own prices.

    >>> " ".join(price_words("a", default_sources(), model="mpt-tiny", tokens=9000, device="h100", hourly=2.5))
    'mix show a train.tokens=9000 --device h100 --hourly 2.5'
    """
    told = ["mix", "show", name, *_settings(names, model, tokens, max_epochs)]
    told += [] if device == "cpu" else ["--device", device]
    told += [] if hourly is None else ["--hourly", f"{hourly:g}"]
    return told + ([] if utilisation is None else ["--utilisation", f"{utilisation:g}"])


def _settings(names: Sequence[str], model: str, tokens: int, max_epochs: float | None) -> list[str]:
    """Overrides that differ from what is the default."""
    told = [] if model == DEFAULT_MODEL else [f"model={model}", f"train={train_preset(model)}"]
    told += [] if tokens == training(model).tokens else [f"train.tokens={tokens}"]
    told += [] if max_epochs in (None, training(model).max_epochs) else [f"train.max_epochs={max_epochs:g}"]
    return told + ([] if set(names) == set(default_sources()) else [f"source=[{','.join(sorted(names))}]"])


def default_sources(conf: Path = CONF) -> list[str]:
    """Names of the sources of the group `source: starter`."""
    told: Any = read_yaml(conf / "source" / "starter.yaml")["defaults"]
    return [str(name) for name in told]


def unconfigured(names: Sequence[str], project: Path | None = None) -> list[str]:
    """Prepared sources that no YAML describes here: a run cannot be told to use them by name."""
    folders = (CONF / "source", (project or Path.cwd()) / "sweeps" / "source")
    return [n for n in names if not any((folder / f"{n}.yaml").exists() for folder in folders)]


def _speeds() -> list[Speed]:
    ws = Workspace.open()
    return _measured(str(ws.root), lab.stamp_of("done.json"))


@st.cache_data(max_entries=4, show_spinner=False)
def _measured(root: str, stamp: Stamp) -> list[Speed]:
    return measured(Workspace(Path(root)))
