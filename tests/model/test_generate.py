"""Generation: the cache, the neighbours and the length change nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mixlab.errors import ConfigError
from mixlab.model.generate import generate, generate_each
from mixlab.model.mpt import MPT
from mixlab.types import ModelSpec

PROMPTS = [np.array([5]), np.array([1, 2, 3, 4, 9]), np.array([7, 7, 30])]
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> MPT:
    return MPT(ModelSpec(vocab_size=40, d_model=32, n_heads=4, max_seq_len=8), seed=5)


def as_lists(rows: list[np.ndarray]) -> list[list[int]]:
    return [row.tolist() for row in rows]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_cache_changes_no_token_even_beyond_the_training_length(model, temperature):
    with_cache, without = (
        as_lists(generate(model, PROMPTS, 24, temperature, 1, None, use_cache=c)) for c in (True, False)
    )
    assert with_cache == without
    assert [len(row) for row in with_cache] == [24, 24, 24]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_prompt_does_not_see_its_neighbours(model, temperature):
    together = as_lists(generate(model, PROMPTS, 12, temperature, 1, None))
    alone = [as_lists(generate(model, [p], 12, temperature, 1, None))[0] for p in PROMPTS]
    assert together == alone


def test_greedy_and_drawn_answers_share_a_batch(model):
    heats, seeds = [0.0, 0.8, 1.5], [1, 1, 2]
    both = as_lists(generate(model, [PROMPTS[1]] * 3, 12, heats, seeds, None))
    alone = [generate(model, [PROMPTS[1]], 12, h, s, None)[0].tolist() for h, s in zip(heats, seeds, strict=True)]
    assert both == alone


@pytest.mark.parametrize("use_cache", [True, False])
def test_models_that_write_together_write_what_each_writes_alone(model, use_cache):
    models = [model, *(MPT(model.spec, seed=s) for s in (6, 7))]
    heats, seeds = [0.0, 0.8, 0.0], [1, 2, 3]
    together = generate_each(models, PROMPTS, 16, heats, seeds, None, use_cache=use_cache)
    for own, found in zip(models, together, strict=True):
        assert as_lists(found) == as_lists(generate(own, PROMPTS, 16, heats, seeds, None))
    with pytest.raises(ConfigError, match="one shape"):
        generate_each([model, MPT(replace(model.spec, n_layers=1))], PROMPTS, 4, 0.0, 0, None)


def test_greedy_takes_the_likeliest_token(model):
    expected = PROMPTS[1].tolist()
    for _ in range(6):
        expected.append(int(model(torch.tensor([expected]))[0, -1].argmax()))
    assert generate(model, [PROMPTS[1]], 6, 0.0, 0, None)[0].tolist() == expected[5:]


def test_samples_depend_on_the_seed_and_follow_the_distribution(model):
    assert as_lists(generate(model, PROMPTS, 12, 1.0, 1, None)) != as_lists(generate(model, PROMPTS, 12, 1.0, 2, None))
    drawn = [generate(model, [PROMPTS[2]], 1, 1.0, seed, None)[0][0] for seed in range(400)]
    p = torch.softmax(model(torch.tensor(PROMPTS[2])[None])[0, -1], 0).tolist()
    top = int(np.argmax(p))
    assert np.mean(np.array(drawn) == top) == pytest.approx(p[top], abs=4 * (p[top] / 400) ** 0.5)


def test_it_stops_before_the_stop_token(model):
    row = generate(model, [PROMPTS[0]], 10, 0.0, 0, None)[0]
    stop = int(row[4])
    first = row.tolist().index(stop)
    assert generate(model, [PROMPTS[0]], 10, 0.0, 0, stop)[0].tolist() == row[:first].tolist()


def test_an_empty_prompt_is_refused(model):
    with pytest.raises(ConfigError, match="end-of-text"):
        generate(model, [np.zeros(0, np.int64)], 3, 0.0, 0, None)
