"""Which weights give the lowest score, searched one run after another by Optuna (extra `optimize`).

Beside the runs, the list of its sweep keeps what was asked: a search asked again is told what came of that first, so it
goes on where it stopped, on any machine. Weights: w = -log(u) / sum(-log(u)), u uniform, is uniform on the simplex.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixlab import sweep
from mixlab.crew import places
from mixlab.data.prepare import prepare
from mixlab.errors import ConfigError, EnvironmentFault, nearest
from mixlab.rehearsal import Rehearsal, rehearse
from mixlab.results.listing import describe, read_object
from mixlab.seeds import seed_of
from mixlab.types import Mixture, RunSpec
from mixlab.workspace import Workspace, key_of

STARTUP = 8  # trials drawn at random before a model of the score is made
LEAST = 1e-4  # u stays this far from 0 and 1: else a weight is 0 or all


def optimize(
    spec: RunSpec,
    ws: Workspace,
    score: str,
    trials: int,
    *,
    name: str,
    watch: Any,
    workers: int | None,
    **options: Any,
) -> tuple[list[str], dict[str, str]]:
    """Run ids and failures (run id -> why) of `trials` runs of `spec` with weights that lower `score`.

    `score`: macro, or a source whose bits per byte count. Asks for `workers` mixes at a time (None: as crew.places
    says). The sweep is called `<name>-optimize-<score>-<key>`, as other settings make another search. ConfigError for
    an unknown score, EnvironmentFault without Optuna.
    """
    study, workers = _study(), len(places([spec], workers))
    sources = sorted(s.name for s in spec.sources)
    score = score.removeprefix("bpb_").removeprefix("bpb/")
    if score not in ["macro", *sources]:
        raise ConfigError(f"--optimize {score}: there is no such score.{nearest(score, ['macro', *sources])}")
    corpora = prepare(spec, ws, watch.stage)
    plain = rehearse(spec, corpora, ws)
    name = f"{name}-optimize-{score}-{_recipe(plain)}"
    asked: list[dict[str, Any]] = read_object(ws.sweeps / f"{name}.json").get("trials", [])
    about = options.pop("about", {})
    options |= {"name": name, "workers": workers, "watch": watch.sweep}
    failed: dict[str, str] = {}
    ids: list[str] = []
    while len(ids) < trials:
        known, n = asked[len(ids) : len(ids) + workers], min(workers, trials - len(ids))
        batch = known[:n] or _ask(study, sources, n, seed_of(spec.seed, "optimize", len(ids)))
        told = [_rehearsed(spec, b, len(ids) + i, corpora, ws) for i, b in enumerate(batch)]
        asked = [*asked[: len(ids)], *batch, *asked[len(ids) + len(batch) :]]
        state = sweep.run_all(told, ws, **options, about={**about, "trials": asked})
        failed |= state.failed
        for one, run in zip(batch, told, strict=True):
            _tell(study, one, _value(run.path, score))
            ids.append(run.path.name)
        if failed and options.get("fail_fast"):
            break
    return ids, failed


def weights_of(u: Mapping[str, float]) -> dict[str, float]:
    """Weights on the simplex for numbers in (0, 1): uniform over mixtures if the numbers are.

    >>> weights_of({"code": 0.5, "wiki": 0.25})
    {'code': 0.333333333, 'wiki': 0.666666667}
    """
    parts = {s: -math.log(x) for s, x in u.items()}
    total = sum(parts.values())
    return {s: round(p / total, 9) for s, p in parts.items()}


def _study() -> Any:
    """An empty study; EnvironmentFault without Optuna."""
    try:
        import optuna
    except ImportError as e:
        raise EnvironmentFault("--optimize needs Optuna: pip install 'mixlab[optimize]'") from e
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study()


def _ask(study: Any, sources: Sequence[str], n: int, seed: int) -> list[dict[str, float]]:
    """The numbers behind the next `n` mixtures; a function of what was told and of `seed`, as a resumed search asks."""
    import optuna

    study.sampler = optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=STARTUP)
    trials = [study.ask() for _ in range(n)]
    return [{s: round(t.suggest_float(s, LEAST, 1 - LEAST), 9) for s in sources} for t in trials]


def _tell(study: Any, u: Mapping[str, float], value: float | None) -> None:
    """Adds what came out; a diverged run is told as one that failed."""
    import optuna

    space: dict[str, Any] = {s: optuna.distributions.FloatDistribution(LEAST, 1 - LEAST) for s in u}
    state = optuna.trial.TrialState.FAIL if value is None else optuna.trial.TrialState.COMPLETE
    study.add_trial(optuna.trial.create_trial(params=dict(u), distributions=space, value=value, state=state))


def _rehearsed(spec: RunSpec, u: Mapping[str, float], i: int, corpora: Any, ws: Workspace) -> Rehearsal:
    mix = Mixture(name=f"trial{i:03d}", rule="weights", weights=weights_of(u))
    return rehearse(replace(spec, name=mix.name, mixture=mix), corpora, ws)


def _value(run: Path, score: str) -> float | None:
    told = describe(run)
    return told["bpb_macro"] if score == "macro" else told["bpb"].get(score)


def _recipe(told: Rehearsal) -> str:
    """Names what stays the same from trial to trial: the run with its mixture left out."""
    return key_of("runs", 1, replace(told.spec, mixture=Mixture()), {d.source: d.corpus for d in told.plan.draws})
