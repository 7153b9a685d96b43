import pytest

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


def test_rouge_and_bleu_are_those_of_the_libraries():
    pytest.importorskip("rouge_score")
    pytest.importorskip("sacrebleu")
    assert rouge_l("the cat sat", ["the cat sat"]) == 1
    assert bleu(["the cat sat on the mat"], [["the cat sat on the mat"]]) == pytest.approx(100)
