"""What people type becomes the run they meant, or one sentence about what is wrong with it."""

from pathlib import Path

import pytest

from mixlab.compose import design_row, expand, spec_of
from mixlab.errors import ConfigError
from mixlab.types import RunSpec
from tests.conftest import TINY


def test_saying_nothing_gives_the_natural_mix_of_the_starter_sources(tmp_path):
    spec = spec_of([], tmp_path)
    assert [s.name for s in spec.sources] == ["books", "code", "docs", "wiki"]
    assert (spec.mixture.rule, spec.name, spec.tokenizer.vocab_size) == ("natural", "natural", 2048)


def test_defaults_come_from_the_dataclasses(tmp_path):
    spec = spec_of(["source=[wiki]"], tmp_path)
    plain = RunSpec(sources=spec.sources)
    assert (spec.dedup, spec.holdout) == (plain.dedup, plain.holdout)


def test_the_projects_own_files_are_found(project):
    (project / "sweeps" / "mixture").mkdir()
    (project / "sweeps" / "mixture" / "mine.yaml").write_text(
        "name: mine\nrule: weights\nweights: {prose: 0.25, lists: 0.75}\n"
    )
    spec = spec_of([*TINY, "mixture=mine"], project)
    assert spec.mixture.weights == {"prose": 0.25, "lists": 0.75} and spec.name == "mine"


def test_a_file_that_mixlabs_own_would_hide_is_refused(project):
    mine = project / "sweeps" / "source" / "code.yaml"
    mine.write_text("# @package sources.code\nkind: files\npaths: [mine.jsonl]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{mine}.*another name"):
        spec_of(["source=[prose]"], project)


def test_weights_can_be_typed_in_the_shell(project):
    spec = spec_of([*TINY, "mixture=weights", "mixture.weights={prose: 0.25, lists: 0.75}"], project)
    assert spec.mixture.weights == {"prose": 0.25, "lists": 0.75}


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["train.tokns=5"], ["train.tokns", "'tokens'"]),
        (["source=[lisst]"], ["source=lisst", "'lists'"]),
        (["mixture=uniformly"], ["mixture=uniformly", "'uniform'"]),
        (["train.tokens=many"], ["train.tokens", "'many'"]),
        (["nonsense"], ["nonsense"]),
        (["frobnicate=1"], ["frobnicate"]),
    ],
)
def test_mistakes_are_told_without_hydras_hints(project, typed, told):
    with pytest.raises(ConfigError) as e:
        spec_of([*TINY, *typed], project)
    assert all(t in str(e.value) for t in told) and "HYDRA_FULL_ERROR" not in str(e.value)


def test_a_sweep_is_every_combination(project):
    specs = expand(None, [*TINY, "seed=0,1,2", "mixture=uniform,natural"], project)
    assert len({(s.seed, s.mixture.name) for s in specs}) == len(specs) == 6


def test_a_sweep_file_spreads_over_its_rows_and_what_is_typed_wins(project):
    (project / "sweeps" / "design").mkdir()
    (project / "sweeps" / "design" / "d.csv").write_text("name,lists,prose\na,0.25,0.75\nb,0.5,0.5\nc,1,0\n")
    (project / "sweeps" / "d.yaml").write_text(
        "# @package _global_\n"
        "design: {file: sweeps/design/d.csv, row: 0}\n"
        "mixture: {name: 'd${design.row}', rule: weights, weights: '${mixlab.row:${design.file},${design.row}}'}\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {design.row: 'range(3)'}}}\n"
    )
    specs = expand("d", list(TINY), project)
    assert [s.mixture.weights["prose"] for s in specs] == [0.75, 0.5, 0.0]
    assert [s.name for s in specs] == ["d0", "d1", "d2"]
    assert [s.mixture.weights["prose"] for s in expand("d", [*TINY, "design.row=2"], project)] == [0.0]
    with pytest.raises(ConfigError, match=r"design.row: 7 is not in .*rows 0 to 2"):
        expand("d", [*TINY, "design.row=7"], project)


def test_a_missing_sweep_names_its_neighbours(project):
    (project / "sweeps" / "seeds.yaml").write_text("# @package _global_\nsweep: seeds\n")
    with pytest.raises(ConfigError, match="Did you mean 'seeds'"):
        expand("seed", [], project)


@pytest.mark.parametrize(
    ("override", "said"),
    [("mixtur=natural", "Did you mean 'mixture'"), ("trainn.lr=1", "Did you mean 'train'"),
     ("dedupp.remove=true", "Did you mean 'dedup'"), ("model.d_modle=3", "Did you mean 'd_model'"),
     ("sources.wiki.colour=x", "all the same: \\+sources.wiki.colour")],
)  # fmt: skip
def test_a_misspelt_setting_names_its_neighbour_at_any_depth(tmp_path, override, said):
    with pytest.raises(ConfigError, match=said):
        spec_of([override], tmp_path)


def test_a_design_row_needs_numbers(project):
    Path("bad.csv").write_text("lists,prose\n0.5,half\n")
    with pytest.raises(ConfigError, match=r"bad\.csv, row 1"):
        design_row("bad.csv", 0)
    with pytest.raises(ConfigError, match=r"none\.csv"):
        design_row("none.csv", 0)
