"""The strict converter: right values pass unchanged, wrong ones are told by path, value and nearest name."""

import pytest

from mixlab.config import convert, read_yaml, run_spec
from mixlab.errors import ConfigError
from mixlab.types import Dedup, TrainSpec

SOURCES = {"wiki": {"kind": "files", "paths": ["a.jsonl"], "licence": "CC0-1.0"}}


def test_a_mapping_becomes_the_spec_it_describes():
    spec = run_spec({"sources": SOURCES, "train": {"tokens": 1e6, "betas": [0.9, 0.99]}, "seed": 3, "sweep": None})
    assert spec.sources[0].name == "wiki" and spec.sources[0].paths == ("a.jsonl",)
    assert spec.train.tokens == 1_000_000 and spec.train.betas == (0.9, 0.99) and spec.seed == 3


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"sources": SOURCES, "train": {"tokns": 5}}, ["train.tokns", "Did you mean 'tokens'"]),
        ({"sources": SOURCES, "train": {"tokens": "many"}}, ["train.tokens", "a whole number", "'many'"]),
        ({"sources": SOURCES, "train": {"schedule": "cosin"}}, ["train.schedule", "Did you mean 'cosine'"]),
        ({"sources": SOURCES, "train": {"betas": [0.9]}}, ["train.betas", "2 values"]),
        ({"sources": SOURCES, "model": 7}, ["model", "mapping"]),
        ({"sources": SOURCES, "seed": True}, ["seed", "whole number"]),
        ({"sources": SOURCES, "train": {"lr": float("nan")}}, ["train.lr", "finite"]),
        ({"sources": SOURCES, "model": {"n_heads": 5}}, ["model.d_model=64 does not divide into model.n_heads=5"]),
        ({"sources": SOURCES, "model": {"n_layers": 0}}, ["model.n_layers=0", "at least 1"]),
        ({"sources": SOURCES, "model": {"alibi": False}}, ["model.alibi=False", "position"]),
        ({"sources": SOURCES, "train": {"betas": [0.9, 1.0]}}, ["train.betas=[0.9, 1.0]", "but not, 1"]),
        ({"sources": SOURCES, "train": {"lr": -1.0}}, ["train.lr=-1.0", "0 or more"]),
        ({"sources": SOURCES, "train": {"batch_tokens": 100}}, ["train.batch_tokens=100", "one sequence", "128"]),
        ({"sources": SOURCES, "evals": {"every_tokens": 0}}, ["evals.every_tokens=0", "at least 1"]),
        ({"sources": {"wiki": {}}}, ["kind", "required"]),
        ({"sources": {"wiki": {"kind": "file"}}}, ["sources[0].kind", "files"]),
        ({"sources": {"wiki": {"kind": "files", "name": "wikki"}}}, ["sources.wiki.name", "wikki"]),
        ({}, ["sources", "source=starter"]),
    ],
)
def test_bad_settings_are_told_by_path_value_and_way_out(tree, told):
    with pytest.raises(ConfigError) as e:
        run_spec(tree)
    assert all(t in str(e.value) for t in told), str(e.value)
    assert e.value.exit_code == 2


def test_none_is_possible_only_where_the_type_says_so():
    assert convert(TrainSpec, {"micro_batch_tokens": None}).micro_batch_tokens is None
    with pytest.raises(ConfigError, match="ngram"):
        convert(Dedup, {"ngram": None})


def test_a_bad_yaml_file_is_named(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1\nb: 2")
    with pytest.raises(ConfigError, match=r"bad\.yaml.*line 2"):
        read_yaml(bad)
    bad.write_text("just words")
    with pytest.raises(ConfigError, match="key: value"):
        read_yaml(bad)
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")
