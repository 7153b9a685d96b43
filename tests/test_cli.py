"""The commands as a user types them: outputs, exit codes, and one sentence for each kind of bad input."""

import json
import os
import resource
import shutil
import subprocess
import sys

import pytest

from mixlab.errors import MissingError
from mixlab.show import find_arm
from mixlab.workspace import Workspace
from tests.conftest import TINY, documents, mixlab, write_source

MIX = ("mixture=weights", "mixture.weights={lists: 0.5, prose: 0.5}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory):
    """A project with two finished runs."""
    folder = tmp_path_factory.mktemp("cli")
    for name in ("prose", "lists"):
        write_source(folder, name, documents(name, 60))
    for mixture in ("uniform", "natural"):
        told = mixlab("run", *TINY, f"mixture={mixture}", "--json", cwd=folder)
        assert told.returncode == 0, told.stderr
    return folder


def test_help_answers_at_once():
    """In processor time, so that other work on the machine does not count; the bar is 0.3 s on an idle machine."""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert mixlab("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < 0.6  # the law that makes it so is in test_architecture


def test_a_run_prints_its_scores_as_json_alone(lab):
    told = mixlab("runs", "show", "uniform", "--json", cwd=lab)
    facts = json.loads(told.stdout)
    assert facts["state"] == "finished" and set(facts["bpb"]) == {"lists", "prose"}
    assert sum(facts["weights"].values()) == pytest.approx(1)


def test_the_same_run_again_does_no_work(lab):
    before = sorted((p, p.stat().st_mtime_ns) for p in (lab / "lab" / "runs").rglob("*.json*"))
    assert mixlab("run", *TINY, "mixture=uniform", cwd=lab).returncode == 0
    assert sorted((p, p.stat().st_mtime_ns) for p in (lab / "lab" / "runs").rglob("*.json*")) == before


def test_runs_are_listed_best_first_and_compared(lab):
    rows = json.loads(mixlab("runs", "ls", "--json", cwd=lab).stdout)
    assert len(rows) == 2 and rows[0]["bpb_macro"] <= rows[1]["bpb_macro"]
    told = mixlab("runs", "compare", "uniform", "natural", "--json", cwd=lab)
    facts = json.loads(told.stdout)
    assert set(facts["points"]) == {"lists", "prose"} and sum(facts["points"].values()) == pytest.approx(0, abs=1e-6)
    assert "macro" in mixlab("runs", "ls", cwd=lab).stdout


def test_the_name_of_a_mix_stands_for_its_seeds(lab, tmp_path):
    run = next((lab / "lab" / "runs").glob("uniform-s0-*"))
    for seed, changed in ((0, {}), (1, {}), (2, {"name": "other", "weights": {"lists": 1.0}})):
        told = json.loads((run / "run.json").read_text())
        there = tmp_path / "runs" / f"uniform-s{seed}-{seed:08x}"
        there.mkdir(parents=True)
        told |= {"seed": seed, "mixture": told["mixture"] | changed}
        (there / "run.json").write_text(json.dumps(told))
    with pytest.raises(MissingError, match="fits 3 runs"):
        find_arm(Workspace(tmp_path), "uniform")  # one of them has another mix
    shutil.rmtree(there)
    assert find_arm(Workspace(tmp_path), "uniform")["run_id"] == "uniform-s0-00000000"
    assert find_arm(Workspace(tmp_path), "s1")["seed"] == 1
    there = tmp_path / "runs" / "not-uniform-s0-00000009"
    there.mkdir()
    (there / "run.json").write_text(json.dumps(told | {"name": "not-uniform"}))
    assert find_arm(Workspace(tmp_path), "uniform")["run_id"] == "uniform-s0-00000000"  # the whole name goes first


def test_a_dry_run_prices_and_trains_nothing(lab):
    told = mixlab("run", *TINY, *MIX, "seed=7", "--dry-run", "--json", cwd=lab)
    (fact,) = json.loads(told.stdout)
    assert fact["tokens"] == 8192 and not fact["done"] and set(fact["epochs"]) == {"lists", "prose"}
    assert fact["flops"] > 0 and fact["hours"] > 0 and not list((lab / "lab" / "runs").glob("*s7*"))


def test_data_is_listed_with_licence_and_losses(lab):
    rows = json.loads(mixlab("data", "ls", "--json", cwd=lab).stdout)
    assert {r["source"] for r in rows} == {"lists", "prose"} and {r["licence"] for r in rows} == {"CC0-1.0"}
    assert all(r["heldout_docs"] >= 4 for r in rows)


def test_plain_hydra_trains_the_same_run(lab):
    told = subprocess.run(
        [sys.executable, "-m", "mixlab", *TINY, "mixture=uniform"], cwd=lab, capture_output=True, text=True, timeout=200
    )
    assert told.returncode == 0, told.stderr
    assert len(list((lab / "lab" / "runs").glob("uniform-*"))) == 1
    told = subprocess.run(
        [sys.executable, "-m", "mixlab", "-m", *TINY, "mixture=uniform", "seed=0,3"],
        cwd=lab, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert len(list((lab / "lab" / "runs").glob("uniform-*"))) == 2
    told = mixlab("runs", "ls", "--sweep", "adhoc", "--json", cwd=lab)
    assert sorted(r["seed"] for r in json.loads(told.stdout)) == [0, 3]  # seed 0 was there: it is of the sweep, too


def test_a_sweep_trains_what_is_missing_and_its_failures_end_with_3(lab):
    told = mixlab("sweep", "seed=0,1", *TINY, "mixture=uniform", "--json", cwd=lab)
    assert told.returncode == 0, told.stderr
    names = sorted(r["run_id"] for r in json.loads(told.stdout))
    assert len(names) == 2
    assert mixlab("sweep", "seed=1", "sweep=one more", *TINY, "mixture=uniform", cwd=lab).returncode == 0
    told = mixlab("runs", "ls", "--sweep", "one more", "--json", cwd=lab)
    assert [r["run_id"] for r in json.loads(told.stdout)] == names[1:]  # trained by the first, asked for by both
    told = mixlab("sweep", "seed=1", "sweep=../x", *TINY, "mixture=uniform", cwd=lab)
    assert told.returncode == 2 and "'../x'" in told.stderr and "letters" in told.stderr
    told = mixlab("sweep", "train.lr=1e-3,1e30", *TINY, "mixture=uniform", "--json", cwd=lab)
    assert told.returncode == 3, told.stderr
    assert "diverged" in told.stderr and len(json.loads(told.stdout)) >= 1


def test_a_sweep_with_one_impossible_run_costs_nothing(lab):
    before = len(list((lab / "lab" / "runs").iterdir()))
    told = mixlab("sweep", "seed=5,6", "train.tokens=8192,1e9", *TINY[:8], *TINY[9:], *MIX, cwd=lab)
    assert told.returncode == 2 and "epochs" in told.stderr and "max_epochs" in told.stderr
    assert len(list((lab / "lab" / "runs").iterdir())) == before


BAD = {
    "missing file": (["+sources.prose.paths=[gone.jsonl]"], 2, ["gone.jsonl", "prose"]),
    "bad key": (["train.tokns=1"], 2, ["train.tokns", "tokens"]),
    "weights that do not sum to one": ([MIX[0], "mixture.weights={lists: 0.5, prose: 0.2}"], 2, ["0.7", "sum"]),
    "unknown source in weights": ([MIX[0], "mixture.weights={lists: 0.5, prosa: 0.5}"], 2, ["prosa", "prose"]),
    "unknown profile": (["cleaning.profile=c5"], 2, ["c5", "c4/"]),
    "nothing left after cleaning": (["cleaning.profile=c4/tfds-3.1.0"], 2, ["lists", "c4/tfds-3.1.0", "dropped"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_sentence(lab, case):
    typed, code, told_of = BAD[case]
    typed = [t.replace("+sources.prose.paths", "sources.prose.paths") for t in typed]
    told = mixlab("run", *TINY, *typed, cwd=lab)
    assert told.returncode == code, told.stderr
    assert "Traceback" not in told.stderr and told.stderr.startswith("error: ")
    assert all(t in told.stderr for t in told_of), told.stderr


def test_verbose_shows_where_it_came_from(lab):
    assert "Traceback" in mixlab("-v", "run", "train.tokns=1", cwd=lab).stderr


def test_bad_yaml_is_told_with_file_and_line(lab):
    (lab / "sweeps" / "mixture").mkdir(exist_ok=True)
    (lab / "sweeps" / "mixture" / "torn.yaml").write_text("weights: {a: 1\nrule: x")
    told = mixlab("run", *TINY, "mixture=torn", cwd=lab)
    assert told.returncode == 2 and "torn.yaml" in told.stderr and "line" in told.stderr


def test_without_network_a_wheel_source_says_so(lab):
    env = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    told = mixlab("run", "source=[wiki]", *TINY[1:], env=env, cwd=lab)
    assert told.returncode == 5 and "wiki" in told.stderr and "Traceback" not in told.stderr


def test_a_corrupt_shard_is_refused_by_name(lab):
    (path,) = (lab / "lab" / "tokens").glob("prose-*/tokens.bin")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told = mixlab("run", *TINY, *MIX, "seed=9", cwd=lab)
    path.write_bytes(whole)
    assert told.returncode == 5 and "tokens.bin" in told.stderr and "same command again" in told.stderr
    assert mixlab("run", *TINY, *MIX, "seed=9", cwd=lab).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_loses_nothing(lab, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a tmpfs")
    try:
        told = mixlab("run", *TINY, env={"MIXLAB_HOME": str(small / "lab")}, cwd=lab)
        assert told.returncode == 5 and "the disk is full" in told.stderr and "MIXLAB_HOME" in told.stderr
        assert not list((small / "lab").rglob("*.tmp*"))
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        assert mixlab("run", *TINY, env={"MIXLAB_HOME": str(small / "lab")}, cwd=lab).returncode == 0
    finally:
        subprocess.run(["umount", small], check=True)


def test_nothing_found_is_exit_code_4(lab, tmp_path):
    told = mixlab("runs", "ls", env={"MIXLAB_HOME": str(tmp_path / "empty")}, cwd=lab)
    assert told.returncode == 4 and "mixlab demo" in told.stderr
    assert mixlab("runs", "show", "nosuchrun", cwd=lab).returncode == 4


def test_doctor_names_what_is_there():
    facts = json.loads(mixlab("doctor", "--json").stdout)
    assert {"torch", "GPU", "lab"} <= {c["name"] for c in facts["checks"]}
