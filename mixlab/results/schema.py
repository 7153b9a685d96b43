"""The tables of mixlab.duckdb: what each holds, and how it is made from the files of the lab.

Small tables come from rows made here in Python (`run_rows`, `lab_rows`); the long ones are SQL over JSON lines
(`LINES`). The same definitions serve the published file and the live view, so the two cannot differ. Units in names;
times are TIMESTAMP in UTC; loss in nats per token, bpb in bits per byte.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixlab.results.listing import describe, read_object
from mixlab.workspace import MANIFEST, Workspace

VERSION = 1
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
)

_TEXT, _INT, _REAL, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us")
RUN_TABLES: Mapping[str, pa.Schema] = {
    "run": pa.schema(
        [(name, _TEXT) for name in ("run_id", "name", "sweep", "state", "reason", "mix_id", "mixture", "recipe")]
        + [(name, _INT) for name in ("seed", "n_params", "n_params_nonembed", "step", "steps")]
        + [(name, _INT) for name in ("seen_tokens", "target_tokens")]
        + [(name, _REAL) for name in ("flops", "wall_s", "tokens_per_s")]
        + [(name, _TIME) for name in ("created_at", "heartbeat_at", "ended_at")]
        + [(name, _TEXT) for name in ("host", "device", "attn_impl", "git_sha", "config", "path")]
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
        [("source", _TEXT), ("key", _TEXT), ("licence", _TEXT), ("language", _TEXT)]
        + [(name, _INT) for name in ("docs", "bytes", "tokens", "heldout_docs", "heldout_bytes", "heldout_tokens")]
        + [("dropped", _TEXT), ("licences", _TEXT), ("path", _TEXT)]
    ),
    "filter_stage": pa.schema(
        [("source", _TEXT), ("key", _TEXT), ("profile", _TEXT)]
        + [(name, _INT) for name in ("docs_in", "docs_out", "bytes_in", "bytes_out")]
    ),
    "filter_reason": pa.schema(
        [("source", _TEXT), ("key", _TEXT), ("profile", _TEXT), ("rule", _TEXT), ("n_docs", _INT), ("n_lines", _INT)]
    ),
    "sweep": pa.schema([("sweep", _TEXT), ("design", _TEXT)]),
}
"""What the lab holds beside its runs: prepared sources, what cleaning dropped, sweeps."""

_WHEN = "make_timestamp((ts * 1e6)::BIGINT) AS time_utc"  # to_timestamp would give local time
LINES: Mapping[str, tuple[str, Mapping[str, str], str]] = {
    "metric": (
        "metrics.jsonl",
        {"step": "BIGINT", "tokens": "BIGINT", "ts": "DOUBLE", "m": "MAP(VARCHAR, DOUBLE)"},
        f"""SELECT run_id, e.key AS name, step, tokens, {_WHEN}, e.value AS value
            FROM (SELECT *, unnest(map_entries(m)) AS e FROM line)""",
    ),
    "score": (
        "scores.jsonl",
        {"step": "BIGINT", "tokens": "BIGINT", "ts": "DOUBLE", "task": "VARCHAR", "metric": "VARCHAR"}
        | {"value": "DOUBLE", "stderr": "DOUBLE", "n": "BIGINT", "higher_is_better": "BOOLEAN", "final": "BOOLEAN"}
        | {"evals_key": "VARCHAR", "detail": "JSON"},
        f"""SELECT run_id, task, metric, step, tokens, {_WHEN}, CASE WHEN isfinite(value) THEN value END AS value,
                   CASE WHEN isfinite(stderr) THEN stderr END AS stderr, n AS n_items, higher_is_better,
                   coalesce("final", false) AS is_final, evals_key, TRY_CAST(detail->>'nats' AS DOUBLE) AS nats,
                   TRY_CAST(detail->>'bytes' AS BIGINT) AS n_bytes, TRY_CAST(detail->>'tokens' AS BIGINT) AS n_tokens,
                   detail::VARCHAR AS detail
            FROM line""",
    ),
    "sample": (
        "samples.jsonl",
        {"step": "BIGINT", "tokens": "BIGINT", "ts": "DOUBLE", "prompt_id": "BIGINT", "prompt": "VARCHAR"}
        | {"output": "VARCHAR", "temperature": "DOUBLE", "seed": "BIGINT", "stopped": "BOOLEAN"}
        | {"repetition": "DOUBLE", "distinct_2": "DOUBLE"},
        f"""SELECT run_id, step, tokens, {_WHEN}, prompt_id, prompt, output, temperature, seed, stopped,
                   repetition AS repetition_frac, distinct_2 AS distinct_2_frac
            FROM line""",
    ),
    "event": (
        "events.jsonl",
        {"step": "BIGINT", "ts": "DOUBLE", "level": "VARCHAR", "kind": "VARCHAR", "text": "VARCHAR"},
        f"""SELECT run_id, row_number() OVER (PARTITION BY run_id ORDER BY ts, step, kind, text) AS event_id,
                   step, {_WHEN}, level, kind, text
            FROM line""",
    ),
}
"""table -> (file of a run, columns of a line, SELECT over `line`, which is those columns and run_id)."""
TABLES = (*RUN_TABLES, *LINES, *LAB_TABLES)
VIEWS: Mapping[str, tuple[str, ...]] = {
    "score_last": ("score",),
    "run_wide": ("run", "score", "mix_component"),
    "leaderboard": ("run", "score", "mix_component"),
}
"""view -> the tables it is made of; their SQL depends on the sources there are: `views_sql`."""


def lines_sql(table: str, runs: Iterable[Path]) -> str:
    """SQL that reads one long table from the JSON lines of these runs; half-written lines are no rows."""
    name, columns, select = LINES[table]
    files = [str(run / name) for run in runs if (run / name).exists()]
    if files:  # an empty list would raise
        told = ", ".join(f"{column}: '{kind}'" for column, kind in columns.items())
        source = (
            f"read_json([{', '.join(map(literal, files))}], format='newline_delimited', ignore_errors=true, "
            f"filename=true, hive_partitioning=false, columns={{{told}}})"
        )
    else:
        nothing = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind in columns.items())
        source = f"(SELECT {nothing}, '' AS filename WHERE false)"
    run_id = r"regexp_extract(filename, '([^/\\]+)[/\\][^/\\]+$', 1) AS run_id"
    return f"WITH line AS (SELECT {run_id}, * EXCLUDE (filename) FROM {source} WHERE step IS NOT NULL) {select}"


def views_sql(sources: Sequence[str]) -> dict[str, str]:
    """View -> its SELECT, in the order to make them.

    `score_last`: the last final, else the last live score of each task; `run_wide`: one row a run, a column per source;
    `leaderboard`: one row a mix of finished runs, best first.
    """
    bpb = [f"max(value) FILTER (WHERE task = {literal('bpb/' + s)}) AS {quoted('bpb_' + s)}" for s in sources]
    weight = [f"max(weight_frac) FILTER (WHERE source = {literal(s)}) AS {quoted('w_' + s)}" for s in sources]
    macro = "max(value) FILTER (WHERE task = 'bpb/macro') AS bpb_macro"
    error = "max(stderr) FILTER (WHERE task = 'bpb/macro') AS bpb_macro_stderr"
    return {
        "score_last": """SELECT * FROM score QUALIFY row_number() OVER (
            PARTITION BY run_id, task, metric ORDER BY is_final DESC, step DESC, time_utc DESC) = 1""",
        "run_wide": f"""SELECT run.* EXCLUDE (config, path), s.* EXCLUDE (run_id), w.* EXCLUDE (run_id), run.path
            FROM run
            LEFT JOIN (SELECT {", ".join(["run_id", macro, error, *bpb])}
                       FROM score_last WHERE metric = 'bpb' GROUP BY run_id) s USING (run_id)
            LEFT JOIN (SELECT {", ".join(["run_id", *weight])} FROM mix_component GROUP BY run_id) w USING (run_id)""",
        "leaderboard": """SELECT mixture, mix_id, recipe, n_params, target_tokens, count(*) AS n_runs,
                   count(bpb_macro) AS n_scored, avg(bpb_macro) AS bpb_macro, stddev_samp(bpb_macro) AS bpb_macro_sd
            FROM run_wide WHERE state = 'finished' GROUP BY ALL ORDER BY bpb_macro NULLS LAST, mix_id""",
    }


def run_rows(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of `RUN_TABLES` for one run directory."""
    about = describe(run)
    told = read_object(run / "run.json")
    run_id, mix_id = run.name, mix_key(about["weights"])
    row = {name: about.get(name, told.get(name)) for name in RUN_TABLES["run"].names}
    row |= {
        "run_id": run_id,
        "mix_id": mix_id,
        "seen_tokens": about["tokens"],
        "created_at": _stamp(about["started"]),
        "heartbeat_at": _stamp(about["heartbeat"]),
        "ended_at": _stamp(read_object(run / "done.json").get("finished_at")),
        "config": json.dumps(told, ensure_ascii=False, sort_keys=True),
        "flops": _total(told.get("flops")),
        "path": str(run),
    }
    params = [{"run_id": run_id, **param} for param in flatten(told.get("spec") or {})]
    draws = {draw["source"]: draw for draw in read_object(run / "plan.json").get("draws") or []}
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


def lab_rows(ws: Workspace) -> dict[str, list[dict[str, Any]]]:
    """Rows of `LAB_TABLES`, from the manifests of complete artefacts and the sweep files."""
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in LAB_TABLES}
    for path in sorted((ws.root / "tokens").glob(f"*/{MANIFEST}")):
        told = {**_named(path), **read_object(path)}
        row = {name: told.get(name) for name in LAB_TABLES["source"].names} | {"path": str(path.parent)}
        rows["source"].append(row | {name: json.dumps(told.get(name) or {}) for name in ("dropped", "licences")})
    for path in sorted((ws.root / "clean").glob(f"*/{MANIFEST}")):
        told = read_object(path)
        about = {**_named(path), "profile": told.get("profile")}
        sizes = {"docs_in": told.get("docs_in"), "docs_out": told.get("docs")}
        sizes |= {"bytes_in": told.get("bytes_in"), "bytes_out": told.get("bytes")}
        rows["filter_stage"].append(about | sizes)
        docs, lines = told.get("dropped") or {}, told.get("lines_dropped") or {}
        rows["filter_reason"] += [
            {**about, "rule": rule, "n_docs": docs.get(rule, 0), "n_lines": lines.get(rule, 0)}
            for rule in sorted({*docs, *lines})
        ]
    for path in sorted(ws.sweeps.glob("*.json")):
        rows["sweep"].append({"sweep": path.stem, "design": json.dumps(read_object(path), ensure_ascii=False)})
    return rows


def flatten(value: Any, key: str = "") -> Iterator[dict[str, Any]]:
    """A nested config as rows `key, value_text, value_num`; entries of a list are named by their `name`.

    >>> [row["key"] for row in flatten({"model": {"d_model": 64}, "sources": [{"name": "wiki", "kind": "pypi"}]})]
    ['model.d_model', 'sources.wiki.name', 'sources.wiki.kind']
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flatten(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value and all(isinstance(v, Mapping) and "name" in v for v in value):
        yield from flatten({v["name"]: v for v in value}, key)
    else:
        number = float(value) if isinstance(value, int | float) else None
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield {"key": key, "value_text": text, "value_num": number}


def mix_key(weights: Mapping[str, float]) -> str | None:
    """8 hex digits that name a mixture by its weights, rounded to 1e-9; None without weights."""
    told = {source: round(weight, 9) for source, weight in sorted(weights.items()) if weight}
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8] if told else None


def literal(text: str) -> str:
    """A SQL string."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _total(flops: Any) -> float | None:
    """FLOPs as one number, whether written as a sum or in parts."""
    return flops.get("total") if isinstance(flops, Mapping) else flops


def _stamp(seconds: float | None) -> int | None:
    """Microseconds since 1970, UTC."""
    return None if seconds is None else round(seconds * 1e6)


def _named(manifest: Path) -> dict[str, str]:
    """Source and key, as the name of an artefact's directory tells them."""
    source, _, key = manifest.parent.name.rpartition("-")
    return {"source": source, "key": key}
