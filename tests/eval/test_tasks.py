import functools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mixlab.data import tokenizer
from mixlab.errors import ConfigError
from mixlab.eval import engine, evaluate, marking, packing, suites
from mixlab.eval.packing import pack
from mixlab.eval.requests import Requests, encode_pairs, tokenise
from mixlab.eval.tasks import FORMATS, read_items
from mixlab.model.judge import judge
from mixlab.model.mpt import MPT, token_logprobs
from mixlab.types import ModelSpec, TokenizerSpec
from mixlab.workspace import write_json

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "eval"
MC = {"query": "q", "choices": ["a", "b"], "gold": 1}
SPEC = ModelSpec(d_model=32, n_heads=2, n_layers=2, max_seq_len=48, vocab_size=257)


class Bytes:
    """A tokenizer of bytes."""

    end_of_text_id = 256
    splits_at_spaces = True

    def encode(self, texts):
        return [np.frombuffer(t.encode(), np.uint8).astype(np.int64) for t in texts]


def write(path: Path, *rows) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in rows))
    return path


@pytest.mark.parametrize(
    "kind, row, says",
    [
        ("multiple_choice", {"query": "q", "choice": ["a"], "gold": 0}, "field 'choices' is missing.*Did you mean"),
        ("multiple_choice", {**MC, "gold": 2}, "field 'gold' is 2, out of range.*0 to 1"),
        ("multiple_choice", {**MC, "gold": "1"}, "field 'gold' is '1', not a whole number"),
        ("multiple_choice", {**MC, "choices": ["a", ""]}, r"field 'choices\[1\]' is empty"),
        ("multiple_choice", {**MC, "choices": ["a"]}, "has 1 entries.*give at least 2"),
        ("multiple_choice", {**MC, "choices": "ab"}, "not a list"),
        ("language_modeling", {"context": "c", "continuation": " "}, "field 'continuation' is empty"),
        ("language_modeling", {"context": 3, "continuation": "x"}, "field 'context' is 3, not a text"),
        ("schema", {"context_options": ["a"], "continuation": "x", "gold": 0}, "has 1 entries"),
        ("generation_task_with_answers", {"context": "c", "answer": 1}, "field 'answer' is 1"),
        ("pairs", {"sentence_good": "x"}, "field 'sentence_bad' is missing"),
        ("olmes", {"doc_id": "a", "request": {}}, "field 'doc_id'"),
        ("documents", {"text": " "}, "field 'text' is empty"),
        ("code_evaluation", {"prompt": "x"}, "field 'canonical_solution' is missing"),
        ("multiple_choice", "[1]", "not an object"),
        ("multiple_choice", '{"query": "q', "not JSON"),
    ],
)
def test_a_malformed_row_is_told_with_file_line_field_and_remedy(tmp_path, kind, row, says):
    good = {"multiple_choice": MC}.get(kind)
    path = write(tmp_path / "task.jsonl", *([good] if good else []), row)
    with pytest.raises(ConfigError, match=says) as e:
        read_items(path, kind)
    assert f"{path} line {2 if good else 1}:" in str(e.value) and "To mend it" in str(e.value)


def test_a_line_separator_inside_a_row_is_text_and_choices_may_vary_in_number(tmp_path):
    path = write(tmp_path / "t.jsonl", {**MC, "query": "a\u2028b\u0085c"}, {**MC, "choices": ["a", "b", "c"]})
    items = read_items(path, "multiple_choice")
    assert [len(i.choices) for i in items] == [2, 3] and items[0].contexts[0] == "a\u2028b\u0085c"


def test_olmes_requests_come_together_by_document_without_the_unconditional_ones(tmp_path):
    rows = [
        {"doc_id": doc, "idx": i, "label": 1, "request": {"context": f"c{doc}", "continuation": f" {i}"}}
        for doc in (3, 1, 1_000_003)
        for i in (1, 0)
    ]
    items = read_items(write(tmp_path / "r.jsonl", *rows), "olmes")
    assert [(i.id, i.choices, i.gold) for i in items] == [(1, (" 0", " 1"), 1), (3, (" 0", " 1"), 1)]


def spec(**more):
    told = {
        "label": "t",
        "dataset_uri": "t.jsonl",
        "icl_task_type": "multiple_choice",
        "continuation_delimiter": "\nA: ",
    }
    return suites.TaskSpec(**{**told, **more})


def test_a_subset_is_random_stored_by_hash_and_changes_no_prompt(tmp_path):
    write(tmp_path / "t.jsonl", *({**MC, "query": f"q{i}"} for i in range(50)))
    whole = suites.render(spec(num_fewshot=3), "s", [tmp_path])
    part = suites.render(spec(num_fewshot=3, subset=10), "s", [tmp_path])
    assert part.prompt_hash != whole.prompt_hash and part.suite_hash != whole.suite_hash
    ids = [a.item.id for a in part.asked]
    assert len(ids) == 10 and ids != list(range(10)) and ids == sorted(ids)
    assert all(whole.asked[i].contexts == a.contexts for i, a in zip(ids, part.asked, strict=True))
    shots = [a.contexts[0].split("\n")[0:6:2] for a in whole.asked]
    assert all(f"q{i}" not in s and len(set(s)) == 3 for i, s in enumerate(shots))
    assert len({tuple(s) for s in shots}) > 40  # an item's shots are its own
    assert suites.render(spec(num_fewshot=3), "s", [tmp_path]).prompt_hash == whole.prompt_hash


def test_white_space_before_a_choice_is_what_the_model_produces(tmp_path):
    write(tmp_path / "t.jsonl", MC)
    (asked,) = suites.render(spec(), "s", [tmp_path]).asked
    assert (asked.contexts, asked.continuations) == (("q\nA:", "q\nA:"), (" a", " b"))


FOUNDRY = """icl_tasks:
-
  label: hellaswag
  dataset_uri: t.jsonl # ADD YOUR OWN DATASET URI
  num_fewshot: [0, 2]
  batch_size: 4
  icl_task_type: multiple_choice
  metric_names: [InContextLearningMultipleChoiceAccuracy]
  has_categories: true
-
  label: copa
  dataset_uri: t.jsonl
  num_fewshot: [1]
  prelimiter: "Q: "
  icl_task_type: multiple_choice
-
  label: human_eval
  dataset_uri: code.jsonl
  num_fewshot: [0]
  pass_at_k: 1
  num_beams: 20
  icl_task_type: code_evaluation
"""


def test_a_stock_foundry_yaml_is_read_as_it_is(tmp_path):
    write(tmp_path / "t.jsonl", *({**MC, "query": f"q{i}", "category": "c"} for i in range(5)))
    write(tmp_path / "code.jsonl", {"prompt": "def f():\n", "canonical_solution": "    return 1\n", "test": "x"})
    (tmp_path / "tasks.yaml").write_text(FOUNDRY)
    tasks = {t.label: t for t in suites.load_suite(str(tmp_path / "tasks.yaml"))}
    assert list(tasks) == ["hellaswag/0-shot", "hellaswag/2-shot", "copa", "human_eval"]
    assert tasks["hellaswag/2-shot"].asked[0].contexts[0].count("q") == 3
    assert tasks["copa"].asked[0].contexts[0].startswith("Q: ") and tasks["copa"].spec.num_fewshot == 1
    (code,) = tasks["human_eval"].asked
    assert code.contexts[0] + code.continuations[0] == "def f():\n    return 1\n"
    (tmp_path / "tasks.yaml").write_text(FOUNDRY.replace("num_fewshot: [0]", "num_fewshot: [5]"))
    with pytest.raises(ConfigError, match=r"num_fewshot is 5.*whole prompt"):
        suites.load_suite(str(tmp_path / "tasks.yaml"))


def test_an_item_has_a_prompt_hash_of_its_own(tmp_path):
    write(tmp_path / "t.jsonl", *({**MC, "query": f"q{i}"} for i in range(9)))
    whole = suites.render(spec(num_fewshot=2), "s", [tmp_path])
    part = suites.render(spec(num_fewshot=2, subset=4), "s", [tmp_path])
    other = suites.render(spec(num_fewshot=1), "s", [tmp_path])
    hashes = {a.item.id: whole.item_hash(a) for a in whole.asked}
    assert len(set(hashes.values())) == 9
    assert all(part.item_hash(a) == hashes[a.item.id] for a in part.asked)
    assert all(other.item_hash(a) != hashes[a.item.id] for a in other.asked)


def test_foundrys_convention_encodes_apart_with_a_space_between(tmp_path):
    class Spaced(Bytes):
        def encode(self, texts):
            return [
                np.array([len(word) for word in t.split()] or [0]) if t == " a" else b
                for t, b in zip(texts, super().encode(texts), strict=True)
            ]

    write(tmp_path / "t.jsonl", {**MC, "choices": ["b", " c"]})
    ours = tokenise(suites.render(spec(), "s", [tmp_path]), Spaced(), "x")
    task = suites.render(spec(convention="foundry"), "s", [tmp_path])
    apart = tokenise(task, Spaced(), "x")
    assert [bytes(c.tolist()) for c in apart.contexts] == [b"q\nA:"] * 2
    assert [bytes(c.tolist()) for c in apart.continuations] == [b" b", b" c"]
    assert [bytes(c.tolist()) for c in ours.continuations] == [b" b", b"  c"]  # the delimiter's and the choice's
    assert marking.hashes(task, "x")["convention"] == "foundry"
    with pytest.raises(ConfigError, match="convention"):
        (tmp_path / "s.yaml").write_text("label: t\ndataset_uri: t.jsonl\nicl_task_type: pairs\nconvention: nanochat\n")
        suites.load_suite(str(tmp_path / "s.yaml"))


def test_held_out_documents_are_a_task_whose_score_is_a_ratio_of_sums(tmp_path):
    write(tmp_path / "t.jsonl", {"text": "\u00e9" * 90}, {"text": "abc"})
    task = suites.render(spec(icl_task_type="documents"), "s", [tmp_path])
    model, asked = MPT(SPEC, seed=1), tokenise(task, Bytes(), "x")
    found = engine.score_requests(model, asked, 48)
    items = marking.item_rows(task, asked, found, 1, 1, "x")
    (score,) = marking.score_rows(task, items, final=True, seconds=0.0, fed=0)
    docs = SimpleNamespace(ids=["a", "b"], texts=["\u00e9" * 90, "abc"], tokens=list(asked.continuations))
    (source, _) = evaluate.domain_bpb(functools.partial(token_logprobs, model), {"s": docs}, 256, 48)
    assert score["metric"] == "bpb" and not score["higher_is_better"]
    assert score["value"] == pytest.approx(source.value, abs=1e-6) and score["stderr"] == pytest.approx(
        source.stderr, rel=1e-4
    )
    assert {k: score["detail"][k] for k in ("bytes", "tokens", "docs")} == {"bytes": 183, "tokens": 183, "docs": 2}


def test_a_suite_names_what_is_missing(tmp_path):
    with pytest.raises(ConfigError, match=r"neither packaged.*Did you mean 'full'"):
        suites.load_suite("ful")
    with pytest.raises(ConfigError, match=r"was not found.*--tasks"):
        suites.load_suite("full", tmp_path)
    (tmp_path / "s.yaml").write_text("label: t\ndataset_uri: t.jsonl\nicl_task_type: multiple_choise\n")
    with pytest.raises(ConfigError, match=r"s.yaml task 1: icl_task_type.*multiple_choice"):
        suites.load_suite(str(tmp_path))


@pytest.mark.parametrize("name", ["full", "live", "code"])
def test_packaged_suites_read_the_laid_files(name):
    if not GOLDEN.exists():
        pytest.skip(f"task files are not here: {GOLDEN}")
    tasks = {t.label: t for t in suites.load_suite(name, GOLDEN)}
    if name == "full":
        told = marking.floors(tasks["openbook_qa"])
        expected = {"shortest": 0.154, "longest": 0.364, "majority": 0.276}  # as laid, to three digits
        assert all(told[name] == pytest.approx(value, abs=6e-4) for name, value in expected.items())
    if name == "live":
        assert len({a.item.cluster for a in tasks["blimp"].asked}) == 67


def requests(seed=0, n=40):
    rng = np.random.default_rng(seed)
    contexts, continuations = [], []
    for _ in range(n):
        context = rng.integers(0, 257, rng.integers(1, 60))
        for _ in range(rng.integers(1, 5)):
            contexts.append(context)
            continuations.append(rng.integers(0, 257, rng.integers(1, 9)))
    return Requests(contexts=tuple(contexts), continuations=tuple(continuations))


GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
def test_scores_are_those_of_a_plain_pass_whatever_the_batch(device):
    model, asked = MPT(SPEC, seed=1).to(device), requests()
    found = engine.score_requests(model, asked, SPEC.max_seq_len)
    assert found.truncated.any() and not found.truncated.all()
    for budget in (1, 100, 1000):
        again = engine.score_requests(model, asked, SPEC.max_seq_len, batch_tokens=budget)
        assert np.abs(again.logliks - found.logliks).max() < 1e-5
    for r in range(0, len(asked.contexts), 7):
        ids = np.concatenate([asked.contexts[r], asked.continuations[r]])[-SPEC.max_seq_len - 1 :]
        plain = token_logprobs(model, ids[None])[0, -len(asked.continuations[r]) :]
        assert found.logliks[r] == pytest.approx(plain.sum(), abs=1e-4)
        assert found.least[r] == pytest.approx(plain.min(), abs=1e-5)


def test_shared_contexts_are_fed_once():
    context = np.arange(40)
    asked = Requests(contexts=(context,) * 4, continuations=tuple(np.array([i, 1, 2]) for i in range(4)))
    assert engine.score_requests(MPT(SPEC), asked, 48).tokens == 40 + 4 * 2


def test_several_checkpoints_in_one_pass_get_what_each_gets_alone():
    asked, models = requests(3), [MPT(SPEC, seed=seed) for seed in (1, 2)]
    together = engine.score_packed(models, pack(asked, 48, 300))
    for model, found in zip(models, together, strict=True):
        assert np.array_equal(found.logliks, engine.score_requests(model, asked, 48, batch_tokens=300).logliks)


def test_a_row_is_a_tree_and_what_several_begin_with_is_fed_and_judged_once():
    context = np.arange(20)
    asked = Requests(
        contexts=(context,) * 4, continuations=tuple(map(np.array, ([1, 2, 3], [1, 2, 4], [1, 5], [1, 2, 3, 9])))
    )
    (batch,) = pack(asked, 48, 300).batches
    assert batch.ids.tolist() == [[*range(20), 1, 2, 3]]  # [1, 2] and [1] begin it
    assert len(batch.rows) == 1 + 3 and len(batch.at) == 12  # after the context, 1, 1 2 and 1 2 3
    fork = Requests(contexts=(context,) * 3, continuations=tuple(map(np.array, ([7, 2, 3], [1, 2, 4], [1, 5, 6]))))
    (batch,) = pack(fork, 48, 300).batches
    assert batch.ids[0, 20:].tolist() == [1, 2, 5, 7, 2] and batch.depths[0, 20:].tolist() == [20, 21, 21, 20, 21]
    assert batch.ends[0, 19:].tolist() == [25, 23, 22, 23, 25, 25]  # what follows from each ends there


def test_strangers_get_rows_of_their_own_and_a_row_has_an_end(monkeypatch):
    start, rng = np.array([256]), np.random.default_rng(0)
    strangers = Requests(contexts=(start,) * 3, continuations=tuple(rng.integers(0, 250, (3, 30))))
    assert pack(strangers, 48, 300).batches[0].ids.shape == (3, 30)
    monkeypatch.setattr(packing, "LONGEST_ROW", 10)
    choices = Requests(contexts=(np.arange(30),) * 9, continuations=tuple(np.array([i, 1, 2, 3]) for i in range(9)))
    assert max(b.ids.shape[1] for b in pack(choices, 48, 300).batches) <= 40  # the context and ten
    texts = tuple(np.full(2048, i) for i in range(4))
    wide = Requests(contexts=(start,) * 4, continuations=texts)
    assert [len(b.ids) for b in pack(wide, 4096, 4 * 2048).batches] == [2, 2]  # four by their ids, two by their mask


def test_a_judge_tells_log_softmax_and_the_likeliest():
    rng = torch.Generator().manual_seed(0)
    x, wte = torch.randn(7, 8, generator=rng), torch.randn(1300, 8, generator=rng)
    at, targets = torch.tensor([6, 0, 0, 3, 3]), torch.tensor([1299, 0, 5, 700, 512])
    whole = torch.log_softmax(x @ wte.T * 0.5, 1)
    found, is_top = judge(x, wte, at, targets, scale=0.5)
    assert torch.allclose(found, whole[at, targets], atol=1e-5)
    best = whole.argmax(1)
    assert judge(x, wte, torch.arange(7), best, scale=0.5)[1].all() and not is_top.any()
    wide = torch.cat([wte] * 4)  # more words than one tile has
    whole = torch.log_softmax(x @ wide.T, 1)
    assert torch.allclose(judge(x, wide, at, targets)[0], whole[at, targets], atol=1e-5)
    far = judge(x * 100, wte, at, targets)[0]  # logits out of the range of a power
    assert torch.allclose(far, torch.log_softmax(100 * x @ wte.T, 1)[at, targets], rtol=1e-5)


def test_a_continuation_longer_than_the_window_is_scored_whole_and_counted():
    model, ids = MPT(SPEC, seed=2), np.random.default_rng(0).integers(0, 257, 100)
    found = engine.score_requests(model, Requests(contexts=(np.array([256]),), continuations=(ids,)), 48)
    whole = np.concatenate([[256], ids])
    pieces = [token_logprobs(model, whole[None, :49])[0], token_logprobs(model, whole[None, 48:97])[0]]
    pieces.append(token_logprobs(model, whole[None, 52:])[0, -4:])
    assert found.logliks[0] == pytest.approx(sum(p.sum() for p in pieces), abs=1e-3) and found.truncated[0]


def test_greedy_is_told():
    model = MPT(SPEC, seed=3)
    context = np.arange(10)
    best = int(model(torch.from_numpy(context)[None])[0, -1].argmax())
    asked = Requests(contexts=(context,) * 2, continuations=(np.array([best]), np.array([(best + 1) % 257])))
    assert engine.score_requests(model, asked, 48).greedy.tolist() == [True, False]


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_a_nan_model_gets_no_number_on_any_task_and_a_constant_one_its_share(tmp_path, kind):
    rows = {
        "language_modeling": {"context": "c", "continuation": "x"},
        "multiple_choice": MC,
        "schema": {"context_options": ["a", "b"], "continuation": "x", "gold": 0},
        "generation_task_with_answers": {"context": "c", "answer": "1", "aliases": ["one"]},
        "pairs": {"sentence_good": "ab", "sentence_bad": "ba", "UID": "u"},
        "documents": {"text": "a text"},
        "code_evaluation": {"prompt": "def f():", "canonical_solution": " return 1"},
        "olmes": {"doc_id": 0, "idx": 0, "label": 0, "request": {"context": "c", "continuation": " a"}},
    }
    write(tmp_path / "t.jsonl", rows[kind])
    task = suites.render(spec(icl_task_type=kind), "s", [tmp_path])
    asked = tokenise(task, Bytes(), "x")
    model = MPT(SPEC)
    model.transformer.wte.weight.data.fill_(float("nan"))
    items = marking.item_rows(task, asked, engine.score_requests(model, asked, 48), 1, 1, "x")
    scores = marking.score_rows(task, items, final=True, seconds=0.0, fed=0)
    assert scores and all(s["value"] is None and s["detail"]["status"] == "diverged" for s in scores)
    model.transformer.wte.weight.data.fill_(0.0)
    items = marking.item_rows(task, asked, engine.score_requests(model, asked, 48), 1, 1, "x")
    told = {s["metric"]: s["value"] for s in marking.score_rows(task, items, final=True, seconds=0.0, fed=0)}
    if kind in ("multiple_choice", "schema", "pairs"):
        assert told["acc"] == told["acc_char"] == told["acc_token"] == 0.5


def test_requests_are_tokenised_once_and_a_damaged_file_again(tmp_path):
    write(tmp_path / "t.jsonl", MC)
    task = suites.render(spec(), "s", [tmp_path])
    first = tokenise(task, Bytes(), "tok", tmp_path)
    (kept,) = tmp_path.glob("*.npz")

    class Never(Bytes):
        def encode(self, texts):
            raise AssertionError("tokenised twice")

    again = tokenise(task, Never(), "tok", tmp_path)
    assert all((a == b).all() for a, b in zip(first.continuations, again.continuations, strict=True))
    kept.write_bytes(b"torn")
    assert len(tokenise(task, Bytes(), "tok", tmp_path).contexts) == 2


def test_a_context_keeps_its_length_where_the_border_merges():
    """lm-eval's rule: the continuation is what encode(whole) holds beyond len(encode(context))."""

    class Merging(Bytes):
        splits_at_spaces = False

        def encode(self, texts):
            return [np.array([7] * (len(t) // 2) + [8] * (len(t) % 2)) for t in texts]

    asked = encode_pairs([("abc", "de"), ("", "de")], Merging())
    assert asked.contexts[0].tolist() == [7, 8] and asked.continuations[0].tolist() == [8]
    assert asked.contexts[1].tolist() == [256] and asked.continuations[1].tolist() == [7]


def test_a_continuation_that_begins_a_word_is_encoded_alone_with_the_same_ids(tmp_path):
    rng = np.random.default_rng(0)
    parts = [
        "ab",
        "abc",
        "don't",
        "12",
        "3.4",
        "\u00e9t\u00e9",
        "e\u0301",
        "\u4f60\u597d",
        "?!",
        "  ",
        "\n",
        "\t",
        "'s",
        "x\u00a0y",
        "-",
    ]
    text = lambda n: "".join(str(rng.choice(parts)) + " " * int(rng.integers(0, 2)) for _ in range(n))  # noqa: E731
    spec = TokenizerSpec(kind="bpe", vocab_size=300)
    facts = tokenizer.build_tokenizer(spec, lambda: iter([text(50) for _ in range(40)]), tmp_path, tmp_path)
    write_json(tmp_path / "manifest.json", facts)
    words = tokenizer.load(tmp_path)
    pairs = [(text(int(n)), str(rng.choice(["", " ", "  "])) + text(3)) for n in rng.integers(0, 9, 400)]
    found = encode_pairs(pairs, words)
    alone = 0
    for (context, continuation), ids, after in zip(pairs, found.contexts, found.continuations, strict=True):
        kept = context.rstrip()
        moved = context[len(kept) :] + continuation
        whole, before = (words.encode([t])[0] for t in (kept + moved, kept))
        assert after.tolist() == whole[len(before) :].tolist() and (not kept or ids.tolist() == before.tolist())
        alone += bool(kept) and moved[0] == " " and not moved[1].isspace()
    assert alone > 50
