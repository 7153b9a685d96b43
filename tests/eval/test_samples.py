import numpy as np

from mixlab.eval.samples import answers, distinct, repetition, sample
from mixlab.types import EvalSpec


class Letters:
    end_of_text_id = 0

    def encode(self, texts):
        return [np.array([ord(c) for c in text], np.int32) for text in texts]

    def decode(self, ids):
        return "".join(chr(i) for i in ids)


def echo(prompts, max_new_tokens, temperature, seed):
    """Repeats the prompt, then ends the text, then babbles."""
    return [np.concatenate([p[1:], [0], p])[:max_new_tokens] for p in prompts]


def test_a_row_holds_what_was_asked_and_what_came():
    spec = EvalSpec(sample_tokens=8, temperature=0.5)
    greedy, first, _, second = sample(echo, Letters(), ["abc", "abcdefghij"], spec, seed=3)
    assert first == {
        "prompt_id": 0,
        "prompt": "abc",
        "output": "abc",
        "temperature": 0.5,
        "seed": 3,
        "tokens": 3,
        "stopped": True,
        "repetition": None,
        "distinct_2": 1.0,
    }
    assert greedy == {**first, "temperature": 0.0}
    assert second["output"] == "abcdefgh" and not second["stopped"] and second["prompt_id"] == 1
    assert len(sample(echo, Letters(), ["abc"], EvalSpec(temperature=0.0), seed=3)) == 1


def test_written_tokens_get_their_log_probabilities_whatever_their_neighbours():
    def ramp(ids_BT):  # log p depends on the token and its place alone
        return -(ids_BT[:, 1:] + np.arange(ids_BT.shape[1] - 1) / 1000)

    told = answers(echo, Letters(), ["a", "bcd", ""], [0.0] * 3, [0] * 3, 8, ramp)
    assert [row["logprobs"] for row in told] == [[-97.001], [-98.003, -99.004, -100.005], []]
    assert told[0]["logprob"] == -97.001 and told[2]["logprob"] is None


def test_prompts_follow_an_end_of_text_as_documents_do():
    seen = []
    sample(lambda p, *rest: seen.extend(p) or echo(p, *rest), Letters(), ["hi"], EvalSpec(), seed=0)
    assert seen[0].tolist() == [0, ord("h"), ord("i")]


def test_no_prompts_ask_nothing():
    assert sample(None, Letters(), [], EvalSpec(), seed=0) == []


def test_a_loop_is_seen():
    assert repetition([1, 2] * 20) > 0.9 and distinct([1, 2] * 20) < 0.1
    assert repetition(list(range(9))) == 0.0
    assert repetition([1, 2]) is None and distinct([1]) is None
