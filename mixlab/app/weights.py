"""A mixture on the grid of the sliders: presets, what stands beside each weight, and the YAML that a run can name.

Reads frames of app/lab.py, writes `sweeps/mixture/<name>.yaml` in the project directory. The browser is not trusted:
names and weights are checked again here.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mixlab.app.sliders import Row, State
from mixlab.config import CONF, yaml_text
from mixlab.errors import ConfigError
from mixlab.mix import mixture as algebra
from mixlab.mix.simplex import apportion
from mixlab.types import Mixture, TrainSpec
from mixlab.workspace import disk_errors

UNITS = 1000
"""The grid: one step of a slider is 0.1 % of the training tokens."""
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def presets(sources: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Mapping[str, float]]:
    """Name -> weights to start from: natural, uniform, then each mix that ran and used no other source."""
    tokens = dict(zip(sources["source"], sources["tokens"].astype(int), strict=True))
    told = {"natural": algebra.natural(tokens).weights, "uniform": algebra.uniform(list(tokens)).weights}
    return told | {preset: weights for preset, (_, _, weights) in _that_ran(list(tokens), runs).items()}


def called(preset: str, sources: pd.DataFrame, runs: pd.DataFrame) -> tuple[str, str]:
    """What a shell calls a preset (natural, uniform, or the run that had the mix), and the name of its mixture."""
    run, mixture, _ = _that_ran(list(sources["source"]), runs).get(preset, (preset, preset, {}))
    return run, mixture


def _that_ran(sources: Sequence[str], runs: pd.DataFrame) -> dict[str, tuple[str, str, Mapping[str, float]]]:
    """Name of a preset -> the first run of that name which used no other source, its mixture's name, its weights."""
    told: dict[str, tuple[str, str, Mapping[str, float]]] = {}
    about = ("name", "run_id", "mixture")
    wide: Any = runs[[c for c in runs.columns if c in about or str(c).startswith("w_")]]  # of sixty columns
    for run in sorted(wide.to_dict("records"), key=lambda run: run["name"]):
        weights = {c.removeprefix("w_"): float(w) for c, w in run.items() if str(c).startswith("w_") and w > 0}
        if weights and set(weights) <= set(sources):
            told.setdefault(f"{run['name']} (a run)", (run["run_id"], run["mixture"], weights))
    return told


def on_grid(weights: Mapping[str, float], sources: Sequence[str]) -> State:
    """The weights as integers that sum to UNITS, in the order of `sources`, nothing locked."""
    counts = apportion([weights.get(s, 0.0) for s in sources], UNITS)
    return State(weights=tuple(int(n) for n in counts), locked=(False,) * len(sources))


def as_weights(state: State, sources: Sequence[str]) -> dict[str, float]:
    """Source -> share of training tokens; the decimals sum to exactly 1.

    Raises ConfigError if what came from the browser is not one share per source.
    """
    if len(state.weights) != len(sources) or sum(state.weights) != UNITS or min(state.weights) < 0:
        raise ConfigError(f"the weights {list(state.weights)} do not share out 100 % over {', '.join(sources)}.")
    return {s: n / UNITS for s, n in zip(sources, state.weights, strict=True)}


def row(state: State, sources: Sequence[str]) -> str:
    """The weights as a row that can be pasted, in percent; sources without any are left out.

    >>> row(State(weights=(305, 0, 695), locked=(False,) * 3), ["books", "code", "wiki"])
    'books=30.5,wiki=69.5'
    """
    return ",".join(f"{s}={100 * n / UNITS:g}" for s, n in zip(sources, state.weights, strict=True) if n)


def rows(
    sources: pd.DataFrame,
    state: State,
    budget_tokens: int,
    max_epochs: float = TrainSpec().max_epochs,
    *,
    palette: Mapping[str, str],
) -> list[Row]:
    """What stands beside each slider: epochs, tokens, licence; loud from the second pass, louder past the limit."""
    return [
        _row(palette[name], name, round(n * budget_tokens / UNITS), int(tokens), licence, max_epochs)
        for name, n, tokens, licence in zip(
            sources["source"], state.weights, sources["tokens"], sources["licence"], strict=True
        )
    ]


def _row(colour: str, name: str, drawn: int, available: int, licence: str | None, max_epochs: float) -> Row:
    passes = drawn / available if available else float("inf") if drawn else 0.0
    level = "over" if passes > max_epochs else "repeats" if passes > 1 else ""
    word = {"over": f", over the limit of {max_epochs:g}", "repeats": ", repeats", "": ""}[level]
    said = licence if isinstance(licence, str) and licence not in ("", "unknown") else "licence unknown"
    return Row(
        name=name,
        colour=colour,
        note=f"{passes:.2f} epochs{word} · {short(drawn)} of {short(available)} tokens · {said}",
        level=level,
    )


def short(count: float) -> str:
    """A count with a unit letter.

    >>> short(450_000), short(1.25e9), short(80)
    ('450 k', '1.25 G', '80')
    """
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return f"{count:.0f}"


def duration(hours: float) -> str:
    """Hours in the unit that suits them.

    >>> duration(0.005), duration(0.5), duration(30)
    ('18 s', '30 min', '30 h')
    """
    if hours < 1 / 60:
        return f"{hours * 3600:.2g} s"
    return f"{hours * 60:.2g} min" if hours < 1 else f"{hours:.3g} h"


def check_word(name: str) -> None:
    """Raises ConfigError unless the name can stand in a file's name on every system."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"the name '{name}' cannot be used: lower-case letters, digits and '-', 1 to 64 of them.")


def dollars(amount: float) -> str:
    """An amount of money as people say it.

    >>> dollars(0.0002), dollars(0.256), dollars(12.34), dollars(123_456)
    ('< 1 ¢', '26 ¢', '$12.34', '$123,456')
    """
    if amount < 0.01:
        return "< 1 ¢" if amount > 0 else "$0"
    if amount < 1:
        return f"{100 * amount:.0f} ¢"
    return f"${amount:,.2f}" if amount < 1000 else f"${amount:,.0f}"


def check_name(name: str) -> None:
    """Raises ConfigError unless the name is free to be a file of the group `mixture`."""
    check_word(name)
    if (CONF / "mixture" / f"{name}.yaml").exists():
        raise ConfigError(
            f"'{name}' is a mixture that mixlab ships, and the shipped one would win. Choose another name."
        )


def path_of(name: str, project: Path | None = None) -> Path:
    """Where a mixture of this name is kept; the name is checked first, so it can never leave the folder."""
    check_name(name)
    return (project or Path.cwd()) / "sweeps" / "mixture" / f"{name}.yaml"


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raises ConfigError for a file that is there and is not to be replaced."""
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} is there already. Tick 'replace' to write over it, or choose another name.")


def save(name: str, weights: Mapping[str, float], *, overwrite: bool = False, project: Path | None = None) -> Path:
    """Writes `sweeps/mixture/<name>.yaml`, whole or not at all, and returns its path.

    Raises ConfigError for a bad name, weights that do not sum to one, or a file that is there without `overwrite`.
    """
    path = path_of(name, project)
    algebra.check(Mixture(name=name, rule="weights", weights=weights), sorted(weights))
    check_free(path, overwrite=overwrite)
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp.write_text(as_yaml(name, weights), encoding="utf-8")
        os.replace(tmp, path)
    return path


def keep(name: str, weights: Mapping[str, float], *, overwrite: bool = False, project: Path | None = None) -> Path:
    """As `save`, but a file that holds these very weights already is left as it is."""
    path = path_of(name, project)
    if path.exists() and path.read_text(encoding="utf-8") == as_yaml(name, weights):
        return path
    return save(name, weights, overwrite=overwrite, project=project)


def as_yaml(name: str, weights: Mapping[str, float]) -> str:
    """The file's content: a value of the group `mixture`."""
    tree = {"rule": "weights", "name": name, "weights": {s: float(w) for s, w in weights.items()}}
    return "# Shares of training tokens; saved by the mix page.\n" + yaml_text(tree)
