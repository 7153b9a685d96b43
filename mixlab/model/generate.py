"""Continues prompts with one model or several of one shape, all in one batch. Reads and writes nothing."""

# K models, B prompts (rows: of each model), R of them drawn, T tokens fed at once, S tokens so far, V vocab

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mixlab.errors import ConfigError
from mixlab.model.mpt import MPT, Cache
from mixlab.seeds import seed_of

PADDING, TEXT = 0, 1  # "documents" of a row: padding on the left must not be seen by the text


Feed = Callable[[Tensor, Tensor | None, Cache], Tensor]
"""(ids (rows, T), documents (B, S), what was fed before) -> logits (rows, V) of the next token, on the CPU."""


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
    return generate_each([model], prompts, max_new_tokens, temperature, seed, stop_id, use_cache=use_cache)[0]


@torch.inference_mode()  # a sixth faster than no_grad: its operations are many and small
def generate_each(
    models: Sequence[MPT],
    prompts: Sequence[np.ndarray],
    max_new_tokens: int,
    temperature: float | Sequence[float],
    seed: int | Sequence[int],
    stop_id: int | None,
    *,
    use_cache: bool = True,
) -> list[list[np.ndarray]]:
    """For each model what `generate` says of it alone; their prompts go through as one batch.

    Several models need one shape and device, and are fed as one with stacked weights: ConfigError for others.
    """
    if any(len(p) == 0 for p in prompts):
        raise ConfigError("a prompt without tokens cannot be continued: start it with the end-of-text token.")
    if not prompts or max_new_tokens < 1:
        return [[np.zeros(0, np.int64) for _ in prompts] for _ in models]
    were_training = [model.training for model in models]
    for model in models:
        model.eval()
    feed = _alone(models[0]) if len(models) == 1 else _together(models)
    ids_BS, docs_BS = _pad_left(prompts)
    is_padded = len({len(p) for p in prompts}) > 1
    seeds = [seed] * len(prompts) if isinstance(seed, int) else seed
    heats = [temperature] * len(prompts) if isinstance(temperature, int | float) else temperature
    rows = [(heats[b], seeds[b], prompts[b]) for _ in models for b in range(len(prompts))]
    drawn = [r for r, (heat, _, _) in enumerate(rows) if heat]
    heat_R1 = torch.tensor([rows[r][0] for r in drawn], dtype=torch.float64)[:, None]
    rngs = [_generator(*rows[r][1:]) for r in drawn]
    ids = ids_BS.repeat(len(models), 1)
    is_done = torch.zeros(len(rows), dtype=torch.bool)
    cache: Cache = []
    for _ in range(max_new_tokens):
        if not use_cache:
            cache = []
        fed = cache[0][0].shape[-2] if cache else 0
        logits = feed(ids[:, fed:], docs_BS if is_padded else None, cache)
        following = logits.argmax(1)
        if drawn:
            following[drawn] = _draw(logits[drawn].double() / heat_R1, rngs)
        ids = torch.cat((ids, following[:, None]), 1)
        docs_BS = torch.cat((docs_BS, docs_BS[:, -1:]), 1)
        is_done |= following == (-1 if stop_id is None else stop_id)
        if is_done.all():
            break
    for model, was_training in zip(models, were_training, strict=True):
        model.train(was_training)
    new = [_until(row, stop_id) for row in ids[:, max(map(len, prompts)) :].numpy()]
    return [new[k * len(prompts) : (k + 1) * len(prompts)] for k in range(len(models))]


def _alone(model: MPT) -> Feed:
    """One model's next logits."""

    def feed(ids_BT: Tensor, docs_BS: Tensor | None, cache: Cache) -> Tensor:
        docs = None if docs_BS is None else docs_BS.to(model.device)
        return model.logits(model.hidden(ids_BT.to(model.device), docs, cache)[:, -1:])[:, 0].cpu()

    return feed


def _together(models: Sequence[MPT]) -> Feed:
    """The next logits of several models of one shape, their weights stacked along a leading axis."""
    first = models[0]
    if any(model.spec != first.spec or model.device != first.device for model in models):
        raise ConfigError("models write together only if they have one shape and are on one device.")
    whole = _Next(first)
    weights = {n: torch.stack([m.get_parameter(n[6:]).detach() for m in models]) for n, _ in whole.named_parameters()}

    def one(own: dict[str, Tensor], ids_BT: Tensor, docs: Tensor | None, before: Cache) -> tuple[Tensor, Cache]:
        return torch.func.functional_call(whole, own, (ids_BT, docs, before))

    each = torch.func.vmap(one, in_dims=(0, 0, None, 0))

    def feed(ids: Tensor, docs_BS: Tensor | None, cache: Cache) -> Tensor:
        docs = None if docs_BS is None else docs_BS.to(first.device)
        ids_KBT = ids.to(first.device).reshape(len(models), -1, ids.shape[1])
        logits_KBV, cache[:] = each(weights, ids_KBT, docs, cache)
        return logits_KBV.flatten(0, 1).cpu()

    return feed


class _Next(nn.Module):
    """A model that gives the next logits and what to remember: one set of weights is put into it at a time."""

    def __init__(self, model: MPT):
        super().__init__()
        self.model = model

    def forward(self, ids_BT: Tensor, docs_BS: Tensor | None, before: Cache) -> tuple[Tensor, Cache]:
        cache = list(before)
        x_BTD = self.model.hidden(ids_BT, docs_BS, cache)
        return self.model.logits(x_BTD[:, -1:])[:, 0], cache


def _pad_left(prompts: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """(ids, documents), both (B, S): prompts end at the same column; padding is a document of its own."""
    longest = max(map(len, prompts))
    ids_BS = torch.zeros(len(prompts), longest, dtype=torch.int64)
    docs_BS = torch.full_like(ids_BS, PADDING)
    for b, prompt in enumerate(prompts):
        ids_BS[b, longest - len(prompt) :] = torch.as_tensor(np.asarray(prompt, dtype=np.int64))
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
    if stop_id is None:
        return tokens
    stops = np.flatnonzero(tokens == stop_id)
    return tokens[: stops[0]] if len(stops) else tokens
