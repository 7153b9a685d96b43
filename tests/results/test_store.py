import json
import math
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import duckdb
import pytest

from mixlab.errors import ConfigError, MissingError
from mixlab.mix.budget import DEVICES
from mixlab.results.lines import metric_names
from mixlab.results.listing import list_runs, of_sweep, read_rows
from mixlab.results.store import Store, publish
from mixlab.roster import enlist
from mixlab.workspace import append_line, read_json, write_json


def truth(ws, name: str) -> list[dict]:
    return [{"run_id": run.name, **row} for run in ws.runs() for row in read_rows(run / name)]


def check_against_files(ws) -> None:
    """The store says what the JSON lines say."""
    store = Store.open(ws)
    metrics = store.metrics()
    told = {(r["run_id"], r["step"], k): v for r in truth(ws, "metrics.jsonl") for k, v in r["m"].items()}
    assert {(r.run_id, r.step, r.name): r.value for r in metrics.itertuples(name="R")} == told
    assert len(metrics) == len(told)
    scores = store.scores()
    rows = sorted((r["run_id"], r["task"], r["step"], r["value"], r["final"]) for r in truth(ws, "scores.jsonl"))
    columns = ["run_id", "task", "step", "value", "is_final"]
    assert sorted(scores[columns].itertuples(index=False, name=None)) == rows
    assert len(store.samples()) == len(truth(ws, "samples.jsonl"))
    runs = store.runs().set_index("run_id")
    assert sorted(runs.index) == sorted(run.name for run in ws.runs())
    for run in list_runs(ws):
        row = runs.loc[run["run_id"]]
        assert (row["state"], row["step"], row["seen_tokens"]) == (run["state"], run["step"], run["tokens"])
        assert row["bpb_macro"] == pytest.approx(run["bpb_macro"])
        for source, value in run["bpb"].items():
            assert row[f"bpb_{source}"] == pytest.approx(value)
        for source, weight in run["weights"].items():
            assert row[f"w_{source}"] == pytest.approx(weight)


def test_published_and_live_together_are_the_truth_at_any_moment(ws, make_run, write_step):
    make_run("even", 0)
    publish(ws)
    live = make_run("wiki", 0, weights={"wiki": 1.0}, state="running")
    check_against_files(ws)  # one published, one live
    failed = make_run("odd", 2, state="failed")
    publish(ws)
    write_step(live, 4, sources=("wiki",))
    check_against_files(ws)  # a run that went on after being published
    write_step(failed, 4)
    check_against_files(ws)  # an ended run that is retried
    for name in ("metrics", "scores", "samples", "events"):
        rows = read_rows(file := live / f"{name}.jsonl")
        file.unlink()
        for row in rows:
            if row["step"] <= 1:
                append_line(file, row)
    check_against_files(ws)  # a resume cut back to the checkpoint
    shutil.rmtree(failed)
    check_against_files(ws)  # deleted after it was published
    publish(ws)
    check_against_files(ws)
    ws.database.unlink()
    check_against_files(ws)  # nothing published


def content(ws) -> dict[str, list]:
    with duckdb.connect(str(ws.database), read_only=True) as con:
        tables = [t for (t,) in con.execute("SELECT table_name FROM information_schema.tables ORDER BY 1").fetchall()]
        told = {t: sorted(map(repr, con.execute(f"FROM {t}").fetchall())) for t in tables}
    return {**told, "meta": [row for row in told["meta"] if "built_at" not in row]}


def test_publishing_again_or_from_nothing_gives_the_same(ws, make_run, make_source):
    make_run("even", 0)
    make_run("odd", 1, state="failed")
    make_source()
    publish(ws)
    first = content(ws)
    assert {"run", "run_param", "mix_component", "metric", "score", "sample", "event", "run_wide"} <= set(first)
    assert all(first[t] for t in ("source", "filter_reason", "leaderboard", "meta"))
    publish(ws)
    assert content(ws) == first
    ws.database.unlink()
    publish(ws)
    assert content(ws) == first
    assert not list(ws.root.glob("*.tmp-*"))


def test_a_file_renewed_many_times_holds_what_one_made_anew_does(ws, make_run, write_step):
    """Publishing copies the file before and puts the changed runs in their place."""
    for seed in range(4):
        make_run("even", seed)
    live = make_run("live", 9, state="running", steps=1)
    publish(ws)
    for step in range(2, 12):
        write_step(live, step)
        if step == 5:
            append_line(live / "metrics.jsonl", {"step": 5, "tokens": 1, "ts": 1.0, "m": {"late": 1.0}})
            shutil.rmtree(next(run for run in ws.runs() if run.name.startswith("even-s0")))
        publish(ws)
    found, size = content(ws), ws.database.stat().st_size
    ws.database.unlink()
    publish(ws)
    for told in (found, again := content(ws)):
        told.pop("metric_line")  # its columns come in the order they were seen; the view `metric` has all of it
    assert again == found and size < 2 * ws.database.stat().st_size


@pytest.mark.parametrize("seed", range(4))
def test_no_metric_name_is_overlooked(tmp_path, seed):
    rng = random.Random(seed)
    told, names = tmp_path / "metrics.jsonl", ["lr", "loss", "gpu0", "gpu1", "a/b.c", 'q"o', "ts2"]
    for _ in range(5):
        rows = [{"step": 1, "m": dict.fromkeys(rng.sample(names, rng.randint(1, 3)), 1e-05)} for _ in range(6)]
        for lines in (rows, rows[:1] * 4, [*rows[:1] * 4, rows[1]]):
            told.write_text("".join(json.dumps(row) + "\n" for row in lines) + rng.choice(["", '{"step": 1, "m": {"x']))
            assert metric_names([told]) == sorted({n for row in lines for n in row["m"]})


def test_a_half_written_line_is_not_a_row_yet(ws, make_run):
    path = make_run(state="running")
    whole = {name: (path / f"{name}.jsonl").read_bytes() for name in ("metrics", "scores", "samples")}
    for name, text in whole.items():
        (path / f"{name}.jsonl").write_bytes(text[:-9])
    check_against_files(ws)
    publish(ws)
    check_against_files(ws)
    for name, text in whole.items():
        (path / f"{name}.jsonl").write_bytes(text)
    check_against_files(ws)


def test_nan_is_no_score_and_stays_in_metrics(ws, make_run, began):
    path = make_run()
    at = {"step": 4, "tokens": 400, "ts": began + 4}
    append_line(path / "metrics.jsonl", {**at, "m": {"loss/train": float("nan")}})
    for task in ("macro", "wiki"):
        about = {"task": f"bpb/{task}", "metric": "bpb", "final": True, "detail": {"nats": None}}
        append_line(path / "scores.jsonl", {**at, **about, "value": float("inf") if task == "wiki" else None})
    store = Store.open(ws)
    for _ in range(2):
        assert store.metrics(names=["loss/train"])["value"].isna().sum() == 1
        row = store.runs().iloc[0]
        assert row[["bpb_macro", "bpb_wiki"]].isna().all() and row["bpb_code"] > 0
        assert store.sql("SELECT n_scored FROM leaderboard").iloc[0, 0] == 0
        publish(ws)


def test_times_are_utc_wherever_the_machine_is(ws, make_run, monkeypatch, began):
    monkeypatch.setenv("TZ", "America/New_York")
    make_run()
    times = Store.open(ws).metrics()["time_utc"]
    assert times.iloc[0] == datetime.fromtimestamp(began + 1, UTC).replace(tzinfo=None)
    created = Store.open(ws).runs()["created_at"]
    assert created.iloc[0] == datetime.fromtimestamp(began, UTC).replace(tzinfo=None)


def test_a_run_is_of_every_sweep_that_asked_for_it(ws, make_run):
    even, odd = make_run("even"), make_run("odd", 1, sweep="first")
    bought = make_run("bought", 2, sweep="theirs")
    write_json(bought / "run.json", read_json(bought / "run.json") | {"origin": {"from": "regmix", "recipe": "r"}})
    for name, asked in (("first", [odd]), ("second", [odd, even]), ("third", [even, bought]), ("search", None)):
        enlist(ws, name, [] if asked is None else [run.name for run in asked])
    enlist(ws, "second", [odd.name, "not-begun-s0-00000000"], {"kind": "grid"})  # asked again: once on the list
    assert read_json(ws.sweeps / "second.json")["runs"] == [odd.name, even.name, "not-begun-s0-00000000"]
    want = {"even": "second, third", "odd": "first, second", "bought": "theirs"}  # an import: of its own table alone
    for published in (False, True):
        if published:
            publish(ws)
        assert dict(Store.open(ws).runs()[["name", "sweeps"]].to_numpy()) == want
        of = Store.open(ws).sql("SELECT name FROM run JOIN sweep_run USING (run_id) WHERE sweep_run.sweep = 'second'")
        assert set(of["name"]) == {"even", "odd"} == {r["name"] for r in of_sweep(list_runs(ws), "second")}
    assert {r["name"]: ", ".join(r["sweeps"]) for r in list_runs(ws)} == want
    with pytest.raises(MissingError, match="Did you mean 'third'"):
        of_sweep(list_runs(ws), "thrid")
    with pytest.raises(ConfigError, match="'a/b'"):
        enlist(ws, "a/b", [])


def test_what_is_asked_for_is_what_comes(ws, make_run, make_source):
    even, odd = make_run("even"), make_run("odd", 1, sweep="demo")
    make_source()
    write_json(ws.root / "note.json", {})
    ws.sweeps.mkdir()
    write_json(ws.sweeps / "demo.json", {"name": "demo", "runs": [odd.name]})
    store = Store.open(ws)
    for _ in range(2):
        assert set(store.metrics([even.name], ["lr"])["name"]) == {"lr"}
        assert set(store.metrics([odd.name])["run_id"]) == {odd.name}
        assert store.metrics([]).empty and store.samples([]).empty
        assert store.scores([even.name], final=True)["step"].unique().tolist() == [3]
        source = store.sources().iloc[0]
        assert (source["source"], source["docs"], source["tokens"]) == ("wiki", 10, 300)
        assert json.loads(source["dropped"]) == {"too_short": 3, "duplicate": 1}
        reasons = store.sql("SELECT rule, n_first_hit, n_lines FROM filter_reason WHERE n_docs IS NULL ORDER BY rule")
        told = [("no_punctuation", None, 20), ("too_short", 3, 1)]  # of an older mixlab: no more than this is known
        assert list(reasons.astype(object).where(reasons.notna(), None).itertuples(index=False, name=None)) == told
        assert store.sql("SELECT run_id FROM run WHERE sweep = ?", ["demo"])["run_id"].tolist() == [odd.name]
        params = store.sql("SELECT DISTINCT key, value_text, value_num FROM run_param ORDER BY key")
        assert ("model.d_model", "64", 64.0) in list(params.itertuples(index=False, name=None))
        assert json.loads(store.sql("SELECT design FROM sweep").iloc[0, 0])["runs"] == [odd.name]
        mix = store.sql("SELECT source, epochs, licence FROM mix_component WHERE run_id = ?", [even.name])
        assert mix["epochs"].tolist() == [0.25, 0.25]
        assert len(store.sql("SHOW TABLES")) >= 13
        publish(ws)


def test_a_source_tells_its_licence_and_its_stages_in_their_order(ws, make_run, make_source):
    make_source()
    raw = {"source": "wiki", "licence": "MIT", "licence_url": "https://example.org/mit"}
    dedup = {"per_source": {"wiki": {"docs_in": 11, "removed": 1}}, "built_s": 2.0}
    for stage, name, told in (("raw", "wiki", raw), ("dedup", "pool", dedup)):
        (ws.artefact(stage, name, "0a0b0c0e")).mkdir(parents=True)
        write_json(ws.artefact(stage, name, "0a0b0c0e") / "manifest.json", told)
    store = Store.open(ws)
    assert store.sources()["licence_url"].tolist() == ["https://example.org/mit"]
    stages = store.sql("SELECT stage, docs_in, docs_out FROM filter_stage ORDER BY stage_idx")
    told = [("clean", 14, 11), ("dedup", 11, 10), ("holdout", 12, 10)]
    assert list(stages.itertuples(index=False, name=None)) == told
    run = make_run("even")
    for line in read_rows(run / "samples.jsonl"):
        append_line(run / "samples.jsonl", {**line, "temperature": 0.0})
    drawn = store.sql("SELECT DISTINCT draw, temperature FROM sample ORDER BY draw")
    assert list(drawn.itertuples(index=False, name=None)) == [(0, 0.0), (1, 0.8)]


def test_a_cleaning_tells_what_each_rule_did_alone_and_beside_the_others(ws, make_source):
    make_source()
    path = ws.artefact("clean", "wiki", "0a0b0c0d") / "manifest.json"
    rules: list[dict] = [
        {"rule": "no_punctuation", "level": "line", "params": {}, "docs": 9, "lines": 20, "sample": ["a", "b"]},
        {"rule": "too_short", "level": "document", "params": {"min_words": 5}, "docs": 4, "first": 3, "only": 2}
        | {"bytes": 200, "sample": ["c"]},
        {
            "rule": "empty",
            "level": "document",
            "params": {},
            "docs": 1,
            "first": 0,
            "only": 0,
            "bytes": 0,
            "sample": [],
        },
    ]
    write_json(path, {**read_json(path), "bytes_otherwise": 1200, "rules": rules, "made_of": ["raw/wiki-1"]})
    for _ in range(2):
        told = Store.open(ws).sql("FROM filter_reason WHERE rule = 'too_short'").iloc[0]
        assert (told["n_docs"], told["n_first_hit"], told["n_only_hit"]) == (4, 3, 2)
        assert list(told["sample_doc_ids"]) == ["c"]
        asked = """SELECT coalesce(rule, 'all') AS rule, docs_in, docs_out, bytes_in, bytes_out, tokens_out, params
                   FROM filter_stage WHERE stage = 'clean' ORDER BY rule_idx NULLS FIRST"""
        assert [row[:6] for row in Store.open(ws).sql(asked).itertuples(index=False, name=None)] == [
            ("all", 14, 11, 1500, 1000, 333),  # at 300 tokens in 900 bytes
            ("line rules", 14, 14, 1500, 1200, 400),
            ("too_short", 14, 11, 1200, 1000, 333),
            ("empty", 11, 11, 1000, 1000, 333),
        ]
        assert json.loads(Store.open(ws).sql(asked)["params"][2]) == {"min_words": 5}
        assert Store.open(ws).sql("FROM made_of").values.tolist() == [["clean/wiki-0a0b0c0d", "raw/wiki-1"]]
        publish(ws)
    assert dict(Store.open(ws).sql("FROM meta").itertuples(index=False, name=None))["built_at"] > "2026"


def test_a_recommendation_is_a_fit_with_what_it_foretold_of_runs_it_had_not_seen(ws, make_run):
    even, odd = make_run("even"), make_run("odd", weights={"wiki": 1.0})
    one = {"mean": 2.0, "lo95": 1.0, "hi95": 3.0}
    fit = {
        "method": "gp",
        "r2": 0.8,
        "spearman": 0.9,
        "mae": 0.1,
        "left_out": {even.name: 2.5, odd.name: 2.6, "gone": 2.7},
    }
    line = {"ts": 1.0, "mixture": {"code": 1.0}, "natural": {"code": 0.5, "wiki": 0.5}, "factors": {"bpb_wiki": 1.0}}
    append_line(ws.ledger, line)  # of an older mixlab
    append_line(ws.ledger, {**line, "fit": {**fit, "one_run": {"recommended": one, "natural": one}}})
    write_json(ws.verdict, {"mixture": {"weights": {"code": 1.0}}, "metrics": ["bpb_wiki"]})  # the same one
    ws.sweeps.mkdir()
    write_json(ws.sweeps / "demo.json", {"kind": "design", "asked": ["design.row=range(2)"], "runs": [even.name]})
    store = Store.open(ws)
    for _ in range(2):
        (told,) = store.sql("FROM fit").itertuples()
        assert (told.r2_holdout, told.spearman_holdout, told.n_runs) == (0.8, 0.9, 3)
        assert list(told.run_ids) == sorted([even.name, odd.name, "gone"])
        seen = store.sql("SELECT run_id, mixture, mean, is_holdout FROM prediction ORDER BY run_id, mixture")
        assert seen["mean"].tolist() == [2.5, 2.7, 2.6, 2.0, 2.0] and seen["mixture"].tolist()[3:] == [
            "natural",
            "recommended",
        ]
        assert seen["is_holdout"].tolist() == [True, True, True, False, True]  # the natural mix was trained: `even`
        joined = "SELECT p.mean, r.run_id FROM prediction p JOIN run r USING (mix_id) WHERE p.run_id = r.run_id"
        assert set(store.sql(joined)["run_id"]) == {even.name, odd.name}
        assert store.sql("SELECT kind FROM sweep")["kind"].tolist() == ["design"]
        publish(ws)


def test_no_other_runs_files_are_read_than_those_asked_for(ws, make_run):
    even, odd = make_run("even"), make_run("odd", 1)
    for name in ("metrics", "scores", "samples"):  # whoever reads one of these fails
        (odd / f"{name}.jsonl").unlink()
        (odd / f"{name}.jsonl").mkdir()
    store = Store.open(ws)
    assert set(store.metrics([even.name], ["lr"])["run_id"]) == {even.name}
    assert len(store.scores([even.name])) and len(store.samples([even.name]))
    assert store.scores(["gone", "..", f"../runs/{even.name}"]).empty
    with pytest.raises(IsADirectoryError):
        store.metrics()


def test_the_leaderboard_averages_seeds_of_one_mix(ws, make_run):
    for seed in range(3):
        make_run("even", seed, bpb=2.0 + seed)
    make_run("wiki", 0, weights={"wiki": 1.0}, bpb=1.0)
    publish(ws)
    board = Store.open(ws).sql("SELECT * FROM leaderboard")
    assert board["mixture"].tolist() == ["wiki", "even"] and board["n_runs"].tolist() == [1, 3]
    assert board["bpb_macro"].iloc[1] == pytest.approx(3.0 + 1 / 3)
    assert board["bpb_macro_sd"].iloc[1] == pytest.approx(1.0)


@pytest.mark.parametrize("damage", [b"not a database", b""])
def test_a_database_that_cannot_be_used_is_passed_over_and_replaced(ws, make_run, damage, caplog):
    make_run()
    ws.database.write_bytes(damage)
    check_against_files(ws)
    assert "cannot be used" in caplog.text
    publish(ws)
    caplog.clear()
    check_against_files(ws)
    assert not caplog.text


def test_an_empty_lab_has_empty_tables(ws):
    store = Store.open(ws)
    for _ in range(2):
        assert store.runs().empty and store.metrics().empty and store.sources().empty and store.samples().empty
        publish(ws)


def test_names_of_sources_are_only_names(ws, make_run):
    odd = {'it\'s "x"; DROP TABLE run': 0.5, "Ünïcode 文": 0.5}
    make_run("odd", weights=odd)
    check_against_files(ws)
    publish(ws)
    check_against_files(ws)


def test_the_leavings_of_a_killed_publisher_are_cleared(ws, make_run):
    make_run()
    left = ws.root / "mixlab.duckdb.tmp-host-1-abc"
    left.write_bytes(b"torso")
    publish(ws)
    assert not left.exists()


def test_readers_and_publishers_do_not_disturb_each_other(ws, make_run, write_step):
    for seed in range(3):
        make_run("even", seed)
    live = make_run("live", 9, state="running", steps=1)
    publish(ws)

    def read(store: Store) -> None:
        last = 0
        for _ in range(4):
            found = store.metrics(names=["lr"])
            assert found.groupby("run_id").size().drop(live.name).tolist() == [3, 3, 3]
            now = int(found["run_id"].eq(live.name).sum())
            assert now >= last and not found.duplicated(["run_id", "step"]).any()
            last = now

    with ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(read, Store.open(ws)) for _ in range(8)]
        for step in range(2, 5):
            write_step(live, step)
            publish(ws)
        for done in reads:
            done.result()
    check_against_files(ws)


def test_a_runs_row_tells_its_devices_their_price_and_how_often_it_was_begun(ws, make_run):
    path = make_run("even", 0)
    about = read_json(path / "run.json") | {"device": "cuda", "device_name": "NVIDIA H200", "ranks": 2, "flops": 9e15}
    write_json(path / "run.json", about | {"git_dirty": True, "slurm_job_id": "17", "threads": 3})
    append_line(path / "events.jsonl", {"ts": 1.0, "step": 1, "level": "info", "kind": "resume", "text": "x"})
    row = Store.open(ws).sql("FROM run").iloc[0]
    assert (row["attempt"], row["n_gpus"], row["gpu_name"], row["slurm_job_id"]) == (2, 2, "NVIDIA H200", "17")
    assert row["git_dirty"] and row["threads"] == 3 and row["gpu_s"] == 2 * 59.5
    h200 = DEVICES["h200"]
    assert row["cost_usd"] == pytest.approx(2 * 59.5 / 3600 * h200.dollars_per_hour)
    assert row["mfu_frac"] == pytest.approx(9e15 / 300 * 9.0 / (2 * h200.peak))  # FLOPs a token, tokens/s, peak
    write_json(path / "run.json", about | {"device": "cpu", "device_name": "tpu", "ranks": 1})
    row = Store.open(ws).sql("FROM run").iloc[0]
    assert row["n_gpus"] == row["gpu_s"] == 0 and math.isnan(row["cost_usd"]) and row["gpu_name"] is None
