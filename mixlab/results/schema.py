"""The tables of mixlab.duckdb: what each holds, and how it is made from the files of the lab.

Small tables come from rows made here in Python (`run_rows`, `lab_rows`); the long ones are SQL over JSON lines
(results/lines.py). The same definitions serve the published file and the live view, so the two cannot differ.
Units in names; times are TIMESTAMP in UTC; loss in nats per token, bpb in bits per byte.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixlab.results import marks
from mixlab.results.findings import fits, sweeps
from mixlab.results.flat import dig, digest, flatten, mix_key, stamp
from mixlab.results.lines import LINES, literal, metric_sql, quoted
from mixlab.results.listing import read_object, told_by
from mixlab.results.stages import prepared
from mixlab.results.usage import begun, usage
from mixlab.workspace import Workspace

VERSION = 10
"""Raised when a table changes: an older mixlab.duckdb is then rebuilt from the lab's files."""
RUN_FILES = (
    "run.json",
    "plan.json",
    "status.json",
    "done.json",
    "metrics.jsonl",
    "scores.jsonl",
    "samples.jsonl",
    "events.jsonl",
    "annotations.jsonl",
    "items.jsonl",
)

_TEXT, _INT, _REAL, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us")
RUN_TABLES: Mapping[str, pa.Schema] = {
    "run": pa.schema(
        [
            (name, _TEXT)
            for name in ("run_id", "name", "sweep", "state", "reason", "mix_id", "mixture", "recipe", "origin")
        ]
        + [("parent_run_id", _TEXT)]
        + [(name, _INT) for name in ("seed", "n_params", "n_params_nonembed", "step", "steps")]
        + [(name, _INT) for name in ("seen_tokens", "target_tokens")]
        + [(name, _REAL) for name in ("flops", "wall_s", "gpu_s", "tokens_per_s", "mfu_frac", "cost_usd")]
        + [("attempt", _INT), ("n_gpus", _INT), ("threads", _INT), ("git_dirty", pa.bool_())]
        + [(name, _TIME) for name in ("created_at", "started_at", "heartbeat_at", "ended_at")]
        + [(name, _TEXT) for name in ("host", "device", "gpu_name", "precision", "attn_impl", "git_sha")]
        + [(name, _TEXT) for name in ("slurm_job_id", "config_hash", "data_hash", "config", "path")]
    ),
    "run_param": pa.schema([("run_id", _TEXT), ("key", _TEXT), ("value_text", _TEXT), ("value_num", _REAL)]),
    "mix_component": pa.schema(
        [(name, _TEXT) for name in ("run_id", "mix_id", "source", "licence")]
        + [(name, _REAL) for name in ("weight_frac", "epochs")]
        + [(name, _INT) for name in ("available_tokens", "planned_tokens")]
    ),
}
"""One or more rows a run, from its JSON files."""
LAB_TABLES: Mapping[str, pa.Schema] = {
    "source": pa.schema(
        [(name, _TEXT) for name in ("source", "key", "licence", "licence_url", "language")]
        + [(name, _INT) for name in ("docs", "bytes", "tokens", "heldout_docs", "heldout_bytes", "heldout_tokens")]
        + [("vocab_size", _INT), ("dropped", _TEXT), ("licences", _TEXT)]
        + [(name, _TEXT) for name in ("tokenizer_id", "pipeline_id", "parent_source_id", "path")]
    ),
    "filter_stage": pa.schema(
        [("source", _TEXT), ("key", _TEXT), ("stage_idx", _INT), ("stage", _TEXT), ("profile", _TEXT)]
        + [("rule_idx", _INT), ("rule", _TEXT), ("params", _TEXT)]
        + [(name, _INT) for name in ("docs_in", "docs_out", "bytes_in", "bytes_out", "tokens_in", "tokens_out")]
        + [("wall_s", _REAL)]
    ),
    "filter_reason": pa.schema(
        [(name, _TEXT) for name in ("source", "key", "profile", "rule")]
        + [(name, _INT) for name in ("n_docs", "n_first_hit", "n_only_hit", "n_lines")]
        + [("sample_doc_ids", pa.list_(_TEXT))]
    ),
    "contamination": pa.schema(
        [(name, _TEXT) for name in ("source", "key", "task_id", "method")]
        + [(name, _INT) for name in ("n_docs", "n_items", "n_items_hit")]
        + [("removed", pa.bool_())]
    ),
    "made_of": pa.schema([("child", _TEXT), ("parent", _TEXT)]),
    "sweep": pa.schema(
        [(name, _TEXT) for name in ("sweep", "kind", "design")] + [("n_planned", _INT), ("created_at", _TIME)]
    ),
    "fit": pa.schema(
        [(name, _TEXT) for name in ("fit_id", "target", "method")]
        + [("run_ids", pa.list_(_TEXT)), ("params", _TEXT)]
        + [(name, _REAL) for name in ("r2_holdout", "spearman_holdout", "mae_holdout")]
        + [("n_runs", _INT), ("created_at", _TIME)]
    ),
    "prediction": pa.schema(
        [("fit_id", _TEXT), ("mix_id", _TEXT), ("run_id", _TEXT), ("mixture", _TEXT)]
        + [(name, _REAL) for name in ("mean", "lo", "hi")]
        + [("is_holdout", pa.bool_())]
    ),
}
"""What the lab holds beside its runs: prepared sources and what they were made of, what cleaning dropped, sweeps, and
what each recommendation foretold."""

TABLES = (*RUN_TABLES, *LINES, *LAB_TABLES)
VIEWS: Mapping[str, tuple[str, ...]] = {
    "metric": ("metric_line",),
    "mix": ("run",),
    "score_last": ("score",),
    "sweep_run": ("run", "sweep"),
    "run_wide": ("run", "score_last", "mix_component", "sweep_run"),
    "run_best": ("metric",),
    "leaderboard": ("run_wide",),
    "lineage_edge": ("run", "made_of"),
    "remark": ("annotation",),
    **marks.PARTS,
}
"""view -> the tables and views before it that it is made of; their SQL: `views_sql`."""


def needed(words: set[str]) -> tuple[list[str], list[str]]:
    """Tables and views, each in the order to make them, that a query naming these words needs."""
    asked = set(words)
    for view, parts in reversed(list(VIEWS.items())):
        asked |= set(parts) if view in asked else set()
    return [t for t in TABLES if t in asked], [v for v in VIEWS if v in asked]


def views_sql(sources: Sequence[str], metrics: Sequence[str]) -> dict[str, str]:
    """View -> its SELECT, in the order to make them.

    `metric`: one row a number; `mix`: one row a mixture; `score_last`: the last final, else the last live score of each
    task; `sweep_run`: one row for each run of each sweep that asked for it, whichever trained it; `run_wide`: one row a
    run, a column per source, all its `sweeps` joined by ", "; `run_best`: min, max, last of each metric, finite values;
    `leaderboard`: one row a mix of finished runs, best first, those imported in another unit (`loss_macro`) last;
    `lineage_edge`: what a run came from and was made of, and what that was made of; `remark`: one row a run of which a
    person said something, as results/annotations.py tells it.
    """
    bpb = [f"max(value) FILTER (WHERE task = {literal('bpb/' + s)}) AS {quoted('bpb_' + s)}" for s in sources]
    weight = [f"max(weight_frac) FILTER (WHERE source = {literal(s)}) AS {quoted('w_' + s)}" for s in sources]
    macro = "max(value) FILTER (WHERE task = 'bpb/macro') AS bpb_macro"
    error = "max(stderr) FILTER (WHERE task = 'bpb/macro') AS bpb_macro_stderr"
    loss = "max(value) FILTER (WHERE task = 'loss/macro') AS loss_macro"
    unit = "max(detail::JSON->>'unit') FILTER (WHERE task = 'loss/macro') AS loss_unit"
    return {
        **marks.MARKS,
        "metric": metric_sql(metrics),
        "mix": """SELECT mix_id, first(mixture ORDER BY created_at, mixture) AS name, min(created_at) AS created_at,
                   count(*) AS n_runs
            FROM run WHERE mix_id IS NOT NULL GROUP BY mix_id""",
        "run_best": """SELECT run_id, name, min(value) FILTER (WHERE isfinite(value)) AS least,
                   max(value) FILTER (WHERE isfinite(value)) AS most,
                   arg_max(value, step) FILTER (WHERE isfinite(value)) AS last
            FROM metric GROUP BY run_id, name""",
        "lineage_edge": """SELECT run_id AS child, parent_run_id AS parent FROM run WHERE parent_run_id IS NOT NULL
            UNION ALL SELECT run_id AS child, 'tokens/' || c.key || '-' || c.value AS parent
            FROM (SELECT run_id, unnest(map_entries(CAST(config::JSON->'corpora' AS MAP(VARCHAR, VARCHAR)))) AS c
                  FROM run)
            UNION ALL FROM made_of""",
        "remark": """SELECT run_id, bool_or(kind = 'star' AND value = 'on') AS is_starred,
                   bool_or(kind = 'archive' AND value = 'on') AS is_archived,
                   string_agg(key, ', ' ORDER BY key) FILTER (WHERE kind = 'tag' AND value = 'on') AS tags,
                   max(value) FILTER (WHERE kind = 'note' AND value <> '') AS note
            FROM annotation GROUP BY run_id""",
        "score_last": """SELECT * FROM score QUALIFY row_number() OVER (
            PARTITION BY run_id, task, metric ORDER BY is_final DESC, step DESC, time_utc DESC) = 1""",
        "sweep_run": """SELECT sweep, run_id FROM run WHERE sweep IS NOT NULL
            UNION SELECT asked.sweep, run_id
            FROM (SELECT sweep, unnest(json_extract_string(design, '$.runs[*]')) AS run_id FROM sweep) asked
            JOIN run USING (run_id) WHERE origin IS NULL""",
        "run_wide": f"""SELECT run.* EXCLUDE (config, path), sweeps, s.* EXCLUDE (run_id), w.* EXCLUDE (run_id),
                   run.path
            FROM run
            LEFT JOIN (SELECT run_id, string_agg(sweep, ', ' ORDER BY sweep) AS sweeps
                       FROM sweep_run GROUP BY run_id) USING (run_id)
            LEFT JOIN (SELECT {", ".join(["run_id", macro, error, loss, unit, *bpb])}
                       FROM score_last WHERE metric IN ('bpb', 'loss') GROUP BY run_id) s USING (run_id)
            LEFT JOIN (SELECT {", ".join(["run_id", *weight])} FROM mix_component GROUP BY run_id) w USING (run_id)""",
        "leaderboard": """SELECT mixture, mix_id, recipe, n_params, target_tokens, count(*) AS n_runs,
                   count(bpb_macro) AS n_scored, avg(bpb_macro) AS bpb_macro, stddev_samp(bpb_macro) AS bpb_macro_sd,
                   avg(loss_macro) AS loss_macro, loss_unit, origin
            FROM run_wide WHERE state = 'finished' GROUP BY ALL
            ORDER BY bpb_macro NULLS LAST, loss_macro NULLS LAST, mix_id""",
    }


def run_rows(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of `RUN_TABLES` for one run directory."""
    files = {name: read_object(run / f"{name}.json") for name in ("run", "status", "done", "plan")}
    about, told = told_by(run, files), files["run"]
    run_id, mix_id = run.name, mix_key(about["weights"])
    row = {name: about.get(name, told.get(name)) for name in RUN_TABLES["run"].names}
    row |= {
        "run_id": run_id,
        "mix_id": mix_id,
        "seen_tokens": about["tokens"],
        "created_at": stamp(about["started"]),
        "started_at": stamp(files["status"].get("started")),
        "heartbeat_at": stamp(about["heartbeat"]),
        "ended_at": stamp(files["done"].get("finished_at")),
        "precision": dig(told, "spec", "train", "precision"),
        "config_hash": told.get("key"),
        "data_hash": digest(told.get("corpora")),
        "config": json.dumps(told, ensure_ascii=False, sort_keys=True),
        "flops": _total(told.get("flops")),
        "path": str(run),
    }
    row |= begun(run, told, files["status"]) | usage(told, row)
    params = [
        {"run_id": run_id, **param} for param in flatten(told.get("spec") or dig(told, "origin", "settings") or {})
    ]
    drawn: list[dict[str, Any]] = files["plan"].get("draws") or []
    draws = {draw["source"]: draw for draw in drawn}
    mix = [
        {
            "run_id": run_id,
            "mix_id": mix_id,
            "source": source,
            "weight_frac": weight,
            "available_tokens": draws.get(source, {}).get("available"),
            "planned_tokens": draws.get(source, {}).get("tokens"),
            "epochs": draws.get(source, {}).get("epochs"),
            "licence": draws.get(source, {}).get("licence"),
        }
        for source, weight in sorted(about["weights"].items())
    ]
    return {"run": [row], "run_param": params, "mix_component": mix}


def lab_rows(ws: Workspace, tables: Collection[str] = tuple(LAB_TABLES)) -> dict[str, list[dict[str, Any]]]:
    """Rows of these `LAB_TABLES`, from manifests of complete artefacts, the sweep files, the ledger and the verdict."""
    told: dict[str, list[dict[str, Any]]] = {"sweep": sweeps(ws)} if "sweep" in tables else {}
    if {"fit", "prediction"} & set(tables):
        told |= fits(ws)
    if set(tables) - {"sweep", "fit", "prediction"}:
        told |= prepared(ws.root, LAB_TABLES["source"].names)
    return {table: told[table] for table in tables}


def _total(flops: Mapping[str, Any] | float | None) -> float | None:
    """FLOPs as one number, whether written as a sum or in parts."""
    return flops.get("total") if isinstance(flops, Mapping) else flops
