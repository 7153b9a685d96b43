import math
from dataclasses import dataclass

import numpy as np
import pytest

from mixlab.errors import ConfigError
from mixlab.eval.evaluate import document_rows, document_scores, domain_bpb, rolling_windows, score_rows, take

VOCAB = 17
END = 0


@dataclass
class Docs:
    ids: list[str]
    texts: list[str]
    bytes: np.ndarray
    tokens: list[np.ndarray]


def docs(lengths: list[int], name: str = "d") -> Docs:
    rng = np.random.default_rng(sum(lengths))
    texts = ["é" * n for n in lengths]  # two bytes a character
    tokens = [rng.integers(1, VOCAB, n) for n in lengths]
    return Docs([f"{name}{at}" for at in range(len(lengths))], texts, np.array([2 * n for n in lengths]), tokens)


def bigram(ids_bt: np.ndarray) -> np.ndarray:
    """log p depends on the token before alone, so windows cannot change it beyond where they start."""
    logits = np.random.default_rng(5).normal(size=(VOCAB, VOCAB))
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return logp[ids_bt[:, :-1], ids_bt[:, 1:]]


def context(ids_bt: np.ndarray) -> np.ndarray:
    """log p depends on everything before in the window, causally."""
    seen = np.cumsum(ids_bt, axis=1)[:, :-1] % 7
    return -1.0 - 0.1 * seen - 0.01 * ids_bt[:, 1:]


def test_a_document_starts_from_end_of_text_and_every_token_is_scored_once():
    heldout = {"a": docs([1, 5, 8, 9, 31])}
    scores = document_scores(bigram, heldout, END, seq_len=8)["a"]
    for at, name in enumerate(scores.ids):
        tokens = heldout["a"].tokens[int(name[1:])]
        whole = bigram(np.concatenate([[END], tokens])[None]).sum()
        assert scores.nats[at] == pytest.approx(-whole, rel=1e-12)
        assert scores.bytes[at] == 2 * len(tokens) and scores.tokens[at] == len(tokens)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 17, 29])
def test_windows_are_those_of_the_rolling_rule(length):
    tokens = np.arange(1, length + 1)
    windows = list(rolling_windows(tokens, END, 8))
    targets = np.concatenate([ids[len(ids) - n :] for ids, n in windows])
    assert targets.tolist() == tokens.tolist()  # once each, in order
    first, *later = windows
    assert first[0][0] == END and len(first[0]) == min(8, length) + 1
    assert all(len(ids) == 9 for ids, _ in later)  # right-aligned, 8 ids read
    assert all(len(ids) - n == 1 for ids, n in later[:-1])  # a full one has one token of context
    if later:
        assert len(later[-1][0]) - later[-1][1] == 8 - later[-1][1] + 1


def test_no_tokens_make_no_window():
    assert list(rolling_windows(np.array([], np.int64), END, 8)) == []


@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_the_batch_size_changes_nothing(batch_tokens):
    heldout = {"a": docs([3, 40, 8, 1]), "b": docs([12, 25])}
    one = domain_bpb(context, heldout, END, 8, batch_tokens=1)
    other = domain_bpb(context, heldout, END, 8, batch_tokens=batch_tokens)
    assert [s.value for s in other] == pytest.approx([s.value for s in one], abs=1e-12)


def test_a_batch_stays_within_its_budget():
    sizes = []

    def spy(ids_bt: np.ndarray) -> np.ndarray:
        sizes.append(ids_bt.size)
        return bigram(ids_bt)

    domain_bpb(spy, {"a": docs([3, 40, 8, 1, 9, 9, 2])}, END, 8, batch_tokens=30)
    assert max(sizes) <= 30 and len(sizes) > 1


def test_bpb_is_bits_over_utf8_bytes_and_macro_is_the_unweighted_mean():
    uniform = lambda ids: np.full((ids.shape[0], ids.shape[1] - 1), -math.log(VOCAB))  # noqa: E731
    first, second, macro = domain_bpb(uniform, {"b": docs([4, 4]), "a": docs([9, 5, 2])}, END, 8)
    assert [first.task, second.task, macro.task] == ["bpb/a", "bpb/b", "bpb/macro"]
    assert first.value == pytest.approx(math.log2(VOCAB) / 2, rel=1e-12)
    assert first.n == 3 and first.detail["bytes"] == 32 and first.detail["tokens"] == 16
    assert first.detail["nats"] == pytest.approx(16 * math.log(VOCAB))
    assert macro.value == pytest.approx((first.value + second.value) / 2)
    assert macro.n == 5 and macro.stderr == pytest.approx(0, abs=1e-12)
    assert not macro.higher_is_better


def test_the_standard_error_is_that_of_resampled_documents():
    heldout = {"a": docs(list(range(2, 80)))}
    (score, _) = domain_bpb(context, heldout, END, 8)
    raw = document_scores(context, heldout, END, 8)["a"]
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(raw.nats), (4000, len(raw.nats)))
    spread = (raw.nats[draws].sum(1) / raw.bytes[draws].sum(1) / math.log(2)).std()
    assert score.stderr == pytest.approx(spread, rel=0.06)  # 4,000 resamples: 1.1 % noise, and 1/(2n) bias


def test_a_model_that_diverged_gets_no_score_and_no_macro():
    def broken(ids_bt: np.ndarray) -> np.ndarray:
        return np.where(ids_bt[:, 1:] == 3, np.nan, bigram(ids_bt))

    clean = Docs(["x"], ["ab"], np.array([2]), [np.array([1, 2])])
    dirty = Docs(["y", "z"], ["ab", "cd"], np.array([2, 2]), [np.array([1, 3]), np.array([1, 2])])
    fine, diverged, macro = domain_bpb(broken, {"a": clean, "b": dirty}, END, 8, batch_tokens=1)
    assert fine.value is not None and fine.stderr is None  # one document says nothing about noise
    assert diverged.value is None and diverged.stderr is None and diverged.detail["nats"] is None
    assert macro.value is None and macro.detail["nats"] is None


def test_a_subset_is_fixed_random_and_independent_of_order():
    many = docs([3] * 200)
    back = Docs(many.ids[::-1], many.texts, many.bytes, many.tokens[::-1])
    first = document_scores(bigram, {"a": many}, END, 8, max_docs=10)["a"]
    again = document_scores(bigram, {"a": back}, END, 8, max_docs=10)["a"]
    assert first.ids == again.ids and first.nats.tolist() == again.nats.tolist()
    assert set(first.ids) != set(many.ids[:10])
    larger = document_scores(bigram, {"a": many}, END, 8, max_docs=20)["a"]
    assert larger.ids[:10] == first.ids


def test_whole_documents_are_taken_up_to_a_budget_and_always_the_same():
    many = docs([5, 9, 40, 3, 7, 11, 2] * 9)
    back = Docs(many.ids[::-1], many.texts[::-1], many.bytes, many.tokens[::-1])
    some = take(many, 60)
    assert 40 < sum(map(len, some.tokens)) <= 60 and some.ids == take(back, 60).ids
    assert [len(text) for text in some.texts] == [len(tokens) for tokens in some.tokens]
    assert set(some.ids) <= set(take(many, 10_000).ids) == set(many.ids)
    assert [len(tokens) for tokens in take(docs([90, 70, 80]), 10).tokens] == [70]  # none fits: the shortest
    assert take(docs([]), 10).ids == []


def test_nothing_to_score_is_an_error_that_names_the_source():
    with pytest.raises(ConfigError, match="'a' has no held-out text"):
        domain_bpb(bigram, {"a": docs([])}, END, 8)
    with pytest.raises(ConfigError, match="no held-out documents"):
        domain_bpb(bigram, {}, END, 8)


def test_rows_are_the_lines_of_the_files():
    heldout = {"a": docs([4, 9])}
    (row, macro) = score_rows(domain_bpb(bigram, heldout, END, 8), 7, 900, True, "e1")
    assert {"step", "tokens", "ts", "task", "metric", "value", "stderr", "n", "final", "evals_key"} <= set(row)
    assert (row["step"], row["tokens"], row["final"], row["evals_key"]) == (7, 900, True, "e1")
    assert set(row["detail"]) == {"nats", "bytes", "tokens", "docs", "exam"} == set(macro["detail"])
    lines = document_rows(document_scores(bigram, heldout, END, 8), 7)
    assert sum(line["nats"] for line in lines) == pytest.approx(row["detail"]["nats"])
