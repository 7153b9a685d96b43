"""Our log-likelihoods against lm-evaluation-harness on an exported model; needs the extra `lm-eval`."""

import numpy as np
import pytest

pytest.importorskip("lm_eval", reason="pip install 'mixlab[lm-eval]' to compare with lm-evaluation-harness")
pytestmark = pytest.mark.filterwarnings("default")  # its imports warn


def test_log_likelihoods_agree_with_lm_eval_to_1e4_per_request(tmp_path, monkeypatch):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from mixlab.data import tokenizer
    from mixlab.eval import engine
    from mixlab.eval.requests import encode_pairs
    from mixlab.model.export import export_hf
    from mixlab.model.mpt import MPT
    from mixlab.types import ModelSpec, TokenizerSpec
    from mixlab.workspace import write_json

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rng = np.random.default_rng(0)
    lexicon = ["".join(rng.choice(list("abcdefghij"), rng.integers(2, 7))) for _ in range(200)]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    made.train_from_iterator([" ".join(rng.choice(lexicon, 50)) for _ in range(50)], trainer)
    made.save(str(tmp_path / "given.json"))
    words = tmp_path / "words"
    words.mkdir()
    spec = TokenizerSpec(kind="file", path=str(tmp_path / "given.json"))
    write_json(words / "manifest.json", tokenizer.build_tokenizer(spec, lambda: iter(()), words, tmp_path))
    codec = tokenizer.load(words)
    model = MPT(ModelSpec(d_model=32, n_heads=2, n_layers=2, max_seq_len=32, vocab_size=codec.vocab_size), seed=1)
    export_hf(model, tmp_path / "hf", tokenizer.portable(words, 32))

    def text(n):
        return " ".join(rng.choice(lexicon, n))

    pairs = []
    for n in (0, 1, 5, 12, 40):  # 40 words are over-length
        for _ in range(4):
            context = text(n)
            pairs += [(context, (" " if context else "") + text(k)) for k in (1, 3)]
    pairs.append(("ends in space ", "x" + text(2)))
    asked = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=i) for i, pair in enumerate(pairs)]
    lm = HFLM(pretrained=str(tmp_path / "hf"), dtype="float32", device="cpu", batch_size=4, max_length=32)
    theirs = lm.loglikelihood(asked, disable_tqdm=True)
    ours = engine.score_requests(model, encode_pairs(pairs, codec), 32)
    assert ours.truncated.any()
    assert np.abs(ours.logliks - [ll for ll, _ in theirs]).max() < 1e-4
    assert ours.greedy.tolist() == [greedy for _, greedy in theirs]
