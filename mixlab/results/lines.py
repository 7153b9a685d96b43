"""The long tables of mixlab.duckdb as SQL over the JSON lines of runs.

`metric_line` holds one row a logged step with one column a metric, which is four times faster to make than one row a
number; the view `metric` shows it long. A metric's column is called `m:<name>`, so that none can clash with another.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mixlab.results.flat import Json
from mixlab.results.listing import read_object

logger = logging.getLogger(__name__)
PREFIX = "m:"
_WHEN = "make_timestamp((ts * 1e6)::BIGINT) AS time_utc"  # to_timestamp would give local time
LINES: Mapping[str, tuple[str, Mapping[str, str], str]] = {
    "metric_line": (
        "metrics.jsonl",
        {"step": "BIGINT", "tokens": "BIGINT", "ts": "DOUBLE", "attempt": "INTEGER"},
        f"SELECT run_id, step, tokens, {_WHEN}, attempt, * EXCLUDE (run_id, step, tokens, ts, attempt) FROM line",
    ),
    "score": (
        "scores.jsonl",
        {"step": "BIGINT", "tokens": "BIGINT", "ts": "DOUBLE", "task": "VARCHAR", "metric": "VARCHAR"}
        | {"value": "DOUBLE", "stderr": "DOUBLE", "n": "BIGINT", "higher_is_better": "BOOLEAN", "final": "BOOLEAN"}
        | {"evals_key": "VARCHAR", "detail": "JSON"},
        f"""SELECT run_id, task, metric, step, tokens, {_WHEN}, CASE WHEN isfinite(value) THEN value END AS value,
                   CASE WHEN isfinite(stderr) THEN stderr END AS stderr, n AS n_items, higher_is_better,
                   coalesce("final", false) AS is_final, evals_key, TRY_CAST(detail->>'n_shots' AS BIGINT) AS n_shots,
                   TRY_CAST(detail->>'nats' AS DOUBLE) AS nats,
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
                   row_number() OVER (PARTITION BY run_id, step, prompt_id ORDER BY temperature, seed) - 1 AS draw,
                   repetition AS repetition_frac, distinct_2 AS distinct_2_frac
            FROM line""",
    ),
    "item": (
        "items.jsonl",
        {"step": "BIGINT", "tokens": "BIGINT", "ts": "DOUBLE", "task": "VARCHAR", "suite": "VARCHAR"}
        | {"suite_hash": "VARCHAR", "prompt_hash": "VARCHAR", "tokenizer_hash": "VARCHAR", "convention": "VARCHAR"}
        | {"item": "BIGINT", "item_hash": "VARCHAR", "cluster": "VARCHAR", "gold": "BIGINT"}
        | {"logliks": "DOUBLE[]", "alone": "DOUBLE[]"}
        | {"n_tokens": "BIGINT[]", "n_chars": "BIGINT[]", "n_bytes": "BIGINT[]", "greedy": "BOOLEAN[]"}
        | {"least": "DOUBLE[]", "truncated": "BOOLEAN", "output": "VARCHAR"}
        | {"exact_match": "DOUBLE", "prefix_match": "DOUBLE", "f1": "DOUBLE", "rouge_l": "DOUBLE"},
        f"SELECT * EXCLUDE (ts), {_WHEN} FROM line",
    ),
    "event": (
        "events.jsonl",
        {"step": "BIGINT", "ts": "DOUBLE", "level": "VARCHAR", "kind": "VARCHAR", "text": "VARCHAR"},
        f"""SELECT run_id, row_number() OVER (PARTITION BY run_id ORDER BY ts, step, kind, text) AS event_id,
                   step, {_WHEN}, level, kind, text
            FROM line""",
    ),
    "annotation": (
        "annotations.jsonl",
        {"ts": "DOUBLE", "kind": "VARCHAR", "key": "VARCHAR", "value": "VARCHAR", "author": "VARCHAR"},
        f"""SELECT run_id, kind, key, value, author, {_WHEN} FROM line
            QUALIFY row_number() OVER (PARTITION BY run_id, kind, key ORDER BY ts DESC) = 1""",
    ),
}
"""table -> (file of a run, columns of a line, SELECT over `line`, which is those columns and run_id)."""


def lines_sql(table: str, runs: Iterable[Path], packed: Path | None = None) -> str:
    """SQL that reads one long table from the JSON lines of these runs; half-written lines are no rows.

    `packed`: their lines in one file, which is written here and has to stay until the SQL is run. A file costs DuckDB
    as much as 300 lines do, so that for a thousand runs this is seven times faster; metrics are long enough.
    """
    name, columns, select = LINES[table]
    files = [run / name for run in runs if (run / name).exists()]
    names = metric_names(files) if table == "metric_line" else []
    if names:
        fields = ", ".join(f"{quoted(n)} DOUBLE" for n in names)
        columns = {**columns, "m": f"STRUCT({fields})"}
    if files and packed and table != "metric_line":
        _pack(files, packed)
        source, run_id, rest = _read([packed], {"run_id": "VARCHAR", **columns}), "run_id", ["run_id", "filename"]
    elif files:  # an empty list would raise
        source, rest = _read(files, columns), ["filename"]
        run_id = r"regexp_extract(filename, '([^/\\]+)[/\\][^/\\]+$', 1) AS run_id"
    else:
        nothing = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind in columns.items())
        source, run_id, rest = f"(SELECT {nothing}, '' AS filename WHERE false)", "filename AS run_id", ["filename"]
    metrics = "".join(f", m.{quoted(n)} AS {quoted(PREFIX + n)}" for n in names)
    rest += ["m"] if names else []
    whole = "step IS NOT NULL" if "step" in columns else "ts IS NOT NULL"
    return (
        f"WITH line AS (SELECT {run_id}, * EXCLUDE ({', '.join(rest)}){metrics} FROM {source} WHERE {whole}) {select}"
    )


def _read(files: Sequence[Path], columns: Mapping[str, str]) -> str:
    """The rows of JSON-lines files; NULLs for a line that is not whole."""
    told = ", ".join(f"{column}: {literal(kind)}" for column, kind in columns.items())
    return (
        f"read_json([{', '.join(literal(str(f)) for f in files)}], format='newline_delimited', ignore_errors=true, "
        f"filename=true, hive_partitioning=false, columns={{{told}}})"
    )


def _pack(files: Sequence[Path], packed: Path) -> None:
    """Writes the whole lines of several runs into one file, each with its run_id."""
    with open(packed, "wb") as out:
        for file in files:
            with suppress(FileNotFoundError):  # deleted just now
                text = file.read_bytes()
                about = b'\n{"run_id": ' + json.dumps(file.parent.name).encode() + b", "
                out.write((b"\n" + text[: text.rfind(b"\n") + 1]).replace(b"\n{", about)[1:])


def metric_sql(names: Sequence[str]) -> str:
    """The SELECT of the view `metric`: `metric_line` with one row a number; a filter on run or name reads only that."""
    parts = [
        f"SELECT run_id, {literal(n)} AS name, step, tokens, time_utc, {quoted(PREFIX + n)} AS value, attempt "
        f"FROM metric_line WHERE {quoted(PREFIX + n)} IS NOT NULL"
        for n in names
    ]
    none = (
        "SELECT run_id, '' AS name, step, tokens, time_utc, NULL::DOUBLE AS value, attempt FROM metric_line WHERE false"
    )
    return " UNION ALL ".join(parts) or none


def metric_names(files: Sequence[Path]) -> list[str]:
    """Every name in the `m` of any line, sorted; of a run that ended, as its done.json tells them.

    Names that differ by upper and lower case alone are one column to DuckDB: the later ones are left out, with a
    logged warning.
    """
    found: set[str] = set()
    for file in files:
        told: Json = read_object(file.with_name("done.json")).get("metrics")
        with suppress(FileNotFoundError):  # deleted just now
            found |= set(told) if isinstance(told, list) else names_in(file.read_bytes())
    known: dict[str, str] = {}
    for name in sorted(found):
        if known.setdefault(name.casefold(), name) != name:
            logger.warning("metric '%s' is left out: '%s' differs from it by case alone", name, known[name.casefold()])
    return sorted(known.values())


def names_in(text: bytes) -> set[str]:
    """The names in any of these lines. Counts keys, and parses every line only where they are not all alike."""
    lines = text.count(b"\n")
    first = text[: text.find(b"\n") + 1]
    keys = [part + b'":' for part in first.split(b'":')[:-1]]
    keys = [key[key[:-2].rfind(b'"') :] for key in keys]
    alike = all(text.count(key) == lines * first.count(key) for key in set(keys))
    if lines and alike and text.endswith(b"\n") and text.count(b'":') == lines * len(keys) and b"\\" not in text:
        return set(_names(first))
    return {name for line in text.split(b"\n") for name in _names(line)}


def _names(line: bytes) -> list[str]:
    """The names in one line; none in a line that is not whole."""
    try:
        row: Json = json.loads(line)
    except ValueError:
        return []
    told: Json = row.get("m") if isinstance(row, dict) else None
    return list(told) if isinstance(told, dict) else []


def literal(text: str) -> str:
    """A SQL string."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
