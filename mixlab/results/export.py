"""The published index as a file for a colleague: also in the format of an older DuckDB."""

from contextlib import closing
from pathlib import Path

import duckdb

from mixlab.errors import ConfigError
from mixlab.results.lines import literal
from mixlab.results.store import publish
from mixlab.workspace import Workspace


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
