"""The compiled line rules equal the ones in plain Python, on every text they may judge."""

import re
import sys
from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixlab.data.badwords import finder
from mixlab.data.english import most_sentences
from mixlab.data.line_kernel import ODD, is_plain
from mixlab.data.lines import SPLITTERS, _clear_breaks, c4_lines, c4_lines_plainly
from mixlab.data.profiles import DATATROVE_LINES, TFDS_LINES
from mixlab.data.sentence_kernel import clear_sentences, end_marks, unclear_words

PIECES = st.sampled_from(
    [
        *" .?!\"'{}[]\n\t\r\u2028\u2029\x85\xa0\x0b\x0c\x1c\x1d\x1e\x1f\u1680\u2003\u202f\u205f\u3000\u200b\u180e",
        *"\x00\ud800_éß…。İ\u212a",
        *("Here is a line that ends well.", " javascript", "JAVAscript", "Lorem ipsum", "lorem  ipsum", "use cookies"),
        *("Mr. ", "five words are in here.", "[1]", "[edit]", "[citation needed]", "[12", "[١]", "...", "\r\n", "\n\n"),
        *(
            "Terms of Use",
            "java[2]script",
            "x" * 30,
            "é" * 20,
            "He went home. Then he slept. ",
            '."',
            "privacy policy.",
        ),
    ]
)
TEXTS = st.lists(PIECES, max_size=25).map("".join)
STEPS = (
    replace(TFDS_LINES, max_word_chars=25),
    replace(DATATROVE_LINES, max_word_chars=25),
    replace(DATATROVE_LINES, end_marks=(), min_words=1),
)


@given(TEXTS)
@example("{ x y z a b.\nlorem ipsum one two three.")
@example("lorem ipsum { one two three.\njava[1]script one two three four.")
@example("One two three four five.\xa0\r\n\u3000Six seven eight nine ten[3].")
@example("[1]\n[1]\n")
@example("[1] [2] [3]\nx y z[1]\n[3]")
@example(".\n.\n.\n.\nHe went home. Then he slept. ")  # the fifth sentence begins a line that holds a sixth
@settings(max_examples=400, deadline=None)
def test_the_kernel_gives_text_hits_and_counts_of_the_plain_rules(text):
    for step in STEPS:
        assert c4_lines(text, step) == c4_lines_plainly(text, step)


def test_no_other_letter_lower_cases_into_ascii():
    everything = (chr(c) for c in range(128, sys.maxunicode + 1))
    odd = {c for c in everything if any(low < "\x80" for low in c.lower())}
    assert odd == set(ODD)
    alike = [c for c in map(chr, range(128, sys.maxunicode + 1)) if c.isalnum() != c.lower().isalnum()]
    assert set(alike) <= set(ODD)  # so the neighbour of a bad word may be looked at before it is lower-cased


def test_every_blank_and_line_break_is_seen():
    for c in map(chr, range(sys.maxunicode + 1)):
        if c < "\x80" or c.isspace() or len(f"a{c}b".splitlines()) > 1:
            text = f"{c}One two{c}three four.{c}{c}Five six {c}seven.{c} {c}"
            for step in STEPS:
                assert c4_lines(text, step) == c4_lines_plainly(text, step), repr(c)


def test_digits_of_other_scripts_in_brackets_are_left_to_the_plain_rules():
    assert is_plain("a [12] b é") and not is_plain("a [1٢] b") and is_plain("٢ [x]")


WORDS = [
    "word",
    "approx",
    "Mr",
    "etc",
    "U.S",
    "e.g",
    "A",
    "the",
    "Next",
    "(see",
    "foo(bar",
    "3.5",
    "x.y",
    "b.C",
    "é",
    "…",
    "don’t",
]
STOPS = [". ", "! ", "). ", ".) ", '." ', '". ', " ", " ", "...", "?! ", ".", ".\xa0", "\u2003", "。", "’. "]


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(STOPS)).map("".join), max_size=7).map("".join))
@example("A good word.\xa0cannot?!.")  # to Punkt \xa0 separates words, but not the mark from the next one
@settings(max_examples=400, deadline=None)
def test_a_sentence_beyond_doubt_is_one_for_both_splitters(line):
    line = line.strip()
    data = np.frombuffer(line.encode(), np.uint8)
    found, is_exact = clear_sentences(data, len(data), 10**9, unclear_words(), end_marks())
    least, most = bool(line) + _clear_breaks(line), most_sentences(line)
    assert found <= least and (not is_exact or found <= most)
    for count in SPLITTERS.values():
        assert not line or least <= count(line, 10**9) <= most
        assert not line or not is_exact or count(line, 10**9) == found


BAD = ["edit", "ipsum", "use", "ass", "xx", "b", "to a"]
BITS = st.sampled_from([*BAD, "ASS", "İ", "\u212a", "é", "_", "1", " ", "-", "s", "\ud800", "xx.", "B "])


@given(TEXTS | st.lists(BITS, max_size=12).map("".join))
@settings(max_examples=400, deadline=None)
def test_bytes_hide_no_bad_word(text):
    expected = re.search(rf"(?:\W|^)({'|'.join(BAD)})(?:\W|$)", text.lower())
    assert (finder(BAD)(text) is not None) == (expected is not None)
