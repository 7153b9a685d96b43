"""`mixlab runs export --to csv | parquet`: runs as tables for other tools."""

import pandas as pd
import pytest

from mixlab.errors import ConfigError
from mixlab.results.export import TABLE_FORMATS, TABLES, tables


@pytest.mark.parametrize("kind", TABLE_FORMATS)
def test_tables_hold_the_runs_that_were_asked_for_and_read_back(ws, make_run, tmp_path, kind):
    kept, other = make_run("even", 0), make_run("even", 1)
    told = tables(ws, tmp_path / "out", [kept.name], kind)
    assert set(told) == {f"{name}.{kind}" for name in TABLES}
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[kind]
    for name, rows in told.items():
        frame = read(tmp_path / "out" / name)
        assert len(frame) == rows > 0 and set(frame["run_id"]) == {kept.name} != {other.name}
    mixes = read(tmp_path / "out" / f"mixes.{kind}")
    assert mixes["weight_frac"].sum() == pytest.approx(1)
    assert {"bpb_macro", "w_code", "seen_tokens"} <= set(read(tmp_path / "out" / f"runs.{kind}").columns)


def test_no_run_named_is_every_run_and_a_folder_with_files_is_refused(ws, make_run, tmp_path):
    make_run("even", 0), make_run("even", 1)
    assert tables(ws, tmp_path / "out", None, "csv")["runs.csv"] == 2
    with pytest.raises(ConfigError, match="not empty"):
        tables(ws, tmp_path / "out", None, "csv")
