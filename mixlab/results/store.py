"""The results of a lab: published as `mixlab.duckdb`, read from there and from the files of runs not yet in it.

Truth is the JSON of the run directories. `publish` writes a new database beside the old one and swaps it in; no
process ever opens the published file for writing, and deleting it loses nothing. A reader attaches it read-only to a
fresh in-memory database for each query (a handle kept open would go on showing the old file, and one shared by
threads mixes up their results) and puts runs whose files have changed since, or that have not ended, in their place.
"""

import hashlib
import json
import logging
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import pyarrow as pa
from filelock import FileLock

import mixlab
from mixlab.errors import ConfigError, EnvironmentFault
from mixlab.results.lines import LINES, PREFIX, lines_sql, literal
from mixlab.results.listing import TERMINAL, list_runs
from mixlab.results.schema import (
    LAB_TABLES,
    RUN_FILES,
    RUN_TABLES,
    TABLES,
    VERSION,
    VIEWS,
    lab_rows,
    needed,
    run_rows,
    views_sql,
)
from mixlab.workspace import Workspace, disk_errors

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Store", "list_runs", "publish"]
ATTEMPTS = 3
"""Tries of a query whose files vanished under it: each starts from a new look at the lab."""
logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Store:
    """Read access to a lab's results. Holds no handle: safe in threads, and each call sees the newest state."""

    ws: Workspace

    @staticmethod
    def open(ws: Workspace) -> "Store":
        """The store of a workspace; it need not have been published."""
        return Store(ws)

    def runs(self) -> "pd.DataFrame":
        """One row a run, oldest first: `run_id, name, sweep, state, seed, step, seen_tokens, target_tokens, …`.

        Scores: `bpb_macro, bpb_macro_stderr` and one `bpb_<source>` per source; weights: one `w_<source>` (0-1).
        """
        return self.sql("SELECT * FROM run_wide ORDER BY created_at, run_id")

    def metrics(self, run_ids: Sequence[str] | None = None, names: Sequence[str] | None = None) -> "pd.DataFrame":
        """Long: `run_id, name, step, tokens, time_utc, value`, for these runs and metric names (None: all)."""
        where, params = _where(run_id=run_ids, name=names)
        return self.sql(f"SELECT * FROM metric WHERE {where} ORDER BY run_id, name, step", params)

    def scores(self, run_ids: Sequence[str] | None = None, final: bool = False) -> "pd.DataFrame":
        """Long: `run_id, task, metric, step, tokens, time_utc, value, stderr, n_items, …`; `final`: final ones only.

        Value is missing where the model diverged.
        """
        where, params = _where(run_id=run_ids)
        where += " AND is_final" if final else ""
        return self.sql(f"SELECT * FROM score WHERE {where} ORDER BY run_id, task, metric, step, time_utc", params)

    def samples(self, run_ids: Sequence[str] | None = None) -> "pd.DataFrame":
        """What the runs wrote when prompted: `run_id, step, tokens, prompt_id, prompt, output, temperature, …`."""
        where, params = _where(run_id=run_ids)
        return self.sql(f"SELECT * FROM sample WHERE {where} ORDER BY run_id, prompt_id, step", params)

    def sources(self) -> "pd.DataFrame":
        """One row a prepared source: `source, key, licence, language, docs, bytes, tokens, …, dropped` (JSON)."""
        return self.sql("SELECT * FROM source ORDER BY source, key")

    def sql(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """The answer to a query over the tables and views of results/schema.py, live runs included."""
        return _patiently(lambda: self._ask(query, params), self.ws)

    def query(self, query: str) -> "pd.DataFrame":
        """As `sql`, for a query that a person typed: ConfigError says what is wrong with it."""
        try:
            return self.sql(query)
        except (duckdb.ParserException, duckdb.CatalogException, duckdb.BinderException) as e:
            raise ConfigError(f"the query cannot be answered: {e}") from e

    def is_published(self) -> bool:
        """True if mixlab.duckdb is there, whole, and of this version."""
        with closing(duckdb.connect()) as con:
            return _published(con, self.ws) is not None

    def _ask(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None) -> "pd.DataFrame":
        """One try of a query, on a fresh connection that holds what the query names, or everything."""
        tables, views = needed(set(re.findall(r"\w+", query.lower())))
        if not tables:  # SHOW TABLES, and the like
            tables, views = list(TABLES), list(VIEWS)
        with closing(duckdb.connect(config={"threads": 2, "memory_limit": "2GB"})) as con:
            _attach(con, self.ws, tables, read_once=True)
            selects = views_sql(_sources(con) if "run_wide" in views else [], _metrics(con, tables))
            for view in views:
                con.execute(f"CREATE TEMP VIEW {view} AS {selects[view]}")
            return con.execute(query, params).df()


def publish(ws: Workspace) -> Path:
    """Brings `mixlab.duckdb` up to date with the lab's files and returns its path.

    Unchanged ended runs are copied from the file before; the rest is read from JSON lines. Publishers wait for each
    other. EnvironmentFault if the disk is full or read-only.
    """
    began = time.monotonic()
    with disk_errors(ws.database), FileLock(f"{ws.database}.lock"):
        for left in ws.root.glob(f"{ws.database.name}.tmp-*"):  # of a publisher that was killed: we hold the lock
            left.unlink(missing_ok=True)
        tmp = Path(f"{ws.database}.tmp-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        try:
            n_runs = _patiently(lambda: _build(ws, tmp), ws)
            with open(tmp, "rb") as f:
                os.fsync(f.fileno())
            os.replace(tmp, ws.database)
        finally:
            tmp.unlink(missing_ok=True)
    logger.info("published %d runs in %.2f s: %s", n_runs, time.monotonic() - began, ws.database)
    return ws.database


def _patiently(work: Callable[[], T], ws: Workspace) -> T:
    """What `work` returns; again, from a new look at the lab, if a file vanished under it."""
    fault: duckdb.Error | None = None
    for _ in range(ATTEMPTS):
        try:
            return work()
        except duckdb.IOException as e:
            fault = e
    raise EnvironmentFault(
        f"the results in {ws.root} cannot be read or published: {fault}. The runs' own files are untouched: free some "
        f"space if the disk is full, or delete {ws.database.name} (it is rebuilt), then run the same command again."
    ) from fault


def _build(ws: Workspace, path: Path) -> int:
    """Writes a whole database at `path`; returns how many runs are in it."""
    path.unlink(missing_ok=True)
    with closing(duckdb.connect(str(path))) as con:
        stamps = _attach(con, ws, TABLES)
        for table in TABLES:
            con.execute(f"CREATE TABLE main.{table} AS SELECT * FROM temp.main.{table}")
        for table in TABLES:  # or the views below would be bound to them
            con.execute(f"DROP VIEW temp.main.{table}")
        con.execute(
            "CREATE TABLE main.run_file AS SELECT unnest(?::VARCHAR[]) AS run_id, unnest(?::VARCHAR[]) AS stamp",
            [list(stamps), list(stamps.values())],
        )
        selects = views_sql(_sources(con), _metrics(con, TABLES))
        for view in VIEWS:
            con.execute(f"CREATE VIEW main.{view} AS {selects[view]}")
        con.execute("CREATE TABLE main.meta AS SELECT 'schema_version' AS key, ? AS value", [str(VERSION)])
        con.execute("INSERT INTO main.meta VALUES ('mixlab_version', ?)", [mixlab.__version__])
        con.execute("INSERT INTO main.meta VALUES ('duckdb_version', ?)", [duckdb.__version__])
        con.execute("CHECKPOINT")
    return len(stamps)


def _attach(
    con: duckdb.DuckDBPyConnection, ws: Workspace, tables: Sequence[str], *, read_once: bool = False
) -> dict[str, str]:
    """Makes a temporary view per table: published rows of unchanged ended runs, all others from their files.

    `read_once`: the metrics of the others are read here, for a query that goes over them once per metric. Returns
    run -> stamp of its files, taken before anything is read: a file that grows meanwhile counts as changed.
    """
    stamps = {run.name: _stamp(run) for run in ws.runs()}
    published = _published(con, ws) or {}
    fresh = [run_id for run_id, stamp in stamps.items() if published.get(run_id) == stamp]
    live = [ws.root / "runs" / run_id for run_id in sorted(set(stamps) - set(fresh))]
    con.execute("CREATE TEMP TABLE fresh AS SELECT unnest(?::VARCHAR[]) AS run_id", [fresh])
    now = {table: lines_sql(table, live) for table in LINES if table in tables}
    if read_once and "metric_line" in now:
        con.execute(f"CREATE TEMP TABLE live_metric_line AS {now['metric_line']}")
        now["metric_line"] = "SELECT * FROM live_metric_line"
    now |= {table: f"SELECT * FROM rows_{table}" for table in (*RUN_TABLES, *LAB_TABLES)}
    for table, rows in _rows(ws, live, tables).items():
        con.register(f"rows_{table}", rows)
    for table in tables:
        kept = f"SELECT * FROM pub.{table} WHERE run_id IN (SELECT run_id FROM fresh) UNION ALL BY NAME "
        con.execute(f"CREATE TEMP VIEW {table} AS {kept if fresh and table not in LAB_TABLES else ''}({now[table]})")
    return stamps


def _rows(ws: Workspace, live: Sequence[Path], tables: Sequence[str]) -> dict[str, pa.Table]:
    """The tables that are made in Python, as far as they are asked for; RUN_TABLES for the live runs only."""
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in (*RUN_TABLES, *LAB_TABLES) if table in tables}
    if any(table in LAB_TABLES for table in rows):
        rows |= {table: more for table, more in lab_rows(ws).items() if table in rows}
    if any(table in RUN_TABLES for table in rows):
        for run in (run for run in live if (run / "run.json").exists()):
            for table, more in run_rows(run).items():
                rows.get(table, []).extend(more)
    schemas = {**RUN_TABLES, **LAB_TABLES}
    return {
        table: pa.Table.from_pylist([_typed(row, schemas[table]) for row in found], schemas[table])
        for table, found in rows.items()
    }


def _published(con: duckdb.DuckDBPyConnection, ws: Workspace) -> dict[str, str] | None:
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


def _metrics(con: duckdb.DuckDBPyConnection, tables: Sequence[str]) -> list[str]:
    """Names of all metrics that any run logged; none where the query is not about them."""
    if "metric_line" not in tables:
        return []
    columns = [row[0] for row in con.execute("DESCRIBE metric_line").fetchall()]
    return sorted(c.removeprefix(PREFIX) for c in columns if c.startswith(PREFIX))


def _sources(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of all sources that have a weight or a score: each becomes columns of run_wide."""
    found = con.execute("""SELECT source FROM mix_component UNION SELECT task[5:] FROM score
        WHERE metric = 'bpb' AND starts_with(task, 'bpb/') AND task <> 'bpb/macro' ORDER BY 1""")
    return [source for (source,) in found.fetchall()]


def _stamp(run: Path) -> str:
    """Changes when a file of the run does: a hash over sizes, times of change and inodes."""
    told = []
    for name in RUN_FILES:
        try:
            stat = (run / name).stat()
        except FileNotFoundError:
            continue
        told.append((name, stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _typed(row: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """The row's values as the schema wants them, None where a file held something else."""
    return {field.name: _cast(row.get(field.name), field.type) for field in schema}


def _cast(value: Any, kind: pa.DataType) -> Any:
    """The value as Arrow would take it, else None."""
    if value is None or pa.types.is_boolean(kind):
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return str(value) if pa.types.is_string(kind) else None
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else str(value)
    if not isinstance(value, int | float):
        return None
    return float(value) if pa.types.is_floating(kind) else int(value)


def _where(**columns: Sequence[str] | None) -> tuple[str, list[Any]]:
    """A condition and its parameters: each column is among the values, or anything where they are None."""
    asked = {column: list(values) for column, values in columns.items() if values is not None}
    where = " AND ".join(f"{column} IN (SELECT unnest(?::VARCHAR[]))" for column in asked)
    return where or "true", list(asked.values())
