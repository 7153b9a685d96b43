"""Continues prompts with a model, all of them in one batch. Reads and writes nothing."""

# B prompts, R of them drawn, T tokens fed at once, S tokens so far, V vocab

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mixlab.errors import ConfigError
from mixlab.model.mpt import MPT, Cache
from mixlab.seeds import seed_of

PADDING, TEXT = 0, 1  # "documents" of a row: padding on the left must not be seen by the text


@torch.inference_mode()  # a sixth faster than no_grad: its operations are many and small
def generate(
    model: MPT,
    prompts: Sequence[np.ndarray],
    max_new_tokens: int,
    temperature: float | Sequence[float],
    seed: int | Sequence[int],
    stop_id: int | None,
    *,
    use_cache: bool = True,
) -> list[np.ndarray]:
    """The new tokens of each prompt (int64, without `stop_id`), up to max_new_tokens.

    Temperature 0 takes the likeliest token (the lowest id of equals). Above, the draws depend on (seed, the prompt's
    tokens) and not on its neighbours in the batch, nor on the cache. One temperature and seed for all, or one each.
    Uses the reference attention, whatever model.attn_impl is. Sequences may outgrow max_seq_len: ALiBi goes on. Raises
    ConfigError for an empty prompt.
    """
    if any(len(p) == 0 for p in prompts):
        raise ConfigError("a prompt without tokens cannot be continued: start it with the end-of-text token.")
    if not prompts or max_new_tokens < 1:
        return [np.zeros(0, np.int64) for _ in prompts]
    was_training = model.training
    model.eval()
    ids_BS, docs_BS = _pad_left(prompts)
    is_padded = len({len(p) for p in prompts}) > 1
    seeds = [seed] * len(prompts) if isinstance(seed, int) else seed
    heats = [temperature] * len(prompts) if isinstance(temperature, int | float) else temperature
    drawn = [b for b, heat in enumerate(heats) if heat]
    heat_R1 = torch.tensor([heats[b] for b in drawn], dtype=torch.float64)[:, None]
    rngs = [_generator(seeds[b], prompts[b]) for b in drawn]
    is_done_B = torch.zeros(len(prompts), dtype=torch.bool)
    cache: Cache = []
    for _ in range(max_new_tokens):
        if not use_cache:
            cache = []
        fed = cache[0][0].shape[2] if cache else 0
        docs = docs_BS.to(model.device) if is_padded else None
        x_BTD = model.hidden(ids_BS[:, fed:].to(model.device), docs, cache)
        logits_BV = model.logits(x_BTD[:, -1:])[:, 0].cpu()
        next_B = logits_BV.argmax(1)
        if drawn:
            next_B[drawn] = _draw(logits_BV[drawn].double() / heat_R1, rngs)
        ids_BS = torch.cat((ids_BS, next_B[:, None]), 1)
        docs_BS = torch.cat((docs_BS, docs_BS[:, -1:]), 1)
        is_done_B |= next_B == (-1 if stop_id is None else stop_id)
        if is_done_B.all():
            break
    model.train(was_training)
    longest = max(map(len, prompts))
    return [_until(row, stop_id) for row in ids_BS[:, longest:].numpy()]


def _pad_left(prompts: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """(ids, documents), both (B, S): prompts end at the same column; padding is a document of its own."""
    longest = max(map(len, prompts))
    ids_BS = torch.zeros(len(prompts), longest, dtype=torch.int64)
    docs_BS = torch.full_like(ids_BS, PADDING)
    for b, prompt in enumerate(prompts):
        ids_BS[b, longest - len(prompt) :] = torch.from_numpy(np.asarray(prompt, dtype=np.int64))
        docs_BS[b, longest - len(prompt) :] = TEXT
    return ids_BS, docs_BS


def _draw(logits_RV: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
    """A token for each row (R,): one uniform number per row and step, put through the cumulative distribution."""
    cumulative_RV = torch.softmax(logits_RV, 1).cumsum(1)
    draws_R1 = torch.stack([torch.rand(1, generator=g, dtype=torch.float64) for g in rngs])
    picked_R = torch.searchsorted(cumulative_RV, draws_R1 * cumulative_RV[:, -1:], right=True)[:, 0]
    return picked_R.clamp(max=logits_RV.shape[1] - 1)


def _generator(seed: int, prompt: np.ndarray) -> torch.Generator:
    """The draws of one prompt."""
    name = hashlib.sha256(np.asarray(prompt, dtype="<i8").tobytes()).hexdigest()
    return torch.Generator().manual_seed(seed_of(seed, "sample", name))


def _until(tokens: np.ndarray, stop_id: int | None) -> np.ndarray:
    """The tokens before the first stop."""
    stops = np.flatnonzero(tokens == stop_id) if stop_id is not None else []
    return tokens[: stops[0]] if len(stops) else tokens
