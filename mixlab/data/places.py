"""Where each data stage of a run lands, told before anything is made: the chain of keys from the inputs on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mixlab.data import clean, decontaminate, dedup, evalitems, shards, sources, split, substrings, tokenizer
from mixlab.types import RunSpec
from mixlab.workspace import Workspace, key_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Directories of a spec's data artefacts: known before any of them is made."""

    raw: Mapping[str, Path]
    clean: Mapping[str, Path]
    contamination: Path | None
    """Which evaluation items stand where; None: none are sought."""
    pool: Mapping[str, Path]
    """The documents that are deduplicated: the clean ones, or what decontamination leaves of them."""
    dedup: Path
    kept: Path
    """Who is kept: `dedup`, or the place where repeated spans are cut out."""
    texts: Mapping[str, Path]
    """The documents as they are trained on."""
    split: Path
    tokenizer: Path
    tokens: Mapping[str, Path]


def places(spec: RunSpec, ws: Workspace) -> Places:
    """Where each data stage of `spec` lands. Reads the inputs' fingerprints, nothing more."""
    raw, cleaned, tokens = dict[str, str](), dict[str, str](), dict[str, str]()
    for s in spec.sources:
        raw[s.name] = key_of("raw", sources.VERSION, s, {"fingerprint": sources.fingerprint(s)})
        profile = spec.cleaning.profile_of(s.name)
        cleaned[s.name] = key_of("clean", clean.VERSION, profile, {"raw": raw[s.name]})
    clean_at = {n: ws.artefact("clean", n, k) for n, k in cleaned.items()}
    pool_keys, pool_at, asked, met = cleaned, clean_at, spec.decontamination, None
    if asked.tasks:
        items = evalitems.fingerprint(asked.tasks)
        met = key_of("contamination", decontaminate.VERSION, {"items": items, "min_share": asked.min_share}, cleaned)
        met = ws.artefact("contamination", asked.policy, met)
        if asked.policy != "report":
            pool_at = {n: met / n for n in cleaned}
            pool_keys = {n: f"{met.name}/{k}" for n, k in cleaned.items()}
    pool = key_of("dedup", dedup.VERSION, spec.dedup, pool_keys)
    deduped = ws.artefact("dedup", "pool", pool)
    texts, kept, last = pool_at, deduped, pool
    if spec.spans.min_words is not None:
        last = key_of("spans", substrings.VERSION, spec.spans, {"dedup": pool})
        kept = ws.artefact("spans", "pool", last)
        texts = {n: kept / n for n in pool_at}
    held = key_of("split", split.VERSION, spec.holdout, {"dedup": last})
    learnt = {"split": held} if spec.tokenizer.kind == "bpe" else {"file": tokenizer.fingerprint(spec.tokenizer)}
    words = key_of("tokenizer", tokenizer.VERSION, spec.tokenizer, learnt)
    for s in spec.sources:
        inputs = {"clean": pool_keys[s.name], "split": held, "tok": words}
        tokens[s.name] = key_of("tokens", shards.VERSION, s, inputs)
    return Places(
        raw={n: ws.artefact("raw", n, k) for n, k in raw.items()},
        clean=clean_at,
        contamination=met,
        pool=pool_at,
        dedup=deduped,
        kept=kept,
        texts=texts,
        split=ws.artefact("split", "pool", held),
        tokenizer=ws.artefact("tokenizer", spec.tokenizer.kind, words),
        tokens={n: ws.artefact("tokens", n, k) for n, k in tokens.items()},
    )
