"""Results for others: the published index as a DuckDB file, also of an older format, and runs as CSV or Parquet."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import duckdb

from mixlab.errors import ConfigError
from mixlab.results.lines import literal
from mixlab.results.store import Store, publish
from mixlab.workspace import Workspace, disk_errors

TABLE_FORMATS = ("csv", "parquet")
TABLES = {
    "runs": "SELECT * FROM run_wide WHERE {chosen} ORDER BY created_at, run_id",
    "settings": "SELECT * FROM run_param WHERE {chosen} ORDER BY run_id, key",
    "mixes": "SELECT * FROM mix_component WHERE {chosen} ORDER BY run_id, source",
    "metrics": "SELECT * FROM metric WHERE {chosen} ORDER BY run_id, name, step",
    "scores": "SELECT * FROM score WHERE {chosen} ORDER BY run_id, task, metric, step, time_utc",
    "samples": "SELECT * FROM sample WHERE {chosen} ORDER BY run_id, prompt_id, step",
}
"""File -> what is in it; columns as docs/store-and-sweeps.md tells them, units in their names."""


def export(ws: Workspace, path: Path, storage_version: str | None = None) -> None:
    """Writes the published index to a new file, in the format that an older DuckDB reads if one is named.

    ConfigError if the file exists or DuckDB knows no such version.
    """
    if path.exists():
        raise ConfigError(f"{path} exists already: name a new file.")
    publish(ws)
    version = f" (STORAGE_VERSION {literal(storage_version)})" if storage_version else ""
    with closing(duckdb.connect()) as con:
        con.execute(f"ATTACH {literal(str(ws.database))} AS pub (READ_ONLY)")
        try:
            con.execute(f"ATTACH {literal(str(path))} AS out{version}")
        except (duckdb.InvalidInputException, duckdb.BinderException) as e:
            raise ConfigError(f"--storage-version {storage_version}: {e}") from e
        con.execute("COPY FROM DATABASE pub TO out")


def tables(ws: Workspace, folder: Path, runs: Sequence[str] | None, kind: str) -> dict[str, int]:
    """Writes `TABLES` of these runs (None: all) as CSV or Parquet files into a new or empty folder; file -> rows.

    ConfigError if the folder has something in it. What models wrote stands in samples as it is: untrusted text.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty: name a new folder.")
    found = dict[str, int]()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, query in TABLES.items():
            chosen = "true" if runs is None else f"run_id IN ({', '.join(literal(r) for r in runs)})"
            frame = Store.open(ws).sql(query.format(chosen=chosen))
            path = folder / f"{name}.{kind}"
            if kind == "csv":
                frame.to_csv(path, index=False)
            else:
                frame.to_parquet(path, index=False)
            found[path.name] = len(frame)
    return found
