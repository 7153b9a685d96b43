"""Each export against the documented schema of its trainer: required keys, types and the rules it validates."""

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from mixlab import pipeline
from mixlab.compose import spec_of
from mixlab.data.places import places
from mixlab.errors import ConfigError, PlanError
from mixlab.mix.export import TRAINERS, Recipe, export
from mixlab.mix.plan import plan_draws
from mixlab.types import Mixture, Phase, TrainSpec
from mixlab.workspace import Workspace
from tests.conftest import TINY, write_source
from tests.mix.test_plan import T, corpus

WEIGHTS = {"code": 0.125, "unused": 0.0, "wiki": 0.875}


def recipe(phases=(), **train):
    corpora = {s: corpus(s, 400) for s in WEIGHTS}
    spec = TrainSpec(tokens=160 * T, batch_tokens=4 * T, max_epochs=9, **train)
    plan = plan_draws(Mixture(name="m", rule="weights", weights=WEIGHTS), corpora, spec, T, phases)
    texts = {s: Path("clean") / s for s in WEIGHTS}
    return Recipe(plan=plan, corpora=corpora, texts=texts, root="s3://b", batch_tokens=4 * T, seed=3)


def test_llm_foundry_streams_take_proportions():
    told = yaml.safe_load(export(recipe(), "llm-foundry"))
    loader = told["train_loader"]
    assert loader["name"] == "text" and loader["dataset"]["max_seq_len"] == T
    # streaming.Stream: at most one of proportion, repeat, choose; at least one of remote and local
    for stream in loader["dataset"]["streams"].values():
        assert set(stream) == {"remote", "local", "split", "proportion"}
    shares = {s: v["proportion"] for s, v in loader["dataset"]["streams"].items()}
    assert shares == {"code": 0.125, "wiki": 0.875}
    assert (told["max_duration"], told["global_train_batch_size"]) == ("1280tok", 4)


def test_olmo_core_ratios_pass_its_own_validation():
    told = yaml.safe_load(export(recipe(), "olmo-core"))
    assert set(told) == {"source_list", "requested_tokens", "global_batch_size", "seed"}
    sources = told["source_list"]["sources"]
    assert np.allclose(sum(s["target_ratio"] for s in sources), 1.0)  # SourceMixtureList.validate
    for s in sources:  # SourceMixtureConfig.validate, and the check of build(): enough tokens with repetition
        assert set(s) == {"source_name", "target_ratio", "paths", "max_repetition_ratio", "max_source_fraction"}
        assert 0 < s["target_ratio"] <= 1 and s["max_repetition_ratio"] >= 1 and s["paths"]
        most = int(400 * s["max_source_fraction"] * s["max_repetition_ratio"])
        assert most >= int(told["requested_tokens"] * s["target_ratio"])
    assert told["global_batch_size"] % T == 0


def test_megatron_reads_weights_and_prefixes_by_turns():
    blend = export(recipe(), "megatron").split()  # --data-args-path: f.read().split()
    assert len(blend) % 2 == 0
    weights, prefixes = [float(w) for w in blend[::2]], blend[1::2]
    assert weights == [0.125, 0.875] and prefixes == ["s3://b/code_text_document", "s3://b/wiki_text_document"]


def test_nanotron_takes_the_phases_as_data_stages():
    later = [Phase(name="anneal", share=0.25, mixture=Mixture(rule="weights", weights={"code": 1.0}))]
    told = yaml.safe_load(export(recipe(later), "nanotron"))
    stages = told["data_stages"]
    assert [(s["name"], s["start_training_step"]) for s in stages] == [("main", 1), ("anneal", 31)]
    assert told["tokens"] == {"sequence_length": T, "train_steps": 40}
    for stage in stages:  # DatasetStageArgs, DataArgs, NanosetDatasetsArgs
        assert set(stage) == {"name", "start_training_step", "data"}
        assert set(stage["data"]) == {"dataset", "num_loading_workers", "seed"}
        dataset = stage["data"]["dataset"]
        assert len(dataset["dataset_folder"]) == len(dataset["dataset_weights"])
        assert sum(dataset["dataset_weights"]) == pytest.approx(1)


def test_other_trainers_ask_for_one_phase():
    planned = recipe([Phase(name="anneal", share=0.25, mixture=Mixture(rule="weights", weights={"code": 1.0}))])
    with pytest.raises(PlanError, match="name one by --phase"):
        export(planned, "megatron")
    assert export(planned, "megatron", "anneal").split()[0] == "1.000000000"
    with pytest.raises(ConfigError, match="Did you mean 'anneal'"):
        export(planned, "megatron", "aneal")
    with pytest.raises(ConfigError, match="Did you mean 'megatron'"):
        export(planned, "megaton")
    with pytest.raises(PlanError, match="one sequence_length"):
        export(recipe([Phase(name="long", share=0.5, seq_len=2 * T)]), "nanotron")


def test_interleave_datasets_really_runs_and_gives_the_shares_of_tokens(project, tmp_path):
    long = [{"id": f"l{i}", "text": "word " * 400} for i in range(60)]
    short = [{"id": f"s{i}", "text": f"note {i} " + "tiny " * 20} for i in range(600)]
    for name, rows in (("prose", long), ("lists", short)):
        write_source(project, name, [{**r, "text": f"{r['id']} {r['text']}"} for r in rows])
    spec = spec_of([*TINY, "mixture=uniform", "dedup=off"], project)
    ws = Workspace.open(project / "lab")
    corpora = pipeline.prepare(spec, ws)
    told = pipeline.rehearse(spec, corpora, ws)
    made = Recipe(plan=told.plan, corpora=corpora, texts=places(spec, ws).clean, root="", batch_tokens=512, seed=0)
    path = tmp_path / "recipe.py"
    path.write_text(export(made, "datasets"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("recipe", path))  # type: ignore
    module.__spec__.loader.exec_module(module)
    served, seen = {"l": 0, "s": 0}, {}
    for row in module.mixture():
        served[row["id"][0]] += len(row["text"].encode()) + 1  # bytes are the tokens here, with end-of-text
        seen[row["id"]] = seen.get(row["id"], 0) + 1
    # a document more or less of prose is 2,000 tokens of about 100,000
    assert served["l"] / sum(served.values()) == pytest.approx(0.5, abs=0.08)
    ids = {i for c in corpora.values() for i in pq.read_table(c.path / "ids.parquet")["id"].to_pylist()}
    assert set(seen) == ids and len(ids) < 660  # all that is to be trained on, and nothing that is held out


def test_every_trainer_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "mix.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in TRAINERS)
