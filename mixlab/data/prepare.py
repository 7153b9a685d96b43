"""From sources to corpora: raw → clean → without evaluation items → dedup → without repeats → hold-out → tokens.

Each function goes one stage further than the one below it and returns the places of all artefacts; what exists already
is not made again.
"""

import functools
from collections.abc import Callable
from pathlib import Path

from mixlab.data import clean, decontaminate, dedup, shards, sources, split, substrings, tokenizer
from mixlab.data.places import Places, places
from mixlab.errors import SourceError
from mixlab.types import Corpus, RunSpec
from mixlab.workspace import Workspace, build, read_manifest

Watch = Callable[[str, int, int], None]
"""Told of progress: (stage and source, done, total)."""


def prepare(spec: RunSpec, ws: Workspace, watch: Watch | None = None) -> dict[str, Corpus]:
    """Corpora ready to train on, by source name in alphabetical order: raw → clean → dedup → hold-out → tokens."""
    at = without_repeats(spec, ws, watch)
    build(at.split, lambda out: split.split_pool(at.texts, at.kept, spec.holdout, out), [at.kept])
    texts = functools.partial(tokenizer.training_texts, at.texts, at.kept, at.split, spec.tokenizer)
    learnt_from = [at.split] if spec.tokenizer.kind == "bpe" else []
    build(at.tokenizer, lambda out: tokenizer.build_tokenizer(spec.tokenizer, texts, out, ws.downloads), learnt_from)
    for s in spec.sources:
        build(
            at.tokens[s.name],
            lambda out, s=s: shards.write_tokens(
                s,
                at.clean[s.name],
                at.kept,
                at.split,
                at.tokenizer,
                out,
                _told(watch, f"tokenise {s.name}"),
                texts=at.texts[s.name],
                lost=_lost(at, s.name),
            ),
            [at.clean[s.name], at.kept, at.split, at.tokenizer],
        )
    return {n: shards.open_corpus(at.tokens[n]) for n in sorted(at.tokens)}


def without_repeats(spec: RunSpec, ws: Workspace, watch: Watch | None = None) -> Places:
    """Places of a spec whose sources are deduplicated and, if it asks so, freed of repeated spans."""
    at, asked = deduplicate(spec, ws, watch), spec.spans.min_words
    if asked is not None:
        cut = functools.partial(substrings.cut_repeats, at.pool, min_words=asked, dedup=at.dedup)
        build(at.kept, lambda out: cut(out, priority=spec.dedup.priority), [at.dedup])
    return at


def deduplicate(spec: RunSpec, ws: Workspace, watch: Watch | None = None) -> Places:
    """Places of a spec whose sources are read, cleaned and deduplicated."""
    at = decontaminated(spec, ws, watch)
    progress = _told(watch, "dedup")
    build(at.dedup, lambda out: dedup.dedup_pool(at.pool, spec.dedup, out, progress, shards=ws.signatures), _pool(at))
    return at


def decontaminated(spec: RunSpec, ws: Workspace, watch: Watch | None = None) -> Places:
    """Places of a spec in whose cleaned sources evaluation items were sought, and dealt with as it says."""
    at, asked = cleaned(spec, ws, watch), spec.decontamination
    if at.contamination is not None:
        progress = _told(watch, "contamination")
        build(
            at.contamination,
            lambda out: decontaminate.decontaminate_pool(at.clean, asked, out, progress),
            at.clean.values(),
        )
    return at


def cleaned(spec: RunSpec, ws: Workspace, watch: Watch | None = None) -> Places:
    """Places of a spec whose sources are read and cleaned."""
    at = places(spec, ws)
    for s in spec.sources:
        build(at.raw[s.name], lambda out, s=s: sources.write_raw(s, ws.downloads, out, _told(watch, f"read {s.name}")))
        profile = spec.cleaning.profile_of(s.name)
        raw = at.raw[s.name]
        kept = build(
            at.clean[s.name],
            lambda out, r=raw, p=profile, n=s.name: clean.clean_source(r, p, out, _told(watch, f"clean {n}")),
            [raw],
        )
        if not kept["docs"]:
            reasons = ", ".join(f"{why} {n:,}" for why, n in sorted(kept["dropped"].items(), key=lambda kv: -kv[1]))
            raise SourceError(
                f"nothing is left of source '{s.name}' after cleaning by {profile}: all {kept['docs_in']:,} documents "
                f"were dropped ({reasons}). Choose a looser profile: +cleaning.per_source.{s.name}=none, for instance."
            )
    return at


def _pool(at: Places) -> list[Path]:
    """The artefacts whose documents are deduplicated."""
    if at.contamination is not None and at.pool is not at.clean:
        return [at.contamination]
    return list(at.clean.values())


def _lost(at: Places, source: str) -> dict[str, int]:
    """Documents of a source that went between cleaning and tokens for other reasons than dedup and hold-out."""
    lost = dict[str, int]()
    if at.contamination is not None and at.pool is not at.clean:
        lost["evaluation-items"] = read_manifest(at.contamination)["sources"][source]["dropped"]
    if at.kept != at.dedup:
        lost["repeated-spans"] = read_manifest(at.kept)["sources"][source]["emptied"]
    return lost


def _told(watch: Watch | None, what: str) -> Callable[[int, int], None] | None:
    return functools.partial(watch, what) if watch else None
