"""What numbers a setting may have: those that no run can be made of are refused by name, before anything is spent.

Reads and writes nothing. What depends on data (epochs, weights, vocabularies) is refused where that is known.
"""

from collections.abc import Callable

from mixlab.errors import ConfigError
from mixlab.types import RunSpec

Number = int | float


def check(spec: RunSpec) -> None:
    """ConfigError for the first setting of `spec` that is out of its bounds, or at odds with another."""
    for names, must, holds in BOUNDS:
        for path in names.split():
            section, _, name = path.partition(".")
            value: tuple[float, ...] | float | str | None = getattr(getattr(spec, section), name)
            numbers = [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, int | float)]
            if not all(map(holds, numbers)):
                shown = list(value) if isinstance(value, tuple) else value
                raise ConfigError(f"{path}={shown} is not possible: it must be {must}.")
    model, train = spec.model, spec.train
    if model.init_from is None and model.d_model % model.n_heads:
        raise ConfigError(f"model.d_model={model.d_model} does not divide into model.n_heads={model.n_heads} heads.")
    if train.batch_tokens < model.max_seq_len:
        raise ConfigError(
            f"train.batch_tokens={train.batch_tokens} is less than one sequence: raise it to model.max_seq_len="
            f"{model.max_seq_len}, or shorten that."
        )
    if train.micro_batch_tokens is not None and train.micro_batch_tokens < model.max_seq_len:
        raise ConfigError(
            f"train.micro_batch_tokens={train.micro_batch_tokens} is less than one sequence ({model.max_seq_len})."
        )


BOUNDS: tuple[tuple[str, str, Callable[[Number], bool]], ...] = (
    (
        "model.d_model model.n_heads model.n_layers model.expansion_ratio model.max_seq_len model.alibi_bias_max "
        "train.tokens train.threads train.keep_checkpoints train.save_every_tokens evals.every_tokens "
        "evals.live_tokens evals.final_tokens",
        "at least 1",
        lambda v: v >= 1,
    ),
    ("model.norm_eps model.clip_qkv train.max_epochs", "above 0", lambda v: v > 0),
    (
        "train.lr train.lr_final_frac train.warmup_tokens train.weight_decay train.grad_clip train.z_loss "
        "evals.sample_tokens evals.temperature evals.unprompted",
        "0 or more",
        lambda v: v >= 0,
    ),
    ("train.betas train.ema model.resid_pdrop", "from 0 up to, but not, 1", lambda v: 0 <= v < 1),
    ("model.alibi", "true: without ALiBi this model would not know any position", bool),
    ("holdout.frac holdout.max_overlap", "from 0 to 1", lambda v: 0 <= v <= 1),
)
"""(settings, what each must be, whether a number is that). A setting that is None or a word has no bounds."""
