import json
import math
from pathlib import Path

import pytest

from mixlab.errors import ConfigError
from mixlab.eval.scoring import choice_metrics, ratio

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "eval_metrics" / "mc_metrics.json"
NAMES = {  # ours -> (block, theirs)
    "acc_byte": ("lm_eval", "acc_bytes"),
    "acc_char": ("lm_eval", "acc_norm"),
    "acc_token": ("expected", "acc_token"),
    "acc": ("expected", "tie_credit_acc"),
    "gold_bpb": ("expected", "gold_bpb_v1"),
    "brier": ("lm_eval", "brier"),
    **{
        f"{name}{ours}": ("datadecide", f"{name}{theirs}")
        for name in ("correct_prob", "margin", "total_prob", "norm_correct_prob")
        for ours, theirs in (("", ""), ("_char", "_per_char"), ("_token", "_per_token"))
    },
    **{
        f"{name}_byte": ("expected", f"{name}_per_byte")
        for name in ("correct_prob", "margin", "total_prob", "norm_correct_prob")
    },
}


@pytest.fixture(scope="module")
def items():
    if not GOLDEN.exists():
        pytest.skip(f"reference vectors are not here: {GOLDEN}")
    return json.loads(GOLDEN.read_text())["docs"]


def test_every_metric_equals_the_reference_vectors(items):
    for item in items:
        found = choice_metrics(item["choices"], item["logliks"], item["num_tokens"], item["gold"])
        assert set(found) == set(NAMES)
        tied = len(set(item["logliks"])) < len(item["logliks"])
        for ours, (block, theirs) in NAMES.items():
            if tied and ours == "acc_token":
                continue  # a token each: there the vectors let the first maximum win; we share the credit
            assert found[ours] == pytest.approx(item[block][theirs], rel=1e-12, abs=1e-15), (item["choices"], ours)


@pytest.mark.parametrize("k", [2, 3, 7])
def test_a_constant_scorer_gets_one_kth(k):
    lengths = list(range(1, k + 1))
    logliks = [sum([-math.log(2048.0)] * n) for n in lengths]  # the same log p for every token
    found = choice_metrics(["a" * n for n in lengths], logliks, lengths, gold=k - 1)
    assert found["acc_token"] == found["acc_char"] == found["acc_byte"] == 1 / k
    assert found["acc"] == 0.0  # the longest has the smallest sum
    assert choice_metrics(["x"] * k, [-3.0] * k, [1] * k, gold=0)["acc"] == 1 / k


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 1])
def test_a_value_that_is_not_finite_gives_no_metric(bad, at):
    logliks = [-1.0, -2.0]
    logliks[at] = bad
    found = choice_metrics(["a", "b"], logliks, [1, 1], gold=0)
    assert set(found) == set(NAMES) and set(found.values()) == {None}


def test_very_unlikely_choices_still_have_a_norm():
    found = choice_metrics(["a", "b"], [-2000.0, -2001.0], [1, 1], gold=0)
    assert found["norm_correct_prob"] == pytest.approx(1 / (1 + math.exp(-1)))
    assert found["correct_prob"] == 0.0


@pytest.mark.parametrize(
    "item, says",
    [
        ((["a"], [-1.0, -2.0], [1], 0), "2 log-likelihoods"),
        ((["a", "b"], [-1.0, -2.0], [1, 1], 2), "gold is 2"),
        ((["a", ""], [-1.0, -2.0], [1, 1], 0), "choice 1"),
        ((["a", "b"], [-1.0, -2.0], [1, 0], 0), "choice 1"),
        (([], [], [], 0), "0 choices"),
    ],
)
def test_an_item_that_cannot_be_scored_says_why(item, says):
    with pytest.raises(ConfigError, match=says):
        choice_metrics(*item)


def test_the_ratio_of_one_cluster_has_no_error():
    assert ratio([3.0], [2.0]) == (1.5, None)
