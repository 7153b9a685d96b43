import json
import math

import numpy as np
import pytest
from scipy import stats

from mixlab.errors import ConfigError, MissingError
from mixlab.results.compare import (
    NoiseFloor,
    combine,
    documents_difference,
    macro,
    noise_floor,
    paired,
    seeds_difference,
)
from mixlab.results.mixes import Evidence, compare_mixes


def test_paired_differences_equal_the_reference(golden):
    told = golden["paired"]
    found = paired(told["a"], told["b"])
    assert found.mean == pytest.approx(told["mean_diff"], rel=1e-12)
    assert found.stderr == pytest.approx(told["se_paired"], rel=1e-12)
    assert found.p == pytest.approx(told["p"], rel=1e-9)
    assert found.distinguishable


def test_unpaired_runs_get_welch_as_the_reference_has_it(golden):
    told = golden["paired"]
    a = dict(enumerate(told["a"]))
    found = seeds_difference(a, {1000 + i: v for i, v in enumerate(told["b"])})
    assert found.stderr == pytest.approx(told["se_unpaired"], rel=1e-12)
    assert found.p == pytest.approx(told["p_unpaired"], rel=1e-9)
    assert "not paired" in found.method and not found.distinguishable


def test_documents_are_clusters_as_the_reference_has_them(golden):
    size = golden["clustered"]["cluster_size"]
    a, b = (np.array(golden["paired"][name]).reshape(-1, size).sum(1) * math.log(2) for name in "ab")
    found = documents_difference(a, b, np.full(len(a), size))
    assert found.mean == pytest.approx(golden["paired"]["mean_diff"], rel=1e-12)
    assert found.stderr == pytest.approx(golden["clustered"]["se_clustered"], rel=1e-12)


def test_common_seeds_are_paired_and_the_others_left_out():
    found = seeds_difference({0: 1.0, 1: 2.0, 2: 3.0, 7: 50.0}, {2: 2.8, 1: 1.9, 0: 0.9, 8: 0.0})
    assert found.n == 3 and found.df == 2 and "paired by 3 seeds" in found.method
    lo, hi = stats.t.interval(0.95, 2, loc=found.mean, scale=found.stderr)
    assert (found.lo, found.hi) == (pytest.approx(lo), pytest.approx(hi))


def test_one_run_each_distinguishes_nothing_unless_the_noise_is_known():
    alone = seeds_difference({0: 1.0}, {0: 9.0})
    assert alone.mean == -8.0 and alone.lo is None and alone.p is None and not alone.distinguishable
    known = seeds_difference({0: 1.0}, {0: 9.0}, NoiseFloor(sd=0.1, df=4))
    assert known.stderr == pytest.approx(0.1 * math.sqrt(2)) and known.df == 4 and known.distinguishable
    assert not seeds_difference({0: 1.0}, {0: 1.3}, NoiseFloor(sd=0.1, df=4)).distinguishable


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_a_diverged_run_wins_nothing_and_loses_nothing(bad):
    for found in (
        seeds_difference({0: 1.0, 1: bad}, {0: 2.0, 1: 2.0}),
        seeds_difference({0: bad}, {1: 2.0}, NoiseFloor(sd=0.1, df=4)),
        documents_difference([1.0, math.nan if bad is None else bad], [1.0, 1.0], [1, 1]),
    ):
        assert found.mean is None and not found.distinguishable and "diverged" in found.method
        assert combine(found, paired([1.0, 2.0], [0.0, 0.0])).mean is None
        assert macro({"a": found, "b": paired([1.0, 2.0], [0.0, 0.0])}).mean is None


def test_both_noises_add_up_and_both_are_told():
    seeds = paired([1.0, 1.2, 1.1], [0.9, 0.9, 0.9])
    documents = paired([1.0, 1.5, 0.6, 1.1], [0.9, 0.9, 0.9, 0.9])
    both = combine(seeds, documents)
    assert both.mean == seeds.mean and both.stderr == pytest.approx(math.hypot(seeds.stderr, documents.stderr))
    assert both.parts == {"training": seeds.stderr, "documents": documents.stderr}
    assert 2 < both.df < 5
    unknown = seeds_difference({0: 1.0}, {0: 9.0})
    assert not combine(unknown, documents).distinguishable


def test_a_macro_difference_is_the_mean_of_independent_sources():
    a, b = paired([1.0, 1.2, 1.1], [0.0] * 3), paired([3.0, 3.3, 3.0], [0.0] * 3)
    found = macro({"a": a, "b": b})
    assert found.mean == pytest.approx((a.mean + b.mean) / 2)
    assert found.stderr == pytest.approx(math.hypot(a.stderr, b.stderr) / 2)


def test_the_noise_floor_pools_over_mixes_and_not_between_them():
    rng = np.random.default_rng(0)
    groups = [10 * mix + rng.normal(0, 0.3, 4) for mix in range(200)]
    floor = noise_floor([*groups, [5.0], [], [7.0, None]])
    assert floor is not None and floor.df == 600 and floor.sd == pytest.approx(0.3, rel=0.09)  # 3 sigma of 600 df
    assert floor.smallest() == pytest.approx(1.964 * floor.sd * math.sqrt(2), rel=1e-3)
    assert noise_floor([[1.0], [2.0, None]]) is None


def test_nothing_to_compare_is_an_error():
    with pytest.raises(MissingError, match="0 and 1"):
        seeds_difference({}, {0: 1.0})
    with pytest.raises(MissingError):
        documents_difference([], [], [])
    with pytest.raises(MissingError):
        macro({})


@pytest.mark.parametrize("common", [True, False])
def test_the_same_mix_against_itself_seldom_wins(common):
    """A/A: documents that differ in ease, seeds that shift all of them; 4 runs a side; at most 5 % winners."""
    rng, wins, trials = np.random.default_rng(7), 0, 600
    n_bytes = rng.integers(50, 500, 40)
    for _ in range(trials):
        own = rng.normal(0, 0.05, (8, 40)) + rng.normal(0, 0.02, (8, 1))
        nats = (2.0 + rng.normal(0, 0.4, 40) + own) * n_bytes * math.log(2)
        bpb = nats.sum(1) / n_bytes.sum() / math.log(2)
        a = dict(enumerate(bpb[:4]))
        b = {seed + (0 if common else 4): v for seed, v in enumerate(bpb[4:])}
        documents = documents_difference(nats[:4].mean(0), nats[4:].mean(0), n_bytes)
        wins += combine(seeds_difference(a, b), documents).distinguishable
    assert wins / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def row(name: str, seed: int, macro_bpb: float | None, wiki: float = 0.5, **more) -> dict:
    about = {"run_id": f"{name}-s{seed}", "seed": seed, "weights": {"wiki": wiki, "code": 1 - wiki}, "recipe": "r"}
    return about | {"evals_key": "e", "state": "finished", "bpb_macro": macro_bpb, "bpb": {"wiki": macro_bpb}} | more


def test_mixes_are_compared_over_the_seeds_they_share():
    rows = [row("even", s, 2.5 + s / 10) for s in (0, 1, 2)] + [row("wiki", s, 2.4 + s / 10, 0.75) for s in (0, 1, 2)]
    rows.append(row("even", 3, 9.0, recipe="another model"))
    rows.append(row("even", 4, 9.0, state="running"))
    assert "even-s4 is running" in compare_mixes(rows, "even-s4", "wiki-s1")["words"]
    told = compare_mixes(rows, "even-s0", "wiki-s1")
    assert told["a"] == ["even-s0", "even-s1", "even-s2"] and told["b"] == ["wiki-s0", "wiki-s1", "wiki-s2"]
    assert told["points"] == {"code": -25.0, "wiki": 25.0}
    first = told["scores"][0]
    assert first["task"] == "bpb/macro" and first["difference"] == pytest.approx(-0.1) and first["distinguishable"]
    assert first["interval"] == "-0.1000 to -0.1000" and "paired by 3 seeds" in told["words"]
    json.dumps(told, allow_nan=False)


def test_single_runs_borrow_the_noise_of_other_mixes():
    alone = [row("even", 0, 2.5), row("wiki", 0, 2.4, 0.75)]
    told = compare_mixes(alone, "even-s0", "wiki-s0")["scores"][0]
    assert told["interval"] == "unknown" and not told["distinguishable"]
    noisy = [*alone, *(row("code", s, 3 + s, 0.1) for s in range(5))]
    assert not compare_mixes(noisy, "even-s0", "wiki-s0")["scores"][0]["distinguishable"]
    quiet = [*alone, *(row("code", s, 3 + s / 1000, 0.1) for s in range(5))]
    assert compare_mixes(quiet, "even-s0", "wiki-s0")["scores"][0]["distinguishable"]


def test_two_seeds_of_one_mix_are_compared_with_each_other():
    rows = [row("even", s, 2.5 + s / 10) for s in (0, 1, 2)]
    told = compare_mixes(rows, "even-s0", "even-s2")
    assert (told["a"], told["b"]) == (["even-s0"], ["even-s2"]) and not told["scores"][0]["distinguishable"]


def test_different_exams_and_unknown_runs_are_refused_and_divergence_is_said():
    rows = [row("even", 0, 2.5), row("wiki", 0, 2.4, 0.75, evals_key="f"), row("code", 0, None, 0.1)]
    with pytest.raises(ConfigError, match="exam e"):
        compare_mixes(rows, "even-s0", "wiki-s0")
    with pytest.raises(MissingError, match="Did you mean 'wiki-s0'"):
        compare_mixes(rows, "even-s0", "wikki-s0")
    told = compare_mixes(rows, "even-s0", "code-s0")
    assert told["scores"] == [] and "bpb/macro: diverged (1 of 2)" in told["words"]


def test_scores_of_other_held_out_documents_are_left_out_with_a_word():
    both = {"bpb": {"wiki": 2.5, "code": 2.6}}
    rows = [
        row("even", 0, 2.5, exams={"macro": "1", "wiki": "1", "code": "9"}, **both),
        row("clean", 0, 2.4, exams={"macro": "2", "wiki": "2", "code": "9"}, recipe="q", **both),
        row("wiki", 0, 2.4, 0.75, exams={"macro": "3", "wiki": "3", "code": "8"}, **both),
    ]
    told = compare_mixes(rows, "even-s0", "clean-s0")
    assert [line["task"] for line in told["scores"]] == ["bpb/code"]
    assert "bpb/macro: other held-out documents" in told["words"] and "bpb/wiki: other" in told["words"]
    with pytest.raises(ConfigError, match="other held-out documents of every source"):
        compare_mixes(rows, "even-s0", "wiki-s0")


def test_documents_add_their_noise_and_checkpoints_stand_in_for_seeds():
    rows = [row("even", 0, 2.5), row("wiki", 0, 2.4, 0.75)]
    docs = {
        r["run_id"]: {
            "wiki": {str(d): (100 * (r["bpb_macro"] + d % 3 * (r["run_id"] == "wiki-s0")), 90) for d in range(9)}
        }
        for r in rows
    }
    noise = NoiseFloor(sd=0.001, df=4, told="their last checkpoints")
    told = compare_mixes(rows, "even-s0", "wiki-s0", Evidence(noise={"wiki": noise}))["scores"]
    sure = next(line for line in told if line["task"] == "bpb/wiki")
    assert sure["distinguishable"] and "their last checkpoints" in sure["method"]
    told = compare_mixes(rows, "even-s0", "wiki-s0", Evidence(noise={"wiki": noise}, documents=docs))["scores"]
    both = next(line for line in told if line["task"] == "bpb/wiki")
    assert both["stderr"] > 10 * sure["stderr"] and "9 documents" in both["method"]
