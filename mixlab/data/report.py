"""What came of a dedup, as one object; and the documents of callers as directories.

Reads keep.parquet and removed.parquet; writes docs-*.parquet where documents came from memory.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mixlab.data.documents import storable, write_docs
from mixlab.errors import SourceError
from mixlab.types import Document


@dataclass(frozen=True, kw_only=True, slots=True)
class DedupReport:
    """What was kept, what was removed because of what, and how far to trust it."""

    keep: pd.DataFrame
    """source, id, cluster, component of each kept document."""
    removed: pd.DataFrame
    """source, id, kept_source, kept_id, jaccard, containment, cluster, exact, reason, shared span, cluster_size."""
    facts: Mapping[str, Any]
    """Counts per source and reason, candidates, the settings."""

    @property
    def alarms(self) -> list[str]:
        """Sentences: a source that loses much, clusters of unlike documents, buckets that overflowed."""
        return list(self.facts["alarms"])

    @property
    def detection(self) -> dict[float, float]:
        """Probability that a pair of a similarity is found: the curve behind the threshold."""
        return {float(s): p for s, p in self.facts["detection"].items()}

    @property
    def planted(self) -> list[dict[str, Any]]:
        """Recall of planted near-duplicates, a row for each share of words edited."""
        return list(self.facts["planted"])

    @property
    def overflow(self) -> dict[str, int]:
        """What was not compared, because too many documents shared a bucket."""
        return dict(self.facts["overflow"])

    @staticmethod
    def read(directory: Path, facts: Mapping[str, Any]) -> "DedupReport":
        """The report of a finished dedup."""
        keep, removed = (pd.read_parquet(directory / f"{name}.parquet") for name in ("keep", "removed"))
        return DedupReport(keep=keep, removed=removed, facts=facts)


def lay_out(
    corpora: Mapping[str, Path | str | Iterable[str | Document | Mapping[str, Any]]], scratch: Path
) -> dict[str, Path]:
    """A directory of documents for each corpus; those that come as documents or texts are written below `scratch`.

    A path without documents is a SourceError: nothing found must never mean nothing read.
    """
    out = dict[str, Path]()
    for name, given in corpora.items():
        if isinstance(given, Path | str):
            out[name] = Path(given)
            if not list(out[name].glob("docs-*.parquet")):
                raise SourceError(
                    f"corpus '{name}': {given} holds no docs-*.parquet. Give a raw or clean directory of the lab, or "
                    "the documents themselves."
                )
        else:
            out[name] = scratch / "corpora" / f"{len(out)}"
            out[name].mkdir(parents=True)
            write_docs(out[name], _documents(name, given))
    return out


def _documents(name: str, given: Iterable[str | Document | Mapping[str, Any]]) -> Iterator[Document]:
    for n, one in enumerate(given):
        if isinstance(one, Document):
            yield replace(one, text=storable(one.text))
        elif isinstance(one, str):
            yield Document(id=str(n), text=storable(one))
        elif isinstance(one, Mapping) and "text" in one:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers hand in anything
            yield Document(id=str(one.get("id", n)), text=storable(one["text"]))
        else:
            raise SourceError(f"corpus '{name}', document {n}: expected a text, a Document or a mapping with 'text'.")
