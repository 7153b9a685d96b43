"""A look at a lab: which runs the published file tells as they are, and how all others are read from their files.

Reads run directories and `mixlab.duckdb`, writes nothing; serves queries and publishing alike (results/store.py).
"""

import hashlib
import json
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from mixlab.results.flat import Json
from mixlab.results.lines import LINES, PREFIX, lines_sql, literal
from mixlab.results.listing import TERMINAL
from mixlab.results.schema import LAB_TABLES, RUN_FILES, RUN_TABLES, VERSION, lab_rows, run_rows
from mixlab.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """What a look at the lab found: which runs the published file tells as they are, and how to read the others."""

    stamps: Mapping[str, str]
    """Run -> stamp of its files, taken before anything is read: a file that grows meanwhile counts as changed."""
    fresh: Sequence[str]
    """Runs that the published file holds as they are."""
    now: Mapping[str, str]
    """Table -> SELECT of the rows of all other runs, from their files."""


def look(
    con: duckdb.DuckDBPyConnection,
    ws: Workspace,
    tables: Sequence[str],
    *,
    only: Collection[str] | None = None,
    scratch: Path | None = None,
) -> Lab:
    """Looks at the lab's files and, as `pub`, at the published one; leaves the runs that are fresh as table `fresh`.

    `only`: no other runs than these are looked at. `scratch`: files may be written beside this path, for speed; they
    are read when the tables are.
    """
    stamps = {run.name: _stamp(run) for run in (ws.runs() if only is None else _there(ws, only))}
    told = published(con, ws) or {}
    fresh = [run_id for run_id, stamp in stamps.items() if told.get(run_id) == stamp]
    live = [ws.root / "runs" / run_id for run_id in sorted(set(stamps) - set(fresh))]
    con.execute("CREATE TEMP TABLE fresh AS SELECT unnest(?::VARCHAR[]) AS run_id", [fresh])
    packed = {table: scratch and scratch.with_name(f"{scratch.name}-{table}") for table in LINES if table in tables}
    now = {table: lines_sql(table, live, file) for table, file in packed.items()}
    for table, rows in _rows(ws, live, tables).items():
        con.register(f"rows_{table}", rows)
        now[table] = f"SELECT * FROM rows_{table}"
    return Lab(stamps=stamps, fresh=fresh, now=now)


def _there(ws: Workspace, run_ids: Collection[str]) -> list[Path]:
    """The run directories of these names, as far as there are any; the others of the lab are not even listed."""
    asked = (ws.root / "runs" / run_id for run_id in sorted(set(run_ids)) if Path(run_id).name == run_id)
    return [run for run in asked if (run / "run.json").exists()]


def select(table: str, lab: Lab) -> str:
    """SELECT of all rows of a table: published ones of unchanged ended runs, all others from their files."""
    if not lab.fresh or table in LAB_TABLES:
        return lab.now[table]
    kept = f"SELECT * FROM pub.{table} WHERE run_id IN (SELECT run_id FROM fresh)"
    return f"{kept} UNION ALL BY NAME ({lab.now[table]})"


def published(con: duckdb.DuckDBPyConnection, ws: Workspace) -> dict[str, str] | None:
    """Attaches the published file as `pub`; run -> stamp of the ended runs in it, None if it cannot be used."""
    if not ws.database.exists():
        return None
    try:
        con.execute(f"ATTACH {literal(str(ws.database))} AS pub (READ_ONLY)")
        version = con.execute("SELECT value FROM pub.meta WHERE key = 'schema_version'").fetchone()
        if version != (str(VERSION),):
            return None
        ended = "SELECT run_id, stamp FROM pub.run_file JOIN pub.run USING (run_id) WHERE list_contains(?, state)"
        return dict(con.execute(ended, [sorted(TERMINAL)]).fetchall())
    except duckdb.Error as e:
        logger.warning("%s cannot be used, every run is read from its files; publish replaces it: %s", ws.database, e)
        return None


def metrics_of(con: duckdb.DuckDBPyConnection, tables: Sequence[str]) -> list[str]:
    """Names of all metrics that any run logged; none where the query is not about them."""
    if "metric_line" not in tables:
        return []
    columns = [row[0] for row in con.execute("DESCRIBE metric_line").fetchall()]
    return sorted(c.removeprefix(PREFIX) for c in columns if c.startswith(PREFIX))


def sources_of(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of all sources that have a weight or a score: each becomes columns of run_wide."""
    found = con.execute("""SELECT source FROM mix_component UNION SELECT task[5:] FROM score
        WHERE metric = 'bpb' AND starts_with(task, 'bpb/') AND task <> 'bpb/macro' ORDER BY 1""")
    return [source for (source,) in found.fetchall()]


def _rows(ws: Workspace, live: Sequence[Path], tables: Sequence[str]) -> dict[str, pa.Table]:
    """The tables that are made in Python, as far as they are asked for; RUN_TABLES for the live runs only."""
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in (*RUN_TABLES, *LAB_TABLES) if table in tables}
    rows |= lab_rows(ws, [table for table in rows if table in LAB_TABLES])
    if any(table in RUN_TABLES for table in rows):
        for run in (run for run in live if (run / "run.json").exists()):
            for table, more in run_rows(run).items():
                rows.get(table, []).extend(more)
    schemas = {**RUN_TABLES, **LAB_TABLES}
    return {
        table: pa.Table.from_pylist([_typed(row, schemas[table]) for row in found], schemas[table])
        for table, found in rows.items()
    }


def _stamp(run: Path) -> str:
    """Changes when a file of the run does: a hash over sizes, times of change and inodes."""
    told = list[tuple[str, int, int, int]]()
    for name in RUN_FILES:
        try:
            stat = os.stat(f"{run}/{name}")  # noqa: PTH116  # ten times a run: a Path takes twice as long
        except FileNotFoundError:
            continue
        told.append((name, stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _typed(row: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """The row's values as the schema wants them, None where a file held something else."""
    return {name: _cast(row.get(name), kind) for name, kind in zip(schema.names, schema.types, strict=True)}


def _cast(value: Json, kind: pa.DataType) -> Any:
    """The value as Arrow would take it, else None."""
    if value is None or pa.types.is_boolean(kind):
        return value if isinstance(value, bool) else None
    if pa.types.is_list(kind):
        return [str(part) for part in value] if isinstance(value, list) else None
    if isinstance(value, bool):
        return str(value) if pa.types.is_string(kind) else None
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else str(value)
    if not isinstance(value, int | float):
        return None
    return float(value) if pa.types.is_floating(kind) else int(value)
