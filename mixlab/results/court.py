"""Task scores compared: two runs item by item, a court over metrics, clean items against dirty ones.

Reads the store's views (results/marks.py); writes nothing. Scores of different suites, prompts or tokenizers are
refused, not compared.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from mixlab.errors import MissingError
from mixlab.results.compare import Difference
from mixlab.results.exams import HASHES, common_exam
from mixlab.results.floors import ELSEWHERE
from mixlab.results.marks import METRICS
from mixlab.results.statistics import decision_accuracy, items_difference, mcnemar_of, signal_to_noise
from mixlab.results.store import Store

LEAST_SNR = 2.0
"""Signal-to-noise from which a metric may rank mixes (reference/evaluation.md 6: the badge "no signal here")."""
LEAST_MONOTONICITY = 0.5
"""Spearman of step and score, averaged over runs, from which a metric follows training (FineTasks)."""
LEAST_AGREEMENT = 0.5
"""Share of pairs of runs that a metric must at least order as macro bpb does; below, it says the contrary."""


def compare_items(store: Store, run_a: str, run_b: str, task: str, metric: str = "gold_bpb") -> dict[str, Any]:
    """B minus A on one task, item by item: `difference` (Difference, clustered) and, for accuracies, McNemar's `p`.

    MissingError for a metric there is not, or where the runs share no scored item; ConfigError for mixed hashes. This
    is the noise of items alone: `statistics.verdict` adds that of training before it names a winner.
    """
    if metric not in METRICS[:-2]:
        raise MissingError(f"there is no metric '{metric}' of items. Known: {', '.join(METRICS[:-2])}.")
    rows = store.sql(
        f"""SELECT run_id, task, item, cluster, time_utc, {", ".join(HASHES)}, {metric} AS value
            FROM item_mark WHERE task = ? AND run_id IN (?, ?)
            QUALIFY step = max(step) OVER (PARTITION BY run_id, task)""",
        [task, run_a, run_b],
    )
    if set(rows["run_id"]) != {run_a, run_b}:
        raise MissingError(f"task '{task}' is not scored for both runs: `mixlab runs eval RUN` does it.")
    rows = common_exam(rows, [run_a, run_b])
    a, b = (rows[rows["run_id"] == run].set_index("item").sort_index() for run in (run_a, run_b))
    clusters = [c or str(i) for c, i in zip(a["cluster"], a.index, strict=True)]
    told: dict[str, Any] = {
        "difference": items_difference(b["value"].to_numpy(), a["value"].to_numpy(), clusters),
        "n": len(a),
    }
    if metric.startswith(("acc", "exact")):
        told["p_mcnemar"] = mcnemar_of(b["value"].to_numpy(), a["value"].to_numpy())
    return told


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What the court says of one (task, metric)."""

    task: str
    metric: str
    snr: float | None
    """Signal over these runs, over the noise of their last checkpoints."""
    monotonicity: float | None
    """Mean Spearman of step and score, the sign turned so that better is higher."""
    agreement: float | None
    """Share of pairs of runs ordered as macro bpb orders them."""
    is_muted: bool
    reason: str
    """Why it may not rank mixes here; empty if it may."""


def court(
    curves: Mapping[tuple[str, str], Sequence[Sequence[float]]], better: Mapping[str, bool], bpb: Sequence[float]
) -> list[Finding]:
    """One finding per (task, metric) over the runs of a sweep.

    `curves`: (task, metric) -> one score series per run over its checkpoints, equally many; `better`: metric -> higher
    is better; `bpb`: macro bpb of each run at its end.
    """
    return [
        _judge(task, metric, np.asarray(runs, np.float64), better[metric], bpb)
        for (task, metric), runs in sorted(curves.items())
    ]


def court_of(store: Store, run_ids: Sequence[str]) -> list[Finding]:
    """The court over scores as stored: live and final ones of these runs, where all have the same checkpoints.

    Only scores of one exam (suite, prompts, tokenizer) make a curve: a task asked live of some items and of all at the
    end has two, of which the one with more checkpoints is heard.
    """
    scores = store.scores(run_ids)
    macro = store.sql("SELECT run_id, bpb_macro FROM run_wide").set_index("run_id")["bpb_macro"]
    tasks: Any = scores[~scores["task"].str.startswith(ELSEWHERE) & (scores["step"] > 0)]  # step 0 is untrained
    curves: dict[tuple[str, str], list[list[float]]] = {}
    better: dict[str, bool] = {}
    for (task, metric, _), rows in tasks.groupby(["task", "metric", "evals_key"]):
        table = rows.pivot_table(index="run_id", columns="step", values="value", aggfunc="last").reindex(list(run_ids))
        known = curves.get((task, metric), [[]])
        if table.notna().all(axis=None) and table.shape[1] > len(known[0]):
            curves[task, metric] = table.to_numpy().tolist()
            better[metric] = bool(rows["higher_is_better"].iloc[0])
    return court(curves, better, [float(x) for x in macro.reindex(list(run_ids))])


def split(values: Sequence[float], items: Sequence[int], dirty: Collection[int]) -> dict[str, Any]:
    """A score on all, clean and dirty items, and dirty minus clean with its (unpaired) noise.

    `dirty`: ids of items found in the training sources. MissingError if one side is empty.
    """
    x, is_dirty = np.asarray(values, np.float64), np.array([item in dirty for item in items])
    if is_dirty.all() or not is_dirty.any():
        raise MissingError(f"{int(is_dirty.sum())} of {len(x)} items are contaminated: there is no split to compare.")
    clean, found = x[~is_dirty], x[is_dirty]
    enough = min(len(clean), len(found)) > 1
    stderr = float(np.sqrt(clean.var(ddof=1) / len(clean) + found.var(ddof=1) / len(found))) if enough else None
    gap = Difference(
        mean=float(found.mean() - clean.mean()),
        stderr=stderr,
        df=max(min(len(clean), len(found)) - 1, 1),
        n=len(x),
        method=f"{len(found)} dirty against {len(clean)} clean items",
    )
    return {"all": float(x.mean()), "clean": float(clean.mean()), "dirty": float(found.mean()), "difference": gap}


def parts_of(store: Store, run_ids: Sequence[str], found: Path, metric: str = "gold_bpb") -> dict[str, Any]:
    """One run's tasks (or a second run against it) on all, clean and contaminated items.

    `found`: folder with the `items.parquet` of `mixlab data contamination` (task, item, dirty), or that file. Joined by
    task and item; a task that the search did not see is left out and named in `unseen`, as is one whose items are not
    all in it. Per task: n, n_dirty, all, clean, dirty (means), all_minus_clean, dirty_minus_clean (with its unpaired
    noise, None without both kinds), and `paired`: second run minus first on each part, paired by item.
    """
    flags: Any = _flags(found)
    if metric not in METRICS[:-2]:
        raise MissingError(f"there is no metric '{metric}' of items. Known: {', '.join(METRICS[:-2])}.")
    rows: Any = store.sql(
        f"""SELECT run_id, task, item, time_utc, {", ".join(HASHES)}, {metric} AS value FROM item_mark
            WHERE list_contains(?, run_id) QUALIFY step = max(step) OVER (PARTITION BY run_id, task)
            ORDER BY task, item""",
        [list(run_ids)],
    )
    told: list[dict[str, Any]] = []
    unseen: list[str] = []
    for task, those in rows.groupby("task"):
        if set(those["run_id"]) == set(run_ids):
            those = common_exam(those, run_ids)
        sides = [those[those["run_id"] == run].set_index("item")["value"].dropna() for run in run_ids]
        is_dirty = flags[flags["task"] == task].set_index("item")["dirty"]
        if any(side.empty or not set(side.index) <= set(is_dirty.index) for side in sides):
            unseen.append(str(task))
            continue
        told.append({"task": str(task), **_parts(sides, is_dirty)})
    if not told:
        raise MissingError(
            f"no task of {run_ids[0]} was searched for in {found} ({', '.join(unseen) or 'it has no task scores'}). "
            "Score it with `mixlab runs eval`, and search for the same task files with `mixlab data contamination`."
        )
    against = run_ids[1] if len(run_ids) > 1 else None
    return {"run_id": run_ids[0], "against": against, "metric": metric, "tasks": told, "unseen": unseen}


def _flags(found: Path) -> Any:
    """A frame of task, item, dirty; MissingError where the file is not there or is another one."""
    path = found / "items.parquet" if found.is_dir() else found
    if not path.is_file():
        raise MissingError(
            f"{path} is not there: `mixlab data contamination --tasks …` writes it below contamination/ in the lab."
        )
    rows = pd.read_parquet(path)
    if not {"task", "item", "dirty"} <= set(rows.columns):
        raise MissingError(f"{path} has the columns {', '.join(rows.columns)}, not task, item and dirty.")
    return rows[["task", "item", "dirty"]]


def _parts(sides: Sequence[Any], is_dirty: Any) -> dict[str, Any]:
    """The scores of one task on its parts."""
    one = sides[0]
    dirty = is_dirty.reindex(one.index).to_numpy(dtype=bool)
    about: dict[str, Any] = {"n": len(one), "n_dirty": int(dirty.sum()), "all": float(one.mean())}
    about |= {"clean": None, "dirty": None, "all_minus_clean": None, "dirty_minus_clean": None, "words": ""}
    if dirty.any() and not dirty.all():
        told = split(one.to_list(), one.index.to_list(), set(one.index[dirty]))
        gap = told["difference"]
        about |= {"clean": told["clean"], "dirty": told["dirty"], "all_minus_clean": told["all"] - told["clean"]}
        about["dirty_minus_clean"] = _plain(gap)
    else:
        about["words"] = f"{int(dirty.sum())} of {len(one)} items are contaminated"
        about["dirty" if dirty.any() else "clean"] = about["all"]
    about["paired"] = {}
    if len(sides) > 1:
        both = one.index.intersection(sides[1].index)
        at = is_dirty.reindex(both).to_numpy(dtype=bool)
        for part, chosen in (("all", both), ("clean", both[~at]), ("dirty", both[at])):
            if len(chosen):
                about["paired"][part] = _plain(items_difference(sides[1][chosen].to_numpy(), one[chosen].to_numpy()))
    return about


def _plain(difference: Difference) -> dict[str, Any]:
    """A difference as JSON values."""
    names = ("mean", "stderr", "lo", "hi", "p", "n", "distinguishable", "method")
    return {name: getattr(difference, name) for name in names}


def _judge(task: str, metric: str, runs_RC: np.ndarray, higher: bool, bpb: Sequence[float]) -> Finding:
    """R runs, C checkpoints."""
    sign = 1 if higher else -1
    last = min(5, runs_RC.shape[1])
    snr = signal_to_noise(runs_RC[:, -last:]) if last > 2 and len(runs_RC) > 1 else None
    rho = [_spearman(run * sign) for run in runs_RC] if runs_RC.shape[1] > 2 else []
    monotonicity = float(np.mean(rho)) if rho else None
    agreement = decision_accuracy(sign * runs_RC[:, -1], -np.asarray(bpb)) if len(runs_RC) > 1 else None
    reasons = list[str]()
    if snr is not None and not snr >= LEAST_SNR:
        reasons.append(f"signal-to-noise {snr:.1f} is below {LEAST_SNR:g}")
    if monotonicity is not None and monotonicity < LEAST_MONOTONICITY:
        reasons.append(f"it does not follow training (Spearman {monotonicity:.2f} below {LEAST_MONOTONICITY:g})")
    if agreement is not None and agreement < LEAST_AGREEMENT:
        reasons.append(f"it orders {agreement:.0%} of the pairs as bpb does")
    if snr is None:
        reasons.append("there are too few runs or checkpoints to know its noise")
    return Finding(
        task=task,
        metric=metric,
        snr=snr,
        monotonicity=monotonicity,
        agreement=agreement,
        is_muted=bool(reasons),
        reason="; ".join(reasons),
    )


def _spearman(values: np.ndarray) -> float:
    """Rank correlation with the order, ties sharing their rank; 0 for a constant."""
    return 0.0 if np.ptp(values) == 0 else float(np.corrcoef(rankdata(values), np.arange(len(values)))[0, 1])
