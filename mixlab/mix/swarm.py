"""Designs of experiment: which mixtures to train so that a fit can learn from them. Reads and writes design CSVs.

A design is one CSV row a mixture: `name`, `seed` where a mixture comes again, then a column per source with its share
of training tokens. The other kinds of design are in mix/designs.py.
"""

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mixlab.errors import ConfigError, nearest
from mixlab.mix.mixture import bounded, check, natural, scale, temperature, uniform
from mixlab.mix.simplex import centre
from mixlab.seeds import generator
from mixlab.types import Mixture

UP = 2.0  # a source is scaled up as if it had twice its tokens
STRENGTHS = (
    4.0,
    1.0,
    0.35,
)  # Dirichlet strength per source: near its centre, all over, near the corners (one draw in three)
CANDIDATES = 16  # per draw; the one farthest from the design so far is kept
SAME = 1e-6  # L1 distance below which two mixtures are one


def design(available: Mapping[str, float], n: int, seed: int, caps: Mapping[str, float] | None = None) -> list[Mixture]:
    """`n` mixtures: natural, uniform, each source up (`up-code`), then Dirichlet draws `d01`, `d02`, …

    `available`: tokens or natural weights by source; `caps`: largest weight by source (default 1). Draws alternate
    between two centres, natural at temperature 2 (as RegMix) and uniform, and cycle through STRENGTHS; each is the one
    of CANDIDATES farthest from the design so far in sqrt(w), the Hellinger distance in which the fits see mixtures. A
    longer design begins with the shorter one. An anchor that breaks a cap is moved to the nearest mixture that does
    not, and says `-capped`; one that then equals another is left out; a single source has one mixture. Raises PlanError
    if the caps leave no mixture.
    """
    caps = dict(caps or {})
    for source in caps:
        if source not in available:
            raise ConfigError(f"a cap names '{source}', which is not a source here.{nearest(source, available)}")
    size, even = natural(available), uniform(available)
    anchors = [size, even, *(scale(size, s, UP, f"up-{s}") for s in size.weights)]
    chosen: list[Mixture] = []
    for anchor in itertools.islice(anchors, n):
        mix = _within(anchor, caps)
        if all(_l1(mix, other) > SAME for other in chosen):
            chosen.append(mix)
    centres = (temperature(available, 2.0), even)
    for k in range(n - len(chosen) if len(available) > 1 else 0):
        chosen.append(_draw(k, centres[k % 2], chosen, seed, caps))
    return chosen


def write_design(path: Path, mixtures: Sequence[Mixture]) -> None:
    """Writes the CSV, weights to 9 decimals, which is what a key sees of them; a repeated row gets the next seed."""
    sources = sorted({s for m in mixtures for s in m.weights})
    cells = [tuple(f"{m.weights.get(s, 0.0):.9f}" for s in sources) for m in mixtures]
    seeds = [cells[:i].count(row) for i, row in enumerate(cells)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f, lineterminator="\n")
        rows.writerow(["name", *(["seed"] if any(seeds) else []), *sources])
        for m, seed, row in zip(mixtures, seeds, cells, strict=True):
            rows.writerow([m.name, *([seed] if any(seeds) else []), *row])


def read_seeds(path: Path) -> list[int] | None:
    """The seed of every row of a design CSV; None if it has no such column."""
    with open(path, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    if not rows or "seed" not in rows[0]:
        return None
    try:
        return [int(row["seed"]) for row in rows]
    except ValueError as e:
        raise ConfigError(f"{path}: a seed is a whole number: {e}.") from e


def read_design(path: Path) -> list[Mixture]:
    """The mixtures of a design CSV; without a column `name` they are called row01, row02, …

    Raises ConfigError that names the file and the row for a cell that is no number or weights that do not sum to 1.
    """
    if not path.is_file():
        raise ConfigError(f"there is no design at {path}. Write one with `mixlab mix design -o {path}`.")
    mixtures: list[Mixture] = []
    with open(path, newline="", encoding="utf-8") as f:
        for i, row in enumerate(csv.DictReader(f), start=1):
            name = row.pop("name", None) or f"row{i:02d}"
            row.pop("seed", None)
            try:
                mix = Mixture(name=name, rule="weights", weights={s: float(w or 0) for s, w in row.items()})
                check(mix, row)
            except (TypeError, ValueError) as e:
                raise ConfigError(f"{path}, row {i} ('{name}'): {e}") from e
            mixtures.append(mix)
    return mixtures


def sweep_file(
    name: str,
    kind: str,
    csv_file: Path,
    n: int,
    *,
    params: Mapping[str, str] | None = None,
    train: Mapping[str, str | int | float] | None = None,
) -> str:
    """The YAML that makes hydra train a design row by row: sweeps/<name>.yaml.

    `params`: what else the sweep runs over, as hydra wants it (`{"seed": "0,1"}`); `train`: settings of all its runs.
    """
    at = "${design.file},${design.row}"
    seeds = read_seeds(csv_file) if csv_file.is_file() else None
    seed = f'seed: "${{mixlab.seed:{at}}}"\n' if seeds else ""
    over = {"design.row": f"range({n})", **(params or {})}
    told = ", ".join(f'{key}: "{value}"' for key, value in over.items())
    settings = "".join(f", {key}: {value}" for key, value in (train or {}).items()).removeprefix(", ")
    return (
        "# @package _global_\n"
        f"# Question: (say it) A {kind} design of {n} mixtures.\n"
        "# Expected: (say it before you run)\n"
        f"# Cost: {n} mixtures; `mixlab sweep {name} --dry-run` counts the runs and prices them.\n"
        f"sweep: {name}\n"
        f"design: {{file: {csv_file.as_posix()}, row: 0}}\n"
        f'mixture: {{name: "${{mixlab.name:{at}}}", rule: weights, weights: "${{mixlab.row:{at}}}"}}\n'
        f"{seed}"
        + (f"train: {{{settings}}}\n" if settings else "")
        + f"hydra: {{mode: MULTIRUN, sweeper: {{params: {{{told}}}}}}}\n"
    )


def _draw(k: int, middle: Mixture, chosen: Sequence[Mixture], seed: int, caps: Mapping[str, float]) -> Mixture:
    """Draw number `k` around `middle`, far from those chosen and within the caps."""
    sources = list(middle.weights)
    rng = generator(seed, "design", k)
    alpha = np.array(list(middle.weights.values())) * len(sources) * STRENGTHS[k // 2 % len(STRENGTHS)]
    hi = np.array([caps.get(s, 1.0) for s in sources])
    w = _pulled_in(rng.dirichlet(np.maximum(alpha, 1e-3), size=CANDIDATES), hi)
    there = np.array([[m.weights[s] for s in sources] for m in chosen])
    apart = ((np.sqrt(w)[:, None] - np.sqrt(there)[None]) ** 2).sum(-1).min(1)
    best = w[int(apart.argmax())]
    return Mixture(name=f"d{k + 1:02d}", rule="weights", weights=dict(zip(sources, best.tolist(), strict=True)))


def _pulled_in(w: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Rows of `w` (n, m) that break a cap, moved straight towards the centre of the feasible set until they do not."""
    middle = centre(np.zeros_like(hi), hi)
    out = w - middle
    room = np.where(out > 0, (hi - middle) / np.where(out > 0, out, 1.0), 1.0)
    return np.clip(middle + out * np.minimum(room.min(1), 1.0)[:, None], 0.0, hi)


def _within(mix: Mixture, caps: Mapping[str, float]) -> Mixture:
    """The mixture itself, or the nearest one that keeps the caps, under a name that says so."""
    near = bounded(mix, caps=caps)
    if _l1(mix, near) <= SAME:
        return mix
    return Mixture(name=f"{mix.name}-capped", rule="weights", weights=near.weights)


def _l1(a: Mixture, b: Mixture) -> float:
    """Sum of absolute differences of the weights."""
    return sum(abs(a.weights[s] - b.weights[s]) for s in a.weights)
