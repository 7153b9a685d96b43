import numpy as np
import pytest

from mixlab.eval.copying import RUN, stretches
from mixlab.eval.generation import bleu, copied_share, exact_match, f1, prefix_match, rouge_l


def test_numbers_are_compared_as_numbers_and_whole_answers_whole():
    assert exact_match("1,800.", ["1800"]) == 1 and exact_match("180", ["18"]) == 0
    assert prefix_match("180", ["18"]) == 1  # Foundry's rule, under its own name
    assert exact_match("an Apple", ["pear", "apple!"]) == 1
    assert f1("", [""]) == 1 and f1("x", ["y"]) == 0


def test_copying_needs_thirteen_words_in_a_row():
    text = " ".join(f"w{i}" for i in range(20))
    source = "before, " + " ".join(f"W{i}" for i in range(13)) + " after"
    assert copied_share([text, "short"], [source]) == [13 / 20, None]
    assert copied_share([text], [" ".join(f"w{i}" for i in range(12))]) == [0.0]


def test_what_was_copied_is_found_in_the_training_tokens_and_no_more_is_read():
    rng = np.random.default_rng(0)
    tokens, ends = rng.integers(50_000, size=5_000).astype(np.uint16), np.array([1_000, 2_500, 5_000])
    copies = [tokens[990:1_000], tokens[2_490:2_510], tokens[4_000:4_030]]  # the second goes over a border
    found = list(stretches([c.tolist() for c in copies], tokens, ends, margin=20))
    for first, last in ((990, 1_000), (2_490, 2_500), (2_500, 2_510), (4_000, 4_030)):
        assert any(start <= first and last <= end for start, end in found), (first, last)
    assert sum(end - start for start, end in found) < 400 and sorted(found) == found
    borders = {0, *ends.tolist()}
    assert all(not any(start < b < end for b in borders) for start, end in found)
    assert not list(stretches([tokens[: RUN - 1].tolist(), []], tokens, ends, margin=20))


def test_rouge_and_bleu_are_those_of_the_libraries():
    pytest.importorskip("rouge_score")
    pytest.importorskip("sacrebleu")
    assert rouge_l("the cat sat", ["the cat sat"]) == 1
    assert bleu(["the cat sat on the mat"], [["the cat sat on the mat"]]) == pytest.approx(100)
