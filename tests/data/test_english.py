"""Words and sentences as spaCy 3.8's blank English pipeline gives them (recorded from spaCy 3.8.18)."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.data.english import most_sentences, sentences, words
from mixlab.data.lines import SPLITTERS

RECORDED = [
    ("One is here. Two is here. Three is here.", 3),
    ('"I never said that," she told him, "and I never will."', 1),
    ("He said stop.) Then he left...but not far.", 2),
    ("Dr. Smith of the U.S. went at 9 a.m. to St. Pauls.", 1),
    ("What?! No! Yes... maybe.", 3),
    ("See www.example.com. It is good.", 2),
    ("A fact.[1] Another fact.", 1),
    ("lower.Upper is split. So two.", 3),
    ("Trailing blanks end it.  ", 2),
    ("", 1),
    ("...", 1),
    ("He weighs 5 kg. She does not.", 2),
    ("plan b. It works.", 1),
    ("第一句。 第二句。", 2),
]


@pytest.mark.parametrize(("line", "count"), RECORDED)
def test_sentences_are_spacys(line, count):
    assert sentences(line) == count
    assert sentences(line, 2) >= min(count, 2)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("We can't (really) stop.", ["We", "ca", "n't", "(", "really", ")", "stop", "."]),
        ("It's 5km, i.e. 10% of $50!", ["It", "'s", "5", "km", ",", "i.e.", "10", "%", "of", "$", "50", "!"]),
        ("http://a.org/x-y?z=1, mother-in-law", ["http://a.org/x-y?z=1", ",", "mother", "-", "in", "-", "law"]),
        ("well :-) and/or C++ ...end", ["well", ":-)", "and/or", "C++", "...", "end"]),
        ("a=b x/y 1-2 U.S.A. e.g.,", ["a", "=", "b", "x", "/", "y", "1", "-", "2", "U.S.A.", "e.g.", ","]),
        ("I'd've y'all o'clock's", ["I", "'d", "'ve", "y'", "all", "o'clock", "'s"]),
    ],
)
def test_words_are_spacys(text, tokens):
    assert words(text) == tokens


def test_a_run_without_blanks_takes_linear_time():
    began = time.process_time()
    for run in ("(" * 10**6, "a.B" * 10**5, "a:" * 10**5 + "@"):
        words(run)
        sentences(run)
    assert time.process_time() - began < 2


@given(st.text(alphabet=" .?!\"'()aAb。1\n", max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_splitter_exceeds_the_bound_and_no_line_is_without_sentence(line):
    line = f"a{line}.".strip()
    for count in SPLITTERS.values():
        assert 1 <= count(line, 99) <= most_sentences(line)
