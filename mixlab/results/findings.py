"""What was asked of runs and learnt from them: rows for three tables of mixlab.duckdb, from sweep files and the ledger.

Reads `sweeps/*.json`, `ledger.jsonl`, `verdict.json` and the mixtures in run.json of the runs that a fit rests on;
writes nothing.
"""

import json
from pathlib import Path
from typing import Any

from mixlab.results.flat import dig, digest, mix_key, stamp
from mixlab.results.listing import read_object, read_rows
from mixlab.workspace import Workspace

Rows = list[dict[str, Any]]


def sweeps(ws: Workspace) -> Rows:
    """Rows of `sweep` of a lab."""
    return [_sweep(path) for path in sorted(ws.sweeps.glob("*.json"))]


def _sweep(path: Path) -> dict[str, Any]:
    """What a sweep asked for; of what kind it is, as its command told."""
    told = read_object(path)
    row = {"sweep": path.stem, "kind": told.get("kind"), "design": json.dumps(told, ensure_ascii=False)}
    return row | {"n_planned": len(told.get("runs") or []), "created_at": stamp(told.get("created_at"))}


def fits(ws: Workspace) -> dict[str, Rows]:
    """Rows of `fit` and `prediction`: the fit behind each recommendation, and what it foretold.

    That is of its own mix, of the natural one, of runs left out. A verdict that no ledger tells of, as one of an older
    mixlab, is a fit too.
    """
    found, predictions = Rows(), Rows()
    advice = [_of_ledger(line) for line in read_rows(ws.ledger) if line.get("fit")]
    verdict = read_object(ws.verdict)
    if verdict and mix_key(dig(verdict, "mixture", "weights")) not in {mix_key(a["weights"]) for a in advice}:
        advice.append(_of_verdict(verdict, ws.verdict))
    for told in advice:
        fit_id = digest([told["about"], sorted(told["left_out"])])
        seen = {run: _mix_of(ws, run) for run in told["left_out"]}
        runs = sorted(told["left_out"])
        row = {"fit_id": fit_id, "run_ids": runs, **told["row"]}
        found.append(row | {"params": json.dumps(told["about"], ensure_ascii=False, sort_keys=True)})
        for mixture, weights in (("recommended", told["weights"]), ("natural", told["natural"])):
            one: dict[str, Any] = told["one_run"].get(mixture) or {}
            about = {"fit_id": fit_id, "mix_id": mix_key(weights), "mixture": mixture}
            about |= {"mean": one.get("mean"), "lo": one.get("lo95"), "hi": one.get("hi95")}
            predictions.append({**about, "is_holdout": mix_key(weights) not in seen.values()})
        predictions += [
            {"fit_id": fit_id, "mix_id": seen[run], "run_id": run, "mean": told["left_out"][run], "is_holdout": True}
            for run in runs
        ]
    return {"fit": found, "prediction": predictions}


def _mix_of(ws: Workspace, run: str) -> str | None:
    """The mixture of a run; None if the run is gone."""
    return mix_key(dig(read_object(ws.root / "runs" / run / "run.json"), "mixture", "weights"))


def _of_ledger(line: dict[str, Any]) -> dict[str, Any]:
    """What a line of the ledger tells of the fit behind it."""
    fit: dict[str, Any] = line["fit"]
    factors: dict[str, Any] = line.get("factors") or {}
    row = {"target": ", ".join(factors), "method": fit.get("method"), "n_runs": len(fit.get("left_out") or {})}
    row |= {"r2_holdout": fit.get("r2"), "spearman_holdout": fit.get("spearman"), "mae_holdout": fit.get("mae")}
    told = {"row": {**row, "created_at": stamp(line.get("ts"))}, "about": line, "one_run": fit.get("one_run") or {}}
    return told | {
        "weights": line.get("mixture"),
        "natural": line.get("natural"),
        "left_out": fit.get("left_out") or {},
    }


def _of_verdict(told: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a verdict.json tells of the fit behind it."""
    row = {"target": ", ".join(told.get("metrics") or []), "method": told.get("method"), "n_runs": told.get("n_runs")}
    row |= {"r2_holdout": told.get("cv_r2"), "spearman_holdout": told.get("cv_spearman")}
    row |= {"mae_holdout": told.get("cv_mae"), "created_at": stamp(path.stat().st_mtime)}
    one_run = {"recommended": told.get("predicted"), "natural": told.get("natural")}
    return {"row": row, "about": told, "one_run": one_run, "left_out": told.get("cv_predicted") or {}} | {
        "weights": dig(told, "mixture", "weights"),
        "natural": None,
    }
