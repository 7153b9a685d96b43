import numpy as np
import pytest

from mixlab.errors import ConfigError, MissingError
from mixlab.results import statistics as st
from mixlab.results.compare import noise_floor, seeds_difference
from mixlab.seeds import generator


def test_shares_pairs_clusters_and_decisions_equal_the_reference_vectors(golden):
    for case in golden["wilson"]:
        assert st.wilson(case["k"], case["n"]) == pytest.approx((case["lo"], case["hi"]), abs=1e-12)
    for case in golden["mcnemar_exact"]:
        assert st.mcnemar(case["b"], case["c"]) == pytest.approx(case["p"], rel=1e-9)
    p = golden["paired"]
    found = st.items_difference(p["a"], p["b"])
    assert found.mean == pytest.approx(p["mean_diff"], rel=1e-12)
    assert found.stderr == pytest.approx(p["se_paired"], rel=1e-12) and found.p == pytest.approx(p["p"], rel=1e-8)
    clusters = [str(i // golden["clustered"]["cluster_size"]) for i in range(len(p["a"]))]
    assert st.items_difference(p["a"], p["b"], clusters).stderr == pytest.approx(golden["clustered"]["se_clustered"])
    d = golden["decision_accuracy"]
    assert st.decision_accuracy(d["small"], d["target"]) == pytest.approx(d["value"], rel=1e-12)
    lo, hi = st.decision_interval(d["small"], d["target"], draws=300)
    assert lo < d["value"] < hi
    snr = golden["snr"]
    assert st.signal_to_noise(snr["checkpoints"]) == pytest.approx(snr["snr_paper"], rel=1e-9)
    for case in golden["gauntlet"]["cases"]:
        assert st.rescaled(case["acc"], case["base"]) == pytest.approx(case["v"], abs=1e-12)


def test_the_bootstrap_agrees_with_the_t_interval_and_pairs(golden):
    p = golden["paired"]
    mean, lo, hi = st.bootstrap(p["a"], p["b"], draws=2000)
    t = st.items_difference(p["a"], p["b"])
    assert mean == pytest.approx(p["mean_diff"]) and abs(lo - t.lo) < 1e-3 and abs(hi - t.hi) < 1e-3
    sizes = np.full(len(p["a"]), 2.0)
    assert st.bootstrap(p["a"], p["b"], sizes, draws=2000) == pytest.approx((mean / 2, lo / 2, hi / 2))


def test_holm_never_lets_a_later_one_pass_an_earlier():
    assert st.holm([0.001, 0.2, 0.01, 0.9]) == pytest.approx([0.004, 0.4, 0.03, 0.9])
    assert st.holm([]) == []


def test_items_with_shared_credit_are_no_evidence():
    assert st.mcnemar_of([1, 1, 1, 0.5, 0], [0, 0, 0, 1, 0]) == st.mcnemar(3, 0)


def test_a_clear_winner_is_best_and_equals_share():
    clear = st.ranks({"a": {0: 1.0, 1: 1.01}, "b": {2: 2.0, 3: 2.01}, "c": {4: 3.0, 5: 3.01}})
    assert clear["a"].p_best > 0.99 and (clear["c"].lo, clear["c"].hi) == (3, 3)
    same = st.ranks({"a": {0: 1.0, 1: 1.1}, "b": {2: 1.1, 3: 1.0}})
    assert abs(same["a"].p_best - 0.5) < 0.02 and (same["a"].lo, same["a"].hi) == (1, 2)
    with pytest.raises(MissingError, match="noise is unknown"):
        st.ranks({"a": {0: 1.0}, "b": {0: 2.0}})


def test_what_a_seed_does_to_every_mix_says_nothing_of_ranks():
    rng = np.random.default_rng(5)
    mixes = {
        m: {s: float(at + rng.normal(0, 0.02)) for s in range(3)} for at, m in zip((0, 0.01, 0.1), "abc", strict=True)
    }
    moved = {m: {s: v + 7 * s for s, v in vs.items()} for m, vs in mixes.items()}
    assert st.ranks(moved) == st.ranks(mixes)
    more = {**moved, "a": {**moved["a"], 9: 50.0}}  # a seed that the others lack
    assert st.ranks(more) == st.ranks(mixes)


def test_of_two_mixes_the_pair_and_p_best_say_the_same():
    a, b = {0: 1.0, 1: 2.0, 2: 3.1}, {0: 1.1, 1: 2.3, 2: 3.2}
    p = seeds_difference(a, b).p
    assert p is not None
    assert st.ranks({"a": a, "b": b})["a"].p_best == pytest.approx(1 - p / 2, abs=0.01)


def test_a_falling_curve_is_no_noise():
    values = [3.0, 2.9, 2.8, 2.7, 2.6]
    assert st.last_checkpoints_sd(values).sd == pytest.approx(0, abs=1e-9)
    assert st.last_checkpoints_sd(values, detrend=False).sd > 0.1


def test_mixed_hashes_are_refused():
    row = {"task": "copa", "suite_hash": "a", "prompt_hash": "b", "tokenizer_hash": "c"}
    st.same_exam([row, dict(row), {**row, "task": "piqa", "prompt_hash": "z"}])
    for name in ("suite_hash", "prompt_hash", "tokenizer_hash"):
        with pytest.raises(ConfigError, match=name):
            st.same_exam([row, {**row, name: "other"}])


def test_eight_runs_of_one_mix_have_no_winner_more_often_than_one_time_in_twenty():
    """A/A: eight seeds of one mix, cut into two arms of four; how often one arm wins. 2,000 trials: sd 0.005."""
    rng, wins, trials = generator(0, "aa"), 0, 2000
    for _ in range(trials):
        runs = 2.5 + 0.02 * rng.standard_normal(8)
        a, b = dict(enumerate(runs[:4])), dict(enumerate(runs[4:], 4))
        wins += seeds_difference(a, b).distinguishable
    assert wins / trials <= 0.05 + 2 * 0.005
    assert wins > 0


def test_items_and_training_noise_together_keep_false_winners_rare_and_training_alone_would_not():
    """Two models that differ by their seed alone have other items right: items alone call winners, both do not."""
    rng, alone, both, trials = generator(0, "aa-items"), 0, 0, 400
    for _ in range(trials):
        ability = rng.standard_normal(8) * 0.05
        hard = rng.random(200)
        right = (hard[None] + ability[:, None] + 0.05 * rng.standard_normal((8, 200)) > 0.5).astype(float)
        items = st.items_difference(right[:4].mean(0), right[4:].mean(0))
        a, b = dict(enumerate(right[:4].mean(1))), dict(enumerate(right[4:].mean(1), 4))
        alone += items.distinguishable
        both += st.verdict(a, b, items).distinguishable
    assert both / trials <= 0.05
    assert alone / trials > 0.10


def test_with_holm_all_pairs_of_equal_mixes_rarely_name_a_winner():
    rng, families, trials = generator(0, "aa-holm"), 0, 300
    for _ in range(trials):
        mixes = {name: dict(enumerate(2 + 0.1 * rng.standard_normal(4))) for name in "abcd"}
        families += any(p is not None and p < 0.05 for _, _, _, p in st.all_pairs(mixes))
    assert families / trials <= 0.05 + 2 * 0.0126
    assert noise_floor([[1.0, 2.0]]) is not None
