"""Kernels: words as Python sees them, signatures as datasketch makes them."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.data import kernels
from mixlab.errors import ConfigError

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "minhash" / "datasketch_affine32.json"
TEXT = st.text(st.sampled_from("aB_9 .,-\n'éÉßİΣσς中文ǅ\u0307\u200b\U00010400\U0001f600٣²"), max_size=40)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def hashes_of(text: str, **kw) -> list[int]:
    return kernels.wide_hashes([text], **kw)[0].tolist()


@settings(max_examples=150, deadline=None)
@given(TEXT, st.integers(1, 4))
def test_shingles_are_the_ngrams_of_lower_cased_words(text, n):
    plain = words(text)
    grams = [tuple(plain[i : i + n]) for i in range(max(len(plain) - n + 1, min(len(plain), 1)))]
    of_gram = {g: hashes_of(" ".join(g), ngram=n) for g in grams}
    assert all(len(h) == 1 for h in of_gram.values())
    assert hashes_of(text, ngram=n) == [of_gram[g][0] for g in grams]
    assert len({h[0] for h in of_gram.values()}) == len(of_gram)


@settings(max_examples=100, deadline=None)
@given(TEXT, st.integers(1, 4))
def test_character_shingles_are_those_of_the_lower_cased_text(text, n):
    low = text.lower()
    grams = [low[i : i + n] for i in range(max(len(low) - n + 1, min(len(low), 1)))]
    assert hashes_of(text, ngram=n, unit="char") == [hashes_of(g, ngram=n, unit="char")[0] for g in grams]


def test_every_code_point_is_folded_as_python_folds_it():
    points = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    texts = [" ".join(f"{c}a{c}b" for c in points[n : n + 500]) for n in range(0, len(points), 500)]
    got = kernels.wide_hashes(texts, ngram=1)
    want = kernels.wide_hashes([" ".join(words(t)) for t in texts], ngram=1)
    assert np.diff(got[1]).tolist() == [len(words(t)) for t in texts]
    assert np.array_equal(got[0], want[0])


def test_half_a_surrogate_pair_is_no_word():
    assert hashes_of("one \ud800two\udfff three", ngram=2) == hashes_of("one two three", ngram=2)
    assert hashes_of("a\ud800", unit="char", ngram=1) == hashes_of("a\ufffd", unit="char", ngram=1)


def test_words_in_other_order_are_another_shingle():
    assert hashes_of("a b c d e") != hashes_of("b a c d e")
    assert hashes_of("aa b") != hashes_of("a ab")
    assert len(hashes_of("a b c d")) == 1
    assert hashes_of("a b c d") != hashes_of("a b c")


@pytest.mark.parametrize("unit", ["word", "char"])
def test_hashes_do_not_depend_on_slices_or_arrow_layout(unit, monkeypatch):
    texts = ["", "one two three four five six", "Σίσυφος ΟΔΟΣ İ", "x" * 200, "é ü", "", "a b c d e f g"] * 5
    want = kernels.shingle_hashes(texts, 3, unit)
    monkeypatch.setattr(kernels, "SLICE_BYTES", 30)
    sliced = pa.array(["junk here", *texts, "end"]).slice(1, len(texts))
    for form in (texts, sliced, pa.chunked_array([texts[:9], [], texts[9:]]), pa.array(texts, pa.large_string())):
        got = kernels.shingle_hashes(form, 3, unit)
        assert np.array_equal(got[0], want[0])
        assert np.array_equal(got[1], want[1])


def test_hashes_never_change():
    hashes, offsets = kernels.shingle_hashes(["The quick brown fox jumps over the lazy dog", "naïve", ""])
    assert offsets.tolist() == [0, 5, 6, 6]
    # what this code gave when it was written: signatures on disk are compared with new ones
    assert hashes.tolist() == [2879260291, 697494882, 2768580141, 1699393605, 530110085, 2539590219]


def test_minhash_equals_the_golden_vectors():
    if not GOLDEN.exists():
        pytest.skip(f"golden vectors are not at {GOLDEN}")
    for vector in json.loads(GOLDEN.read_text())["vectors"].values():
        sha1 = [hashlib.sha1(s.encode()).digest()[:4] for s in vector["shingles"]]
        hashes = np.array([int.from_bytes(h, "little") for h in sha1], np.uint32)
        got = kernels.minhash(hashes, np.array([0, len(hashes)]), num_perm=16, seed=1)
        assert got.dtype == np.uint32
        assert got[0].tolist() == vector["signature"]


@pytest.mark.parametrize(("num_perm", "seed"), [(1, 0), (16, 1), (112, 7), (128, 1), (256, 12345)])
def test_minhash_equals_datasketch_fed_the_same_hashes(num_perm, seed):
    texts = ["one two three four five six seven", "", "x", "the cat sat on the mat " * 40]
    hashes, offsets = kernels.shingle_hashes(texts)
    got = kernels.signatures(texts, num_perm, seed=seed)
    for d in range(len(texts)):
        theirs = MinHash(num_perm=num_perm, seed=seed, scheme="affine32", hashfunc=int)
        theirs.update_batch(hashes[offsets[d] : offsets[d + 1]].tolist())
        assert np.array_equal(theirs.hashvalues, got[d])


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXT, max_size=6), st.integers(1, 4), st.sampled_from(["word", "char"]))
def test_one_pass_gives_what_the_steps_give(texts, n, unit):
    hashes, offsets = kernels.shingle_hashes(texts, n, unit)
    signature, sizes, names = kernels.signed(texts, 16, n, 3, unit)
    assert np.array_equal(signature, kernels.minhash(hashes, offsets, 16, 3))
    assert sizes.tolist() == np.diff(offsets).tolist()
    low = [tuple(words(t)) if unit == "word" else t.lower() for t in texts]
    assert len({tuple(name) for name in names.tolist()}) == len(set(low))


def test_estimates_agree_with_the_true_jaccard():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in rng.integers(0, 10**6, 3000)]
    a, b = " ".join(words[:2000]), " ".join(words[500:2500])
    sig = kernels.signatures([a, b], num_perm=2048)
    true = 1496 / (2 * 1996 - 1496)
    assert abs((sig[0] == sig[1]).mean() - true) < 4 * (true * (1 - true) / 2048) ** 0.5  # four standard errors


def test_wrong_settings_are_named():
    with pytest.raises(ConfigError, match="uint32"):
        kernels.minhash(np.zeros(1, np.int64), np.array([0, 1]))
    with pytest.raises(ConfigError, match="ngram"):
        kernels.shingle_hashes(["a"], ngram=0)
    with pytest.raises(ConfigError, match="permutation"):
        kernels.signatures(["a"], num_perm=0)


def test_import_compiles_nothing():
    code = (
        "import mixlab.data.kernels; from mixlab.data import shingle_kernel as k; "
        "print(sum(len(f.signatures) for f in (k.shingles, k.sign)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "0\n"
