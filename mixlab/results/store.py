"""The results of a lab: published as `mixlab.duckdb`, read from there and from the files of runs not yet in it.

Truth is the JSON of the run directories. `publish` writes a new database beside the old one and swaps it in; no
process ever opens the published file for writing, and deleting it loses nothing. A reader attaches it read-only to a
fresh in-memory database for each query (a handle kept open would go on showing the old file, and one shared by
threads mixes up their results) and puts runs whose files have changed since, or that have not ended, in their place.
"""

import logging
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
from filelock import FileLock

import mixlab
from mixlab.errors import ConfigError, EnvironmentFault
from mixlab.results.flat import digest
from mixlab.results.lines import quoted
from mixlab.results.listing import list_runs
from mixlab.results.look import Lab, look, metrics_of, published, select, sources_of
from mixlab.results.schema import LAB_TABLES, TABLES, VERSION, VIEWS, needed, views_sql
from mixlab.workspace import Workspace, disk_errors

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Store", "list_runs", "publish"]
ATTEMPTS = 10
"""Tries of a query whose files vanished under it: each starts from a new look at the lab."""
VANISHED = ("No files found", "No such file")
"""What DuckDB says of a file that is gone."""
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
        What people said of it: `is_starred, is_archived, tags` (joined by ", "), `note`.
        """
        return self.sql("""SELECT * REPLACE (coalesce(is_starred, false) AS is_starred,
                                             coalesce(is_archived, false) AS is_archived)
                           FROM run_wide LEFT JOIN remark USING (run_id) ORDER BY created_at, run_id""")

    def metrics(self, run_ids: Sequence[str] | None = None, names: Sequence[str] | None = None) -> "pd.DataFrame":
        """Long: `run_id, name, step, tokens, time_utc, value`, for these runs and metric names (None: all)."""
        where, params = ("true", []) if names is None else ("list_contains(?, name)", [list(names)])
        return self.sql(f"SELECT * FROM metric WHERE {where} ORDER BY run_id, name, step", params, only=run_ids)

    def scores(self, run_ids: Sequence[str] | None = None, final: bool = False) -> "pd.DataFrame":
        """Long: `run_id, task, metric, step, tokens, time_utc, value, stderr, n_items, …`; `final`: final ones only.

        Value is missing where the model diverged.
        """
        where = "is_final" if final else "true"
        query = f"SELECT * FROM score WHERE {where} ORDER BY run_id, task, metric, step, time_utc"
        return self.sql(query, only=run_ids)

    def samples(self, run_ids: Sequence[str] | None = None) -> "pd.DataFrame":
        """What the runs wrote when prompted: `run_id, step, tokens, prompt_id, prompt, output, temperature, …`."""
        return self.sql("SELECT * FROM sample ORDER BY run_id, prompt_id, step", only=run_ids)

    def sources(self) -> "pd.DataFrame":
        """One row a prepared source: `source, key, licence, language, docs, bytes, tokens, …, dropped` (JSON)."""
        return self.sql("SELECT * FROM source ORDER BY source, key")

    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        only: Collection[str] | None = None,
    ) -> "pd.DataFrame":
        """The answer to a query over the tables and views of results/schema.py, live runs included.

        `only`: the tables hold these runs alone, so that no other's files are read, however old the published file is.
        """
        return _patiently(lambda: self._ask(query, params, only), self.ws)

    def query(self, query: str) -> "pd.DataFrame":
        """As `sql`, for a query that a person typed: ConfigError says what is wrong with it."""
        try:
            if not duckdb.extract_statements(query):
                raise ConfigError("the query says nothing: try `FROM leaderboard`, or `SHOW TABLES`.")
            return self.sql(query)
        except duckdb.Error as e:
            raise ConfigError(f"the query cannot be answered: {e}") from e
        except EnvironmentFault as e:
            if isinstance(e.__cause__, duckdb.IOException) and str(self.ws.root) not in str(e.__cause__):
                raise ConfigError(f"the query cannot be answered: {e.__cause__}") from e  # a file of the person's own
            raise

    def is_published(self) -> bool:
        """True if mixlab.duckdb is there, whole, and of this version."""
        with closing(duckdb.connect()) as con:
            return published(con, self.ws) is not None

    def _ask(
        self, query: str, params: Sequence[Any] | Mapping[str, Any] | None, only: Collection[str] | None
    ) -> "pd.DataFrame":
        """One try of a query, on a fresh connection that holds what the query names, or everything."""
        tables, views = needed(set(re.findall(r"\w+", query.lower())))
        if not tables:  # SHOW TABLES, and the like
            tables, views = list(TABLES), list(VIEWS)
        with closing(duckdb.connect(config={"threads": 2, "memory_limit": "2GB"})) as con:
            _quieten(con)
            _attach(con, self.ws, tables, only)
            con.execute(f"CREATE TEMP VIEW meta AS {_meta(con)}")
            selects = views_sql(sources_of(con) if "run_wide" in views else [], metrics_of(con, tables))
            for view in views:
                con.execute(f"CREATE TEMP VIEW {view} AS {selects[view]}")
            return con.execute(query, params).df()


def _meta(con: duckdb.DuckDBPyConnection) -> str:
    """SELECT of the facts about the published file; no row where there is none."""
    found = con.execute("SELECT 1 FROM duckdb_tables() WHERE database_name = 'pub' AND table_name = 'meta'").fetchall()
    return "SELECT * FROM pub.meta" if found else "SELECT '' AS key, '' AS value WHERE false"


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
            for left in ws.root.glob(f"{tmp.name}*"):
                left.unlink(missing_ok=True)
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
            if not any(words in str(e) for words in VANISHED):
                break
    raise EnvironmentFault(
        f"the results in {ws.root} cannot be read or published: {fault}. The runs' own files are untouched: free some "
        f"space if the disk is full, or delete {ws.database.name} (it is rebuilt), then run the same command again."
    ) from fault


def _quieten(con: duckdb.DuckDBPyConnection) -> None:
    """No progress bar: a query of more than 2 s would draw one, also into a pipe.

    In Jupyter without ipywidgets it is off, and DuckDB refuses to be told so.
    """
    if con.execute("SELECT current_setting('enable_progress_bar')").fetchall() != [(False,)]:
        con.execute("SET enable_progress_bar = false")


def _build(ws: Workspace, path: Path) -> int:
    """Writes a whole database at `path`; returns how many runs are in it.

    A copy of the published file, with the runs that changed put in their place; made anew where most have changed.
    """
    with closing(duckdb.connect()) as con:
        n_fresh = len(look(con, ws, ()).fresh)
    path.unlink(missing_ok=True)
    is_copy = n_fresh > len(ws.runs()) / 2
    if is_copy:
        shutil.copyfile(ws.database, path)
    with closing(duckdb.connect(str(path))) as con:
        _quieten(con)
        lab = look(con, ws, TABLES, scratch=path)
        for table in TABLES:
            if is_copy and table not in LAB_TABLES:
                _renew(con, table, lab)
            else:
                con.execute(f"CREATE OR REPLACE TABLE main.{table} AS {select(table, lab)}")
        con.execute(
            "CREATE OR REPLACE TABLE main.run_file AS SELECT unnest(?::VARCHAR[]) AS run_id, "
            "unnest(?::VARCHAR[]) AS stamp",
            [list(lab.stamps), list(lab.stamps.values())],
        )
        selects = views_sql(sources_of(con), metrics_of(con, TABLES))
        for view in VIEWS:
            con.execute(f"CREATE OR REPLACE VIEW main.{view} AS {selects[view]}")
        facts = {"schema_version": str(VERSION), "mixlab_version": mixlab.__version__}
        facts |= {"duckdb_version": duckdb.__version__, "source_fingerprint": str(digest(sorted(lab.stamps.items())))}
        facts["built_at"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        con.execute(
            "CREATE OR REPLACE TABLE main.meta AS SELECT unnest(?::VARCHAR[]) AS key, unnest(?::VARCHAR[]) AS value",
            [list(facts), list(facts.values())],
        )
        con.execute("CHECKPOINT")
    return len(lab.stamps)


def _renew(con: duckdb.DuckDBPyConnection, table: str, lab: Lab) -> None:
    """Puts the rows of changed runs in the place of those they had in this table."""
    con.execute(f"DELETE FROM main.{table} WHERE run_id NOT IN (SELECT run_id FROM fresh)")
    there = {row[0].casefold() for row in con.execute(f"DESCRIBE main.{table}").fetchall()}
    for name, kind, *_ in con.execute(f"DESCRIBE {lab.now[table]}").fetchall():
        if name.casefold() not in there:  # a metric that no run had before
            con.execute(f"ALTER TABLE main.{table} ADD COLUMN {quoted(name)} {kind}")
    con.execute(f"INSERT INTO main.{table} BY NAME {lab.now[table]}")


def _attach(con: duckdb.DuckDBPyConnection, ws: Workspace, tables: Sequence[str], only: Collection[str] | None) -> None:
    """Makes a temporary view per table; metrics of live runs are read here, as a query goes over them once a metric."""
    lab = look(con, ws, tables, only=only)
    if "metric_line" in lab.now:
        con.execute(f"CREATE TEMP TABLE live_metric_line AS {lab.now['metric_line']}")
        lab = replace(lab, now={**lab.now, "metric_line": "SELECT * FROM live_metric_line"})
    for table in tables:
        con.execute(f"CREATE TEMP VIEW {table} AS {select(table, lab)}")
