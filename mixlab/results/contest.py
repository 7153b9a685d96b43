"""Mixes against each other on everything that was measured: tasks item by item, held-out documents, and the ranking.

Reads the store's views and runs' files; writes nothing. Each line has the noise of training and of items in one 95 %
interval, Holm's correction over the lines, and names a winner only where that interval clears zero. Statistics:
results/statistics.py; scores of different suites, prompts or tokenizers are refused, not compared.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixlab.errors import MissingError
from mixlab.results.compare import NoiseFloor, noise_floor
from mixlab.results.exams import HASHES, common_exam, evals_key
from mixlab.results.floors import ELSEWHERE
from mixlab.results.marks import METRICS
from mixlab.results.statistics import (
    all_pairs,
    bootstrap,
    decision_accuracy,
    decision_interval,
    holm,
    items_difference,
    last_checkpoints_sd,
    mcnemar_of,
    ranks,
    verdict,
)
from mixlab.results.store import Store

ALPHA = 0.05
NOBODY = "not distinguishable"
LOWER_IS_BETTER = ("gold_bpb", "brier", "bpb")


def tasks_between(
    store: Store, a: Sequence[str], b: Sequence[str], metrics: Sequence[str] = ("gold_bpb", "acc_char")
) -> list[dict[str, Any]]:
    """B minus A on every task and metric that all these runs were asked, a line each; none if there is no such task.

    `a` and `b` are runs that differ in their seed alone. A line: task, metric, n, a, b, floor and floor_of (the best
    value that an untrained start or the text alone reaches, and which does), difference, stderr, lo, hi,
    training and items (standard errors by kind), bootstrap_lo and bootstrap_hi (items only, clusters whole), p, p_holm,
    p_mcnemar (of the first run of each side; accuracies only), winner ('a', 'b' or 'not distinguishable'), method.
    """
    unknown = sorted(set(metrics) - set(METRICS[:-2]))
    if unknown:
        raise MissingError(f"there is no metric '{unknown[0]}' of items. Known: {', '.join(METRICS[:-2])}.")
    marks: Any = _marks(store, [*a, *b], metrics)  # pandas' stubs know no more of a frame than this
    seeds = _seeds(store)
    lines = list[dict[str, Any]]()
    for task, rows in marks.groupby("task"):
        if set(rows["run_id"]) != {*a, *b}:
            continue
        rows = common_exam(rows, [*a, *b])
        for metric in metrics:
            if rows[metric].notna().all():
                lines.append(_line(store, str(task), metric, rows, a, b, seeds))
    known = [line["p"] for line in lines if line["p"] is not None]
    adjusted = iter(holm(known))
    floors = _floors(store, [*a, *b])
    for line in lines:
        line["floor_of"], line["floor"] = floors.get((line["task"], line["metric"]), (None, None))
        line["p_holm"] = next(adjusted) if line["p"] is not None else None
        line["winner"] = _winner(line, line["metric"])
    return lines


def _floors(store: Store, runs: Sequence[str]) -> dict[tuple[str, str], tuple[str, float]]:
    """(task, metric) -> the best floor of these runs, by name and value: bits per byte and errors the lowest."""
    rows = store.sql(
        "SELECT task, metric, floor, value FROM score_floor WHERE value IS NOT NULL "
        "ORDER BY task, metric, floor, value",
        only=runs,
    )
    best: dict[tuple[str, str], tuple[str, float]] = {}
    for task, metric, floor, value in rows.itertuples(index=False):
        sign = -1 if metric.startswith(("bpb", "gold_bpb", "brier", "ece")) else 1
        if (task, metric) not in best or sign * value > sign * best[task, metric][1]:
            best[task, metric] = str(floor), float(value)
    return best


def ranking(mixes: Mapping[str, Mapping[int, float | None]], *, lower_is_better: bool = True) -> dict[str, Any]:
    """Which mix is best, and how sure that is: `mixes` (best first) and `pairs`.

    `mixes`: mixture -> seed -> score. A mix: mixture, mean, runs, p_best, rank_lo, rank_hi (None while no mix has two
    seeds); a pair: a, b, difference (b minus a), lo, hi, p_holm, winner by the mixture's name.
    """
    whole = {m: {seed: v for seed, v in vs.items() if v is not None} for m, vs in mixes.items()}
    finite = {m: vs for m, vs in whole.items() if len(vs) == len(mixes[m])}
    gone = sorted(set(mixes) - set(finite))
    try:
        found = ranks(finite, lower_is_better=lower_is_better) if finite else {}
        words = ""
    except MissingError as e:
        found, words = {}, str(e)
    places: list[dict[str, Any]] = [
        {
            "mixture": m,
            "mean": float(np.mean(list(vs.values()))),
            "runs": len(vs),
            "p_best": found[m].p_best if m in found else None,
            "rank_lo": found[m].lo if m in found else None,
            "rank_hi": found[m].hi if m in found else None,
        }
        for m, vs in finite.items()
    ]
    places.sort(key=lambda p: p["mean"] if lower_is_better else -p["mean"])
    pairs = list[dict[str, Any]]()
    for one, other, d, p in all_pairs({m: mixes[m] for m in finite}):
        better = other if d.mean is not None and (d.mean < 0) == lower_is_better else one
        won = d.distinguishable and p is not None and p < ALPHA
        pairs.append(
            {"a": one, "b": other, "difference": d.mean, "lo": d.lo, "hi": d.hi, "p_holm": p}
            | {"winner": better if won else NOBODY, "method": d.method}
        )
    if gone:
        words = ". ".join([words] if words else []) + f"left out, as a run diverged: {', '.join(gone)}"
    return {"mixes": places, "pairs": pairs, "words": words}


def agreement(store: Store, run_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Per task and metric, the share of pairs of runs that it orders as macro bpb does, with its 95 % interval.

    Final scores only, and only where all these runs have one of the same exam.
    """
    scores: Any = store.scores(run_ids, final=True)
    macro = scores[scores["task"] == "bpb/macro"].groupby("run_id")["value"].last()
    both = macro.reindex(list(run_ids))
    tasks, lines = scores[~scores["task"].str.startswith(ELSEWHERE)], list[dict[str, Any]]()
    if len(run_ids) < 3 or both.isna().any():
        return []
    for (task, metric, _), rows in tasks.groupby(["task", "metric", "evals_key"]):
        values = rows.groupby("run_id")["value"].last().reindex(list(run_ids))
        if values.isna().any():
            continue
        sign = 1 if bool(rows["higher_is_better"].iloc[0]) else -1
        x, y = sign * values.to_numpy(), -both.to_numpy()
        lo, hi = decision_interval(x, y, draws=300)
        lines.append({"task": task, "metric": metric, "decision_accuracy": decision_accuracy(x, y), "lo": lo, "hi": hi})
    return lines


def checkpoint_noise(store: Store, run_ids: Sequence[str], tasks: Sequence[str], metric: str) -> dict[str, NoiseFloor]:
    """Task -> noise of a run from the last five checkpoints of these runs, trend taken out: a stand-in for seeds.

    The first half of training is left out, and so is what was asked otherwise (the final exam reads more documents
    than a live one): of each run the exam with the most checkpoints counts. Without a task of which none has three.
    """
    rows = store.sql(
        """SELECT task, run_id, coalesce(detail::JSON->>'exam', '') || evals_key AS exam, step, value
            FROM score WHERE list_contains(?, task) AND metric = ? AND value IS NOT NULL AND step > 0
            QUALIFY row_number() OVER (PARTITION BY task, run_id, exam, step ORDER BY is_final DESC, time_utc DESC) = 1
            AND step * 2 >= max(step) OVER (PARTITION BY task, run_id) ORDER BY task, run_id, step""",
        [list(tasks), metric],
        only=run_ids,
    )
    longest: dict[str, dict[str, list[float]]] = {}
    for key, values in rows.groupby(["task", "run_id", "exam"])["value"]:
        task, run, _ = map(str, key)
        known = longest.setdefault(task, {})
        if len(values) > max(2, len(known.get(run, ()))):
            known[run] = values.to_list()
    found = {task: [last_checkpoints_sd(v[-5:]) for v in known.values()] for task, known in longest.items()}
    dfs = {task: sum(f.df for f in floors) for task, floors in found.items()}
    return {
        task: NoiseFloor(
            sd=float(np.sqrt(sum(f.sd**2 * f.df for f in found[task]) / df)), df=df, told="their last checkpoints"
        )
        for task, df in dfs.items()
        if df
    }


def _marks(store: Store, run_ids: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Marks of the runs' last scored step, an item a row."""
    return store.sql(
        f"""SELECT run_id, task, item, cluster, time_utc, {", ".join(HASHES)}, {", ".join(metrics)}
            FROM item_mark QUALIFY step = max(step) OVER (PARTITION BY run_id, task) ORDER BY task, run_id, item""",
        only=run_ids,
    )


def _seeds(store: Store) -> dict[str, tuple[int, str]]:
    """Run -> its seed, and what it has in common with runs that differ in the seed alone."""
    rows = store.sql("SELECT run_id, seed, mix_id, recipe FROM run")
    kinds = rows["mix_id"].astype(str) + "/" + rows["recipe"].astype(str)
    return {r: (int(s), k) for r, s, k in zip(rows["run_id"], rows["seed"], kinds, strict=True)}


def _line(
    store: Store,
    task: str,
    metric: str,
    rows: Any,
    a: Sequence[str],
    b: Sequence[str],
    seeds: Mapping[str, tuple[int, str]],
) -> dict[str, Any]:
    """One task and metric."""
    table = rows.pivot_table(index="item", columns="run_id", values=metric)
    told = rows.drop_duplicates("item").set_index("item")["cluster"].reindex(table.index)
    clusters = [c or str(i) for i, c in told.items()]
    one, other = table[list(a)].mean(axis=1).to_numpy(), table[list(b)].mean(axis=1).to_numpy()
    items = items_difference(other, one, clusters)
    means = table.mean()
    noise = _noise(store, task, metric, evals_key(rows.iloc[0]), [*a, *b], seeds)
    found = verdict({seeds[r][0]: means[r] for r in b}, {seeds[r][0]: means[r] for r in a}, items, noise)
    _, of, sizes = np.unique(clusters, return_inverse=True, return_counts=True)  # whole clusters are drawn
    _, lo, hi = bootstrap(np.bincount(of, other), np.bincount(of, one), sizes, draws=2000)
    is_right = metric.startswith(("acc", "exact"))
    return {
        "task": task,
        "metric": metric,
        "n": len(table),
        "a": float(one.mean()),
        "b": float(other.mean()),
        "difference": found.mean,
        "stderr": found.stderr,
        "lo": found.lo,
        "hi": found.hi,
        "training": found.parts.get("training"),
        "items": items.stderr,
        "bootstrap_lo": lo,
        "bootstrap_hi": hi,
        "p": found.p,
        "p_mcnemar": mcnemar_of(table[b[0]].to_numpy(), table[a[0]].to_numpy()) if is_right else None,
        "distinguishable": found.distinguishable,
        "method": found.method,
    }


def _noise(
    store: Store, task: str, metric: str, exam: str, runs: Sequence[str], seeds: Mapping[str, tuple[int, str]]
) -> NoiseFloor | None:
    """Noise of training on a task: seeds of any mix asked alike, else the last checkpoints of these runs.

    `exam`: evals_key of the scores; others of the task, with other items or prompts, say nothing.
    """
    scores = store.sql(
        """SELECT run_id, value FROM score WHERE task = ? AND metric = ? AND is_final AND evals_key = ?
           QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY time_utc DESC) = 1""",
        [task, metric, exam],
    )
    groups: dict[str, list[float | None]] = {}
    for run, value in zip(scores["run_id"], scores["value"], strict=True):
        groups.setdefault(seeds[run][1], []).append(None if pd.isna(value) else float(value))
    return noise_floor(list(groups.values())) or checkpoint_noise(store, runs, [task], metric).get(task)


def _winner(line: Mapping[str, Any], metric: str) -> str:
    """Who is better, if the interval clears zero and Holm's p is small enough."""
    if not line["distinguishable"] or line["p_holm"] is None or line["p_holm"] >= ALPHA:
        return NOBODY
    return "b" if (line["difference"] < 0) == metric.startswith(LOWER_IS_BETTER) else "a"
