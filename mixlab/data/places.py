"""Where each data stage of a run lands, told before anything is made: the chain of keys from the inputs on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mixlab.data import clean, dedup, shards, sources, split, tokenizer
from mixlab.types import RunSpec
from mixlab.workspace import Workspace, key_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Directories of a spec's data artefacts: known before any of them is made."""

    raw: Mapping[str, Path]
    clean: Mapping[str, Path]
    dedup: Path
    split: Path
    tokenizer: Path
    tokens: Mapping[str, Path]


def places(spec: RunSpec, ws: Workspace) -> Places:
    """Where each data stage of `spec` lands. Reads the inputs' fingerprints, nothing more."""
    raw, cleaned, tokens = {}, {}, {}
    for s in spec.sources:
        raw[s.name] = key_of("raw", sources.VERSION, s, {"fingerprint": sources.fingerprint(s)})
        profile = spec.cleaning.profile_of(s.name)
        cleaned[s.name] = key_of("clean", clean.VERSION, profile, {"raw": raw[s.name]})
    pool = key_of("dedup", dedup.VERSION, spec.dedup, cleaned)
    held = key_of("split", split.VERSION, spec.holdout, {"dedup": pool})
    learnt = {"split": held} if spec.tokenizer.kind == "bpe" else {"file": tokenizer.fingerprint(spec.tokenizer)}
    words = key_of("tokenizer", tokenizer.VERSION, spec.tokenizer, learnt)
    for s in spec.sources:
        tokens[s.name] = key_of("tokens", shards.VERSION, s, {"clean": cleaned[s.name], "split": held, "tok": words})
    return Places(
        raw={n: ws.artefact("raw", n, k) for n, k in raw.items()},
        clean={n: ws.artefact("clean", n, k) for n, k in cleaned.items()},
        dedup=ws.artefact("dedup", "pool", pool),
        split=ws.artefact("split", "pool", held),
        tokenizer=ws.artefact("tokenizer", spec.tokenizer.kind, words),
        tokens={n: ws.artefact("tokens", n, k) for n, k in tokens.items()},
    )
