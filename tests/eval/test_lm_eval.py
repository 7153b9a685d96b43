"""Our log-likelihoods against lm-evaluation-harness on an exported model; needs the extra `lm-eval`."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lm_eval", reason="pip install 'mixlab[lm-eval]' to compare with lm-evaluation-harness")
pytestmark = pytest.mark.filterwarnings("default")  # its imports warn


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model, its tokenizer, both as a Hugging Face folder, and a maker of text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from mixlab.data import tokenizer
    from mixlab.model.export import export_hf
    from mixlab.model.mpt import MPT
    from mixlab.types import ModelSpec, TokenizerSpec
    from mixlab.workspace import write_json

    folder, rng = tmp_path_factory.mktemp("exported"), np.random.default_rng(0)
    lexicon = ["".join(rng.choice(list("abcdefghij"), rng.integers(2, 7))) for _ in range(200)]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    made.train_from_iterator([" ".join(rng.choice(lexicon, 50)) for _ in range(50)], trainer)
    made.save(str(folder / "given.json"))
    words = folder / "words"
    words.mkdir()
    spec = TokenizerSpec(kind="file", path=str(folder / "given.json"))
    write_json(words / "manifest.json", tokenizer.build_tokenizer(spec, lambda: iter(()), words, folder))
    codec = tokenizer.load(words)
    model = MPT(ModelSpec(d_model=32, n_heads=2, n_layers=2, max_seq_len=32, vocab_size=codec.vocab_size), seed=1)
    export_hf(model, folder / "hf", tokenizer.portable(words, 32))

    def text(n):
        return " ".join(rng.choice(lexicon, n))

    return model, codec, folder / "hf", text


def test_log_likelihoods_agree_with_lm_eval_to_1e4_per_request(exported, monkeypatch):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from mixlab.eval import engine
    from mixlab.eval.requests import encode_pairs

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model, codec, folder, text = exported
    pairs = []
    for n in (0, 1, 5, 12, 40):  # 40 words are over-length
        for _ in range(4):
            context = text(n)
            pairs += [(context, (" " if context else "") + text(k)) for k in (1, 3)]
    pairs.append(("ends in space ", "x" + text(2)))
    asked = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=i) for i, pair in enumerate(pairs)]
    lm = HFLM(pretrained=str(folder), dtype="float32", device="cpu", batch_size=4, max_length=32)
    theirs = lm.loglikelihood(asked, disable_tqdm=True)
    ours = engine.score_requests(model, encode_pairs(pairs, codec), 32)
    assert ours.truncated.any()
    assert np.abs(ours.logliks - [ll for ll, _ in theirs]).max() < 1e-4
    assert ours.greedy.tolist() == [greedy for _, greedy in theirs]


def test_the_recipe_of_the_docs_runs_offline_and_says_the_same(exported, tmp_path):
    from mixlab.eval import engine, suites
    from mixlab.eval.requests import tokenise

    model, codec, folder, text = exported
    docs = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```yaml\n(task: mixlab_arc_easy\n.*?)^```$", docs, re.MULTILINE | re.DOTALL)
    (command,) = re.findall(r"^lm-eval run .*?--output_path out$", docs, re.MULTILINE | re.DOTALL)
    rows = [{"query": text(4), "choices": [text(k) for k in (1, 2, 4)], "gold": i % 3} for i in range(8)]
    (tmp_path / "arc_easy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "yamls").mkdir()
    path = str(tmp_path / "arc_easy.jsonl")
    (tmp_path / "yamls" / "arc_easy.yaml").write_text(recipe.replace("/tasks/arc_easy/arc_easy.jsonl", path))
    words = shlex.split(command.replace("\\\n", " ").replace("pretrained=exported", f"pretrained={folder}"))
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-m", "lm_eval", *words[1:]], cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    told = [json.loads(line) for line in samples.read_text(encoding="utf-8").split("\n") if line]
    theirs = [float(ll) for row in sorted(told, key=lambda r: r["doc_id"]) for ((ll, _),) in row["resps"]]
    (spec,) = [s for s in suites.read_specs(suites.PACKAGED / "full.yaml") if s.label == "arc_easy"]
    task = suites.render(replace(spec, dataset_uri="arc_easy.jsonl"), "s", [tmp_path])
    ours = engine.score_requests(model, tokenise(task, codec, "x"), 32)
    assert np.abs(ours.logliks - theirs).max() < 1e-4
