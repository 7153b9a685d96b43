"""Aho-Corasick gives the verdict of C4's regular expression."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.data import badwords
from mixlab.data.badwords import finder, normalised_url, word_list

SOME = ["ass", "a$$", "two words", "xx", "büx"]
TEXTS = st.lists(st.sampled_from([*SOME, *" _-'9é\nA.\u2028\ud800²", "ASS", "İ", "x"]), max_size=12).map("".join)


def pattern(words):
    return re.compile(r"(?:\W|^)({})(?:\W|$)".format("|".join(map(re.escape, words))))


@given(TEXTS)
@settings(max_examples=500, deadline=None)
def test_the_verdict_is_the_regular_expressions(text):
    assert (finder(SOME)(text) is not None) == bool(pattern(SOME).search(text.lower()))


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_the_window_does_not_matter(text):
    whole = finder(SOME)(text) is not None
    size = badwords.WINDOW_BYTES
    try:
        badwords.WINDOW_BYTES = 1
        assert (finder(SOME)(text) is not None) == whole
    finally:
        badwords.WINDOW_BYTES = size


def test_both_lists_are_whole():
    old, new = word_list("en-377"), word_list("en-403")
    assert (len(old), len(new)) == (377, 403)
    assert len(set(new) - set(old)) == 26 and set(old) < set(new)
    assert all(word == word.lower().strip() for word in new)


@pytest.mark.parametrize(
    ("text", "found"),
    [("ass", True), ("the ass,", True), ("half-ass", True), ("ass_", False), ("ass1", False), ("cutlass", False)],
)
def test_a_hyphen_is_a_boundary_and_an_underscore_is_none(text, found):
    assert bool(finder(word_list("en-377"))(text)) is found


def test_upstreams_casing_bug_is_an_option():
    assert finder(["Puta"], "es")("la puta madre")
    assert not finder(["Puta"], "es", lowercase_list=False)("la Puta madre")


def test_languages_without_blanks_need_no_boundary_and_have_an_allowlist():
    assert finder(["性交", "性"], "zh")("这个性交易") == "性交"
    assert finder(["性交", "性"], "zh-latin")("性别") is None
    assert finder(["x"], "de")("axa") is None


def test_a_blank_entry_matches_nothing():
    assert finder(["", " "])("any text") is None


def test_a_pages_key_has_no_scheme_and_no_tracking():
    assert normalised_url("http://www.a.org/b?ref=1&x") == "a.org/b"
    assert normalised_url("https://a.org/b?x=1/") == "a.org/b?x=1"
