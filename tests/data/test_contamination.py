"""Contamination: shares counted as sets of n-grams count them, and a search that proves itself."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.data import contamination
from mixlab.data.contamination import build_index, overlaps, search

WORDS = st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join)


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + n]) for i in range(max(len(words) - n + 1, min(1, len(words))))}


@settings(max_examples=80, deadline=None)
@given(st.lists(WORDS, max_size=5), st.lists(WORDS, max_size=5), st.integers(1, 3), st.sampled_from([0.0, 0.3, 0.5]))
def test_shares_are_those_of_the_sets(train, heldout, n, least):
    want = [
        (t, h, len(a & b), len(a & b) / len(b), len(a & b) / len(a | b))
        for t, a in enumerate(grams(x, n) for x in train)
        for h, b in enumerate(grams(x, n) for x in heldout)
        if a & b and len(a & b) / len(b) > least
    ]
    assert search(build_index(heldout, n), train, least).tolist() == want


def test_a_passage_inside_a_long_text_is_found():
    rng = np.random.default_rng(0)
    filler = [" ".join(f"w{i}" for i in rng.integers(0, 10**6, 500)) for _ in range(50)]
    secret = " ".join(f"s{i}" for i in range(40))
    filler[17] += f"\n{secret.upper()}!\n{filler[3]}"
    found = overlaps(filler, ["nothing of this", secret])
    assert found.to_numpy().tolist() == [[17, 1, 28, 1.0]]


def test_many_hits_are_all_told():
    found = overlaps(["a b c"] * 3000, ["a b", "b c"], ngram=2)
    assert len(found) == 6000
    assert (found["overlap"] == 1.0).all()


def test_a_blind_search_is_an_error(monkeypatch):
    build = contamination.build_index

    def blind(texts, ngram):
        return dataclasses.replace(build(texts, ngram), may_hold=np.zeros(16, np.bool_))

    monkeypatch.setattr(contamination, "build_index", blind)
    with pytest.raises(AssertionError, match="2 of 2 planted"):
        overlaps(["x"], ["a b c d", "e f g h"], ngram=2)


def test_nothing_held_out_finds_nothing():
    assert overlaps(["a b"], []).empty
    assert overlaps([], ["a b"]).empty
    assert overlaps(["..."], ["..."]).empty
