import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.errors import EnvironmentFault
from mixlab.mix.plan import plan_draws
from mixlab.train.loader import Loader, permutation
from mixlab.types import Corpus, Mixture, Phase, TrainSpec

LAW = settings(max_examples=25, deadline=None, derandomize=True)
T, B = 4, 6
SIZES = {"code": 43, "law": 200, "wiki": 1000}  # tokens: 10, 50 and 250 sequences
BASE = {s: 10_000 * i for i, s in enumerate(SIZES)}  # token id = BASE + position: each token says where it comes from
ENDS = {"code": [3, 5, 11, 30, 43], "law": [200], "wiki": [*range(7, 1000, 7), 1000]}


def shard(home: Path, source: str) -> Corpus:
    path, tokens = home / f"{source}-k", SIZES[source]
    path.mkdir()
    (np.arange(tokens) + BASE[source]).astype("<u4").tofile(path / "tokens.bin")
    np.save(path / "ends.npy", np.array(ENDS[source], np.int64))
    (path / "manifest.json").write_text(json.dumps({"dtype": "<u4"}))
    counts = {"docs": len(ENDS[source]), "bytes": tokens, "heldout_docs": 0, "heldout_tokens": 0, "heldout_bytes": 0}
    return Corpus(
        source=source,
        key=f"key-{source}",
        path=path,
        tokens=tokens,
        vocab_size=10**6,
        licence="MIT",
        language="en",
        **counts,
    )


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    home = tmp_path_factory.mktemp("tokens")
    return {s: shard(home, s) for s in SIZES}


def loader(corpora, code=0.2, law=0.3, wiki=0.5, sequences=240, seed=0):
    mix = Mixture(name="m", rule="weights", weights={"code": code, "law": law, "wiki": wiki})
    train = TrainSpec(tokens=sequences * T, batch_tokens=B * T, max_epochs=1e9)
    return Loader(plan_draws(mix, corpora, train, T), corpora, seed, B)


def served(made):
    """Everything a loader gives, row by row: ids (rows, T) and sources (rows,)."""
    batches = [made.batch(step) for step in range(made.steps)]
    return np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])


def test_a_row_is_a_run_of_tokens_of_the_source_it_names(corpora):
    ids, source = loader(corpora).batch(0)
    assert ids.shape == (B, T) and ids.dtype == source.dtype == np.int64
    assert (np.diff(ids, axis=1) == 1).all()
    assert (ids[:, 0] // 10_000 == source).all() and (ids[:, 0] % 10_000 % T == 0).all()


@LAW
@given(st.lists(st.integers(0, 39), min_size=1, max_size=12), st.integers(0, 5))
def test_a_batch_depends_on_its_step_alone(corpora, steps, seed):
    walked, jumped = loader(corpora, seed=seed), loader(corpora, seed=seed)
    rows, _ = served(walked)
    for step in steps:
        assert (jumped.batch(step)[0] == rows[step * B : (step + 1) * B]).all()


def test_another_seed_is_another_order_of_the_same_plan(corpora):
    (a, sa), (b, sb) = served(loader(corpora, seed=0)), served(loader(corpora, seed=1))
    assert (sa == sb).all() and (a != b).any()


@LAW
@given(st.floats(0.05, 0.9), st.integers(1, 60))
def test_no_sequence_comes_twice_within_an_epoch(corpora, code, batches):
    rows, source = served(loader(corpora, code=code, law=(1 - code) / 2, wiki=(1 - code) / 2, sequences=batches * B))
    for i, name in enumerate(SIZES):
        first, available = rows[source == i, 0].tolist(), SIZES[name] // T
        for at in range(0, len(first), available):
            epoch = first[at : at + available]
            assert len(set(epoch)) == len(epoch)
    for i, name in enumerate(SIZES):  # so counts differ by one at most
        times = Counter(rows[source == i, 0].tolist())
        assert not times or max(times.values()) - (min(times.values()) if len(times) == SIZES[name] // T else 0) <= 1


def test_each_epoch_has_an_order_of_its_own(corpora):
    rows, source = served(loader(corpora, code=0.5, law=0.25, wiki=0.25))
    first = rows[source == 0, 0][:20].tolist()
    assert sorted(first[:10]) == sorted(first[10:]) and first[:10] != first[10:]


@LAW
@given(st.floats(0.01, 0.49), st.integers(0, 3))
def test_two_mixes_share_the_order_of_every_source(corpora, code, seed):
    (a, sa), (b, sb) = served(loader(corpora, seed=seed)), served(loader(corpora, code, 0.5 - code, 0.5, seed=seed))
    for i in range(len(SIZES)):
        one, other = a[sa == i], b[sb == i]
        n = min(len(one), len(other))
        assert n > 0
        assert (one[:n] == other[:n]).all()


def by_source(made):
    """Source -> the first token of each of its sequences, in the order in which the loader serves them."""
    rows, source = served(made)
    return {d.source: rows[source == i, 0].tolist() for i, d in enumerate(made.plan.draws)}


def of_weights(corpora, weights, seed, sequences=240):
    train = TrainSpec(tokens=sequences * T, batch_tokens=B * T, max_epochs=1e9)
    mix = Mixture(name="m", rule="weights", weights=weights)
    return Loader(plan_draws(mix, {s: corpora[s] for s in weights}, train, T), corpora, seed, B)


@LAW
@given(
    st.floats(0.01, 0.97), st.floats(0.01, 0.97), st.floats(0.1, 0.9), st.integers(0, 3), st.sampled_from(list(SIZES))
)
def test_mixes_that_differ_in_one_weight_share_every_source_in_order(corpora, one, other, share, seed, changed):
    """One source's weight moves, the others keep their proportions: whoever draws more goes on where the other ends."""
    rest = [s for s in SIZES if s != changed]
    mixes = [{changed: w, rest[0]: (1 - w) * share, rest[1]: (1 - w) * (1 - share)} for w in (one, other)]
    a, b = (by_source(of_weights(corpora, w, seed)) for w in mixes)
    for s in SIZES:  # the changed one, too
        n = min(len(a[s]), len(b[s]))
        assert a[s][:n] == b[s][:n]
        assert abs(len(a[s]) - 240 * mixes[0][s]) < 1 > abs(len(b[s]) - 240 * mixes[1][s])


@LAW
@given(st.floats(0.05, 0.9), st.floats(0.1, 0.9), st.integers(0, 3))
def test_replacing_one_source_leaves_every_other_sequence_as_it_was(corpora, weight, share, seed):
    """code becomes law at the same weight: all that is served of wiki is the same, sequence by sequence."""
    a = by_source(of_weights(corpora, {"code": weight, "wiki": 1 - weight}, seed))
    b = by_source(of_weights(corpora, {"law": weight, "wiki": 1 - weight}, seed))
    assert a["wiki"] == b["wiki"]
    third = {"wiki": (1 - weight) * share, "books": (1 - weight) * (1 - share)}
    shards = {**corpora, "books": replace(corpora["law"], source="books")}
    c = by_source(of_weights(shards, {"code": weight, **third}, seed))
    d = by_source(of_weights(shards, {"law": weight, **third}, seed))
    assert (c["wiki"], c["books"]) == (d["wiki"], d["books"])  # ties go by name, and both names stand at one place


@LAW
@given(st.integers(1, B), st.integers(0, 39))
def test_the_ranks_together_serve_the_same_batch(corpora, ranks, step):
    made = loader(corpora)
    parts = [made.batch(step, rank, ranks) for rank in range(ranks)]
    ids, source = made.batch(step)
    assert (np.concatenate([p[0] for p in parts]) == ids).all()
    assert (np.concatenate([p[1] for p in parts]) == source).all()
    docs = np.concatenate([made.doc_ids(step, rank, ranks) for rank in range(ranks)])
    assert (docs == made.doc_ids(step)).all()


def test_documents_are_numbered_within_each_row(corpora):
    made = loader(corpora, code=0.5, law=0.5, wiki=0.0)
    for step in range(made.steps):
        ids, source = made.batch(step)
        for row, docs, s in zip(ids, made.doc_ids(step), source, strict=True):
            name = list(SIZES)[s]
            which = [sum(end <= t - BASE[name] for end in ENDS[name]) for t in row]
            assert docs.tolist() == [w - which[0] for w in which]


@LAW
@given(st.integers(0, 40), st.floats(0.05, 0.9))
def test_the_ledger_is_what_was_really_served(corpora, step, code):
    made = loader(corpora, code=code, law=1 - code, wiki=0.0)
    rows, source = served(made)
    rows, source = rows[: step * B], source[: step * B]
    for i, (name, told) in enumerate(made.ledger(step).items()):
        seen = rows[source == i].ravel()
        assert (told.tokens, told.unique_tokens) == (len(seen), len(set(seen.tolist())))
        assert told.epochs == pytest.approx(len(seen) / (SIZES[name] // T * T))


def test_the_ledger_ends_where_the_plan_says(corpora):
    made = loader(corpora)
    assert {s: x.tokens for s, x in made.ledger(made.steps).items()} == {d.source: d.tokens for d in made.plan.draws}


def test_a_shorter_run_is_the_beginning_of_a_longer_one(corpora):
    short, long = served(loader(corpora, sequences=60))[0], served(loader(corpora, sequences=240))[0]
    assert (short == long[: len(short)]).all()


def phased(corpora, seed=0, unique=None):
    """40 steps: code and law in sequences of 4, then wiki too, then law and wiki in sequences of 8."""
    first, then, last = ({"code": 0.5, "law": 0.5, "wiki": 0.0}, {"code": 0.2, "law": 0.3, "wiki": 0.5}, {"law": 0.5})
    mixes = [Mixture(rule="weights", weights=w) for w in (first, then, {"code": 0.0, "wiki": 0.5, **last})]
    train = TrainSpec(tokens=40 * B * T, batch_tokens=B * T, max_epochs=1e9, unique_tokens=unique or {})
    later = [Phase(share=0.3, mixture=mixes[1]), Phase(share=0.2, mixture=mixes[2], seq_len=2 * T)]
    return Loader(plan_draws(mixes[0], corpora, train, T, later), corpora, seed, B)


@LAW
@given(st.integers(0, 40), st.integers(0, 3), st.sampled_from([None, {"law": 24}, {"wiki": 100, "law": 50}]))
def test_the_ledger_is_what_was_served_in_every_phase(corpora, step, seed, unique):
    made = phased(corpora, seed, unique)
    seen = {s: [] for s in SIZES}
    for k in range(step):
        for row, s in zip(*made.batch(k), strict=True):
            seen[list(SIZES)[s]] += row.tolist()
    for name, told in made.ledger(step).items():
        assert (told.tokens, told.unique_tokens) == (len(seen[name]), len(set(seen[name])))
        limit = (unique or {}).get(name, SIZES[name])
        assert all(t - BASE[name] < limit for t in seen[name])
    if step == 40:
        assert {s: x.tokens for s, x in made.ledger(step).items()} == {d.source: d.tokens for d in made.plan.draws}


def test_no_token_comes_more_often_than_the_plan_says_in_any_phase(corpora):
    made = phased(corpora)
    times = Counter(t for step in range(40) for t in made.batch(step)[0].ravel().tolist())
    for draw in made.plan.draws:
        mine = [n for t, n in times.items() if t // 10_000 == BASE[draw.source] // 10_000]
        assert max(mine) <= draw.epochs_max


def test_a_source_goes_on_where_the_phase_before_left_it(corpora):
    made = phased(corpora)
    law = [r for k in range(32) for r, s in zip(*made.batch(k), strict=True) if s == 1]
    first = [int(r[0]) for r in law][:50]  # 50 sequences are one epoch, and cross the border
    assert len(first) == len(set(first)) == 50


@LAW
@given(st.integers(1, 3), st.integers(0, 39))
def test_ranks_agree_in_every_phase(corpora, ranks, step):
    made = phased(corpora)
    parts = [made.batch(step, rank, ranks)[0] for rank in range(ranks)]
    assert (np.concatenate(parts) == made.batch(step)[0]).all()
    assert (np.concatenate([made.doc_ids(step, r, ranks) for r in range(ranks)]) == made.doc_ids(step)).all()


def test_fewer_unique_tokens_are_the_first_ones_and_nested(corpora):
    made = [phased(corpora, unique={"law": n}) for n in (24, 50)]
    few, more = ({t for k in range(40) for t in m.batch(k)[0].ravel().tolist()} for m in made)
    law = {t for t in few if BASE["law"] <= t < BASE["wiki"]}
    assert law == set(range(BASE["law"], BASE["law"] + 24)) and few <= more


def test_another_corpus_than_the_plan_was_made_for_is_refused(corpora):
    plan = loader(corpora).plan
    with pytest.raises(EnvironmentFault, match="not the corpus the plan was made for"):
        Loader(plan, {**corpora, "law": corpora["wiki"]}, 0, B)


def test_a_permutation_is_fair():
    """Each element lands on each place equally often: chi-squared with 25 degrees of freedom, 99.9 % point 52.6."""
    drawn = np.array([permutation(6, seed, "wiki", epoch) for seed in range(200) for epoch in range(15)])
    counts = np.array([np.bincount(drawn[:, place], minlength=6) for place in range(6)])
    assert ((counts - 500) ** 2 / 500).sum() < 52.6
    assert (np.sort(permutation(1000, 0, "a", 0)) == np.arange(1000)).all()
