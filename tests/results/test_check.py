import json

import duckdb
import pytest

from mixlab.errors import ConfigError
from mixlab.results.check import check
from mixlab.results.export import export
from mixlab.results.store import Store, publish
from mixlab.workspace import append_line, write_json
from tests.conftest import mixlab


def test_a_whole_lab_is_clean_published_or_not(ws, make_run):
    make_run("even", 0)
    make_run("odd", 1, state="running")
    assert check(ws) == []
    publish(ws)
    assert check(ws) == []


def test_damage_is_told_by_file(ws, make_run):
    path = make_run("even", 0)
    publish(ws)
    (path / "plan.json").write_text('{"tokens": 3')
    append_line(path / "metrics.jsonl", {"step": 3, "tokens": 300, "ts": 1.0, "m": {"lr": 0.1}})
    with open(path / "events.jsonl", "a") as f:
        f.write('{"torn"\n{"ts": 1.0, "step": 3}\n{"half')
    told = {p.path.name: p.what for p in check(ws)}
    assert set(told) == {"plan.json", "metrics.jsonl", "events.jsonl"}
    assert "2 rows" in told["metrics.jsonl"] and "line 4" in told["events.jsonl"]
    ws.database.write_bytes(b"torn")
    assert ws.database in [p.path for p in check(ws)]


def test_the_whole_schema_is_there_and_holds_what_the_files_say(ws, make_run, make_source):
    path = make_run("even", 0, sweep="demo")
    make_source()
    run = json.loads((path / "run.json").read_text())
    write_json(path / "run.json", {**run, "key": "aa", "corpora": {"wiki": "0a0b0c0d", "code": "11"}})
    for value in ("first", "last"):
        append_line(path / "annotations.jsonl", {"ts": 1.0 + len(value), "kind": "note", "key": "n", "value": value})
    (ws.root / "split" / "pool-1234").mkdir(parents=True)
    write_json(ws.root / "split" / "pool-1234" / "manifest.json", {"heldout": {"wiki": 5}, "contaminated": {"wiki": 2}})
    estimate = {"mean": 2.0, "lo95": 1.0, "hi95": 3.0}
    card = {"method": "gp", "metrics": ["bpb_wiki"], "mixture": {"weights": {"wiki": 1.0}}, "n_runs": 9}
    write_json(ws.verdict, {**card, "cv_spearman": 0.9, "cv_mae": 0.1, "predicted": estimate, "natural": estimate})
    store = Store.open(ws)
    for _ in range(2):
        asked = {
            "annotation": ("value", ["first"]),
            "contamination": ("n_docs", [2]),
            "fit": ("spearman_holdout", [0.9]),
            "prediction": ("mixture", ["recommended", "natural"]),
            "mix": ("name", ["even"]),
            "run_best": ("most", [4.0, 0.01]),
            "lineage_edge": ("parent", ["tokens/wiki-0a0b0c0d", "tokens/code-11"]),
        }
        for table, (column, values) in asked.items():
            assert sorted(store.sql(f"SELECT {column} FROM {table}")[column]) == sorted(values), table
        assert len(store.sql("FROM score_last")) == 3
        publish(ws)


def test_the_index_opens_in_plain_duckdb_and_goes_to_an_older_one(ws, make_run, tmp_path):
    make_run("even", 0)
    publish(ws)
    with duckdb.connect(str(ws.database), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM metric").fetchone() == (6,)
        assert list(con.execute("FROM leaderboard").df()["mixture"]) == ["even"]
    export(ws, tmp_path / "old.duckdb", "v1.5.0")
    with duckdb.connect(str(tmp_path / "old.duckdb"), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM metric").fetchone() == (6,)
    versions = [int.from_bytes(p.read_bytes()[12:20], "little") for p in (ws.database, tmp_path / "old.duckdb")]
    assert versions[1] == 68 < versions[0]  # 68: the newest that DuckDB 1.5 reads
    with pytest.raises(ConfigError, match="exists"):
        export(ws, tmp_path / "old.duckdb")
    with pytest.raises(ConfigError, match="v0"):
        export(ws, tmp_path / "new.duckdb", "v0")


def test_metric_names_that_come_late_or_differ_in_digits_are_found(ws, make_run):
    path = make_run("even", 0, steps=2)
    for step, m in ((3, {"late": 1.0}), (4, {"gpu0": 2.0}), (5, {"gpu1": 3.0}), (6, {"q\"uo'te": None})):
        append_line(path / "metrics.jsonl", {"step": step, "tokens": step, "ts": 1.0, "m": m})
    found = Store.open(ws).metrics()
    assert set(found["name"]) == {"loss/train", "lr", "late", "gpu0", "gpu1"} and len(found) == 7


def test_a_query_that_cannot_be_answered_is_told_whatever_is_wrong_with_it(ws, make_run):
    make_run("even", 0)
    for query in ("", "-- nothing", "SELECT 'a'::INT", "SELECT sum(name) FROM run", "FROM read_csv('/nowhere.csv')"):
        with pytest.raises(ConfigError, match=r"^the query "):
            Store.open(ws).query(query)


def test_the_commands_answer(ws, make_run):
    make_run("even", 0)
    env = {"MIXLAB_HOME": str(ws.root)}
    assert mixlab("db", "sync", env=env).returncode == 0
    assert "all whole" in mixlab("db", "check", env=env).stdout
    told = mixlab("db", "query", "SELECT mixture, n_runs FROM leaderboard", "--json", env=env)
    assert json.loads(told.stdout) == [{"mixture": "even", "n_runs": 1}]
    wrong = mixlab("db", "query", "SELECT x FROM leaderbord", env=env)
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: ") and "leaderboard" in wrong.stderr
    assert "row 1 of 1" in (wide := mixlab("db", "query", "FROM run", env=env).stdout) and "parent_run_id" in wide
    (ws.runs()[0] / "done.json").write_text("{")
    assert mixlab("db", "check", env=env).returncode == 5
