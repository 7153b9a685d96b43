"""Fits on RegMix's public 1M table (512 runs to learn from, 256 unseen; mean of 5 random subsets, published seeds), and
advice on planted surfaces (4 sources, corners included, seed noise 0.004; half power laws, half Data Mixing Laws' form)
against RegMix's recipe on the same runs: LightGBM 4.7 on the averaged metric, rate 0.01, at most 1,000 trees, stopped
on a tenth of the runs; mean of the best 128 of 100,000 draws of Dirichlet(natural mix), seed 42."""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from mixlab.advise.fits import fit
from mixlab.advise.gain import gain
from mixlab.advise.objective import objective_of
from mixlab.advise.optimise import best_mix, minimiser
from mixlab.advise.recipes import regmix_recipe
from mixlab.advise.replay import judge, read
from mixlab.advise.validation import spearman
from mixlab.advise.verdict import Wish, reachable, recommend
from tests.advise.planted import METRICS, SOURCES, exponential, least, surface, sweep

HERE = Path(__file__).parents[2]
REGMIX = HERE.parent / "shared" / "golden" / "mixing" / "regmix"
PILE_CC = "metric/the_pile_pile_cc_val_loss"
SUBSETS = {32: 5, 64: 5, 128: 5, 512: 1}
COVERED = {32: 20, 64: 5, 128: 5}  # from one subset of 32 to the next coverage has an sd of 0.11: five say little
SURFACES, HELD, NULLS = 60, 40, 60
COLUMNS, KINDS = [f"w_{s}" for s in SOURCES], (surface, exponential)
Row = dict[str, str]


def rows(asked: tuple[str, ...] = ()) -> list[Row]:
    """One line a bar of the issue. What was measured on this very code before is not measured again (see `once`)."""
    return [row for section in SECTIONS if not asked or section.__name__ in asked for row in section()]


def once(name: str, measure: Callable[[], list[float]]) -> list[float]:
    """Numbers measured by `measure`, or those it gave before: a bench that was broken off goes on where it stopped.

    Kept in the temporary folder under a hash of the code that is measured and of this file.
    """
    ours = sorted(n for n in sys.modules if n.startswith(("mixlab.advise.", "tests.advise.")))
    code = [Path(__file__), *(Path(str(sys.modules[n].__file__)) for n in ours)]
    key = hashlib.sha256(b"".join(p.read_bytes() for p in code)).hexdigest()[:12]
    kept = Path(tempfile.gettempdir()) / f"mixlab-bench-advice-{key}.json"
    done = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if name not in done:
        done[name] = [float(x) for x in measure()]
        kept.write_text(json.dumps(done), encoding="utf-8")
    return done[name]


def line(what: str, value: float, bar: str, is_met: bool) -> Row:
    return {"what": what, "measured": f"{value:.4g}", "bar": bar, "met": "yes" if is_met else "NO"}


def pile_cc() -> list[Row]:
    if not REGMIX.exists():
        return []
    tables, found = read(REGMIX), []
    names = [c for c in tables.train.columns if c.startswith("w_")]
    weights, truth = tables.test[names].to_numpy(), tables.test[PILE_CC].to_numpy()
    bars = {32: 0.965, 64: 0.980, 128: 0.988, 512: 0.993}

    def one(n: int, r: int) -> list[float]:
        part = tables.train.iloc[np.random.RandomState(100 + r).permutation(512)[:n]]
        return judge(truth, *fit(part, PILE_CC).predict(weights))

    for n, subsets in SUBSETS.items():
        told = [once(f"pile_cc {n} {r}", partial(one, n, r)) for r in range(subsets)]
        rho, top, regret, *_ = np.mean(told, axis=0).tolist()
        found.append(line(f"Pile-CC Spearman, n={n}", rho, f">= {bars[n]}", rho >= bars[n]))
        if n == 64:
            found.append(line("Pile-CC top-quarter Spearman, n=64", top, ">= 0.92", top >= 0.92))
            found.append(line("Pile-CC regret@1 in nats, n=64", regret, "<= 0.01", regret <= 0.01))
        if n < 512:
            told += [once(f"pile_cc {n} {r}", partial(one, n, r)) for r in range(subsets, COVERED[n])]
            for many in sorted({subsets, COVERED[n]}):
                covered = float(np.mean([figures[5] for figures in told[:many]]))
                what = f"Pile-CC coverage of 80 % intervals, n={n}, {many} subsets"
                found.append(line(what, covered, "0.70 to 0.90", 0.7 <= covered <= 0.9))
    return found


def thirteen() -> list[Row]:
    if not REGMIX.exists():
        return []
    tables, found = read(REGMIX), []
    names = [c for c in tables.train.columns if c.startswith("w_")]
    weights, truth = tables.test[names].to_numpy(), tables.test[list(tables.metrics)].mean(axis=1).to_numpy()

    def one(n: int, r: int, metric: str) -> list[float]:
        part = tables.train.iloc[np.random.RandomState(100 + r).permutation(512)[:n]]
        return fit(part, metric).surrogate.predict(weights)[0].tolist()

    for n, subsets, bar in ((64, 5, 0.975), (512, 1, 0.990)):
        told = []
        for r in range(subsets):
            guesses = [once(f"thirteen {n} {r} {m}", partial(one, n, r, m)) for m in tables.metrics]
            told.append(spearman(np.mean(guesses, axis=0), truth))
        rho = float(np.mean(told))
        found.append(line(f"mean of 13, fitted separately, n={n}", rho, f">= {bar}", rho >= bar))
    return found


def speed() -> list[Row]:
    if not REGMIX.exists():
        return []
    tables = read(REGMIX)
    part = tables.train.iloc[np.random.RandomState(100).permutation(512)[:64]]

    def run(method: str) -> list[float]:
        began, cpu = time.perf_counter(), time.process_time()
        best_mix(objective_of([fit(part, m, method) for m in tables.metrics]))
        return [time.perf_counter() - began, time.process_time() - cpu]

    found = []
    for method in ("default", "log-linear"):
        wall, used = once(f"speed {method}", partial(run, method))
        what = f"fit + optimise, 64 runs x 17 x 13, {method}, CPU s"
        found.append(line(what, used, f"< 10 (wall here {wall:.0f})", used < 10))
    return found


def planted() -> list[Row]:
    """Regret after 48 runs, ours against RegMix's recipe."""

    def one(seed: int) -> list[float]:
        table, natural, truth = sweep(seed, 48, kind=KINDS[seed % 2])
        objective = objective_of([fit(table, m) for m in METRICS])
        mix, _ = minimiser(objective, reachable(objective, Wish())[0])
        pick = regmix_recipe(table[COLUMNS].to_numpy(), table[METRICS].mean(axis=1).to_numpy(), natural)
        return (truth(np.array([mix, pick])).mean(1) - least(truth)).tolist()

    ours, theirs = np.array([once(f"planted {seed}", partial(one, seed)) for seed in range(SURFACES)]).T
    found = []
    for told, part in (("", slice(None)), (", power laws", slice(0, None, 2)), (", exponentials", slice(1, None, 2))):
        mine, other = np.median(ours[part]), np.median(theirs[part])
        what = f"median regret, {len(ours[part])} planted surfaces{told}: {mine:.5f}, RegMix {other:.5f}; ratio"
        found.append(line(what, float(mine / other), "<= 0.5", bool(mine <= 0.5 * other)))
    return found


def held() -> list[Row]:
    """Whether the intervals of the predicted gain over natural hold the planted gain, 16 runs each."""

    def one(seed: int) -> list[float]:
        table, natural, truth = sweep(seed, kind=KINDS[seed % 2])
        objective = objective_of([fit(table, m) for m in METRICS])
        mix, _ = minimiser(objective, reachable(objective, Wish())[0], samples=4000)
        real = truth(natural[None]).mean() - truth(mix[None]).mean()
        told = gain(objective, mix, natural).estimate
        return [told.lo80 <= real <= told.hi80, told.lo95 <= real <= told.hi95]

    inside = [once(f"held {seed}", partial(one, seed)) for seed in range(500, 500 + HELD)]
    at80, at95 = np.mean(inside, axis=0).tolist()
    return [
        line(f"80 % intervals of the gain hold, {HELD} planted surfaces", at80, "0.70 to 0.90", 0.7 <= at80 <= 0.9),
        line("95 % intervals of the gain hold", at95, ">= 0.90", at95 >= 0.9),
    ]


def no_effect() -> list[Row]:
    """A/A: mixes that do not matter."""

    def one(seed: int) -> list[float]:
        table, natural, _ = sweep(1000 + seed, flat=True)
        return [recommend(table, METRICS, dict(zip(SOURCES, natural.tolist(), strict=True))).distinguishable]

    share = 1 - float(np.mean([once(f"null {seed}", partial(one, seed)) for seed in range(NULLS)]))
    return [line(f"A/A: 'not distinguishable' in {NULLS} sweeps of pure noise", share, ">= 0.95", share >= 0.95)]


SECTIONS = (speed, pile_cc, planted, no_effect, held, thirteen)

if __name__ == "__main__":
    print(*rows(tuple(sys.argv[1:])), sep="\n")
