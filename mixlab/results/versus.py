"""Runs side by side: two of them or their mixes told whole, and the settings in which several differ.

Reads the store and runs' files, writes nothing. What `mixlab runs compare` prints and the app's Compare page draws.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from mixlab.errors import ConfigError
from mixlab.results.contest import LOWER_IS_BETTER, checkpoint_noise, tasks_between
from mixlab.results.domains import domains
from mixlab.results.listing import list_runs
from mixlab.results.mixes import Evidence, compare_mixes, documents_of
from mixlab.results.store import Store
from mixlab.workspace import Workspace


def versus(ws: Workspace, run_a: str, run_b: str, rows: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """B minus A with the noise of training and of documents: `compare_mixes`, with `tasks` and `domains` beside it.

    `tasks`: `contest.tasks_between`, none where it refuses, as suites, prompts or tokenizers differ, and `refused` says
    so; `domains`: side -> what `domains` tells of the side's mean over its runs. `rows`: of `list_runs`, where they
    were read already. Errors: as `compare_mixes`.
    """
    rows, store = list_runs(ws) if rows is None else rows, Store.open(ws)
    bare = compare_mixes(rows, run_a, run_b)
    both = [*bare["a"], *bare["b"]]
    names = sorted({s for r in rows if r["run_id"] in both for s in r["bpb"]} | {"macro"})
    noise = checkpoint_noise(store, both, [f"bpb/{n}" for n in names], "bpb")
    evidence = Evidence(
        documents=documents_of(ws.root / "runs", both), noise={t.removeprefix("bpb/"): f for t, f in noise.items()}
    )
    told = compare_mixes(rows, run_a, run_b, evidence)
    try:
        told["tasks"], told["refused"] = tasks_between(store, bare["a"], bare["b"]), None
    except ConfigError as e:  # bits per byte stand as they are; the tasks say why they do not
        told["tasks"], told["refused"] = [], str(e)
    told["domains"] = {side: _domains([r for r in rows if r["run_id"] in told[side]]) for side in ("a", "b")}
    return told


def _domains(alike: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`domains` of the mean over runs that differ in the seed alone."""
    read = {s: [r["bpb"].get(s) for r in alike] for s in alike[0]["bpb"]}
    means = {s: None if None in values else fmean(values) for s, values in read.items()}
    return domains(means, alike[0]["weights"])


def settings(store: Store, run_ids: Sequence[str]) -> pd.DataFrame:
    """Settings in which these runs differ: `key`, then a column a run (text, None if missing); no name, no mixture."""
    rows = store.sql(
        "SELECT run_id, key, value_text FROM run_param WHERE key <> 'name' AND NOT starts_with(key, 'mixture.') "
        "ORDER BY key",
        only=run_ids,
    )
    by_key: dict[str, dict[str, str]] = {}
    for run, key, value in zip(rows["run_id"], rows["key"], rows["value_text"], strict=True):
        by_key.setdefault(key, {})[run] = value
    told = [
        {"key": key, **{run: values.get(run) for run in run_ids}}
        for key, values in by_key.items()
        if len({values.get(run) for run in run_ids}) > 1
    ]
    return pd.DataFrame(told, columns=["key", *run_ids])


def bands(scores: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """Curves over seeds, long: group, domain, tokens, mean, low, high, n (seeds at that point).

    `scores`: run_id, tokens, domain, value in bits per byte; `groups`: run -> what its seeds have in common. The band
    goes from the lowest to the highest seed; points without a number (diverged) are left out, which `n` tells.
    """
    told: Any = scores.dropna(subset=["value"])
    told = told.assign(group=[groups.get(r) for r in told["run_id"]]).dropna(subset=["group"])
    by = told.groupby(["group", "domain", "tokens"], sort=False)["value"]
    found = by.agg(mean="mean", low="min", high="max", n="count").reset_index()
    return found.sort_values(["group", "domain", "tokens"], ignore_index=True)


def floors(store: Store, run_ids: Sequence[str], metric: str) -> pd.DataFrame:
    """Floors of task scores, long: task, floor (`untrained`, or a heuristic of the text alone), value: its best run's.

    A run's score says something of its mix only beyond them.
    """
    best = "min" if metric.startswith(LOWER_IS_BETTER) else "max"
    return store.sql(
        f"SELECT task, floor, {best}(value) AS value FROM score_floor WHERE list_contains(?, run_id) AND metric = ? "
        "GROUP BY task, floor ORDER BY task, floor",
        [list(run_ids), metric],
    )


def task_scores(store: Store, run_ids: Sequence[str], metric: str) -> pd.DataFrame:
    """Last scores of tasks, long: run_id, task, value, lo, hi (1.96 standard errors), higher_is_better."""
    return store.sql(
        "SELECT run_id, task, value, value - 1.96 * stderr AS lo, value + 1.96 * stderr AS hi, higher_is_better "
        "FROM score_last WHERE metric = ? AND value IS NOT NULL "
        "AND NOT starts_with(task, 'bpb/') AND NOT starts_with(task, 'length/') ORDER BY task, run_id",
        [metric],
        only=run_ids,
    )


def task_metrics(store: Store, run_ids: Sequence[str]) -> list[str]:
    """Metrics that some task of these runs was scored by, by name; those in which all runs agree come last."""
    found = store.sql(
        "SELECT metric, task, max(value) > min(value) AS is_apart FROM score_last WHERE value IS NOT NULL "
        "AND NOT starts_with(task, 'bpb/') AND NOT starts_with(task, 'length/') GROUP BY ALL",
        only=run_ids,
    )
    apart = set(found.loc[found["is_apart"], "metric"])
    return sorted(set(found["metric"]), key=lambda metric: (metric not in apart, metric))
