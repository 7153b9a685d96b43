"""Evaluation items found in sources, and what to do about it: report, drop the documents, or cut the spans.

Reads directories of documents; writes hits.parquet, items.parquet and, unless it only reports, the documents that are
left. An item of 13 words or more is sought by its 13-grams (and, to inform, its 8-grams), a shorter one by its 8-grams,
one of fewer than 8 words by all its words in a row. In each source 20 items are planted, and must be found.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixlab.data import kernels
from mixlab.data.cuts import document, without_words
from mixlab.data.documents import column, read_docs, values, write_docs
from mixlab.data.evalitems import Item, read_tasks
from mixlab.data.itemindex import NGRAMS, Wanted, build, by_pair, joined, matches
from mixlab.errors import ConfigError, SourceError
from mixlab.types import Decontamination, Document

POLICIES = ("report", "drop", "cut")
VERSION = 1
PLANTS = 20
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ContaminationReport:
    """Which items stand in which documents, and what came of it."""

    hits: pd.DataFrame
    """A row per item and document: task, item, source, id, share (of the item's words that are covered by its n-grams),
    query_share, answer_share, share_8, first_word, end_word (where in the document), dirty."""
    items: pd.DataFrame
    """task, item, ngram it is sought by (0: too short to be sought), dirty in any source: splits the scores later."""
    summary: pd.DataFrame
    """Per source and task: items, too_short, met_8, met_13 (an n-gram anywhere), dirty, answered (dirty with its
    answer), docs (that hold dirty items), share (mean over the dirty)."""
    sources: Mapping[str, Mapping[str, int]]
    """Per source: docs_in, docs, dropped, cut, planted (items planted), found (of those)."""
    policy: str

    def facts(self) -> dict[str, Any]:
        """What the manifest tells: counts per source, and per source and task."""
        return {"policy": self.policy, "sources": dict(self.sources), "tasks": self.summary.to_dict("records")}


def decontaminate(
    sources: Mapping[str, Path],
    items: Sequence[Item],
    out: Path,
    policy: str = "report",
    *,
    min_share: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
) -> ContaminationReport:
    """Searches every document of `sources` for `items`; with policy drop or cut writes what is left to `out`/<source>.

    An item is dirty where at least `min_share` of its words, or of its query's words, are covered. Raises SourceError
    for a source without documents, AssertionError if a planted item is not found: nothing found never means not looked.
    """
    if policy not in POLICIES or not 0 < min_share <= 1:
        raise ConfigError(
            f"policy '{policy}', min_share {min_share}: report, drop or cut, and a share above 0 up to 1."
        )
    wanted = build(items)
    out.mkdir(parents=True, exist_ok=True)
    met, hits, facts = dict[str, dict[int, np.ndarray]](), list[tuple[Any, ...]](), dict[str, dict[str, int]]()
    total = len(sources)
    for done, source in enumerate(sorted(sources), start=1):
        search = Search(wanted, min_share)
        left = _left(sources[source], source, search, policy)
        if policy == "report":
            for _ in left:
                pass
        else:
            (out / source).mkdir()
            write_docs(out / source, left)
        if not search.docs_in:
            raise SourceError(
                f"source '{source}': {sources[source]} holds no documents, so nothing could be found there."
            )
        hits += search.hits
        met[source] = search.met
        facts[source] = search.facts()
        logger.info("contamination: %s: %d documents, %d hits", source, search.docs_in, len(search.hits))
        if progress:
            progress(done, total)
    frame = (
        pd.DataFrame(hits, columns=list(HIT))
        .astype(HIT)
        .sort_values(["task", "item", "source", "id"], ignore_index=True)
    )
    report = ContaminationReport(
        hits=frame,
        items=_items(wanted, frame),
        summary=_summary(wanted, frame, met),
        sources=facts,
        policy=policy,
    )
    report.hits.to_parquet(out / "hits.parquet", index=False)
    report.items.to_parquet(out / "items.parquet", index=False)
    return report


def decontaminate_pool(
    clean: Mapping[str, Path],
    spec: Decontamination,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Manifest facts of the items of `spec.tasks` in clean directories; writes what `decontaminate` writes to `out`."""
    items = read_tasks([Path(path) for path in spec.tasks])
    return decontaminate(clean, items, out, spec.policy, min_share=spec.min_share, progress=progress).facts()


HIT = {
    **{"task": "str", "item": "int64", "source": "str", "id": "str"},
    **{"share": "float64", "query_share": "float64", "answer_share": "float64", "share_8": "float64"},
    **{"first_word": "int64", "end_word": "int64", "dirty": "bool"},
}


class Search:
    """One source on its way through the index."""

    def __init__(self, wanted: Wanted, min_share: float) -> None:
        self.wanted = wanted
        self.min_share = min_share
        self.hits: list[tuple[Any, ...]] = []
        self.met: dict[int, np.ndarray] = {n: np.zeros(len(wanted.items), np.bool_) for n in NGRAMS}
        self.docs_in = self.docs = self.dropped = self.cut = self.planted = 0

    def batch(self, source: str, ids: Sequence[str], texts: kernels.Texts) -> dict[int, list[tuple[int, int]]]:
        """Spans of words to cut from the dirty documents of a batch, by position in it; notes the hits."""
        shares, spans = self.look(texts)
        dirty: dict[int, list[tuple[int, int]]] = {}
        for (doc, item), row in shares.items():
            told = self.wanted.items[item]
            places = spans[doc, item]
            self.hits.append((told.task, told.number, source, ids[doc], *row[:4], places[0][0], places[-1][1], row[4]))
            if row[4]:
                dirty.setdefault(doc, []).extend(places)
        return {doc: joined(places) for doc, places in dirty.items()}

    def look(
        self, texts: kernels.Texts
    ) -> tuple[dict[tuple[int, int], tuple[Any, ...]], dict[tuple[int, int], list[Any]]]:
        """Of each (document, item) of note: (share, query share, answer share, share by 8-grams, dirty), and where."""
        wanted, found = self.wanted, dict[tuple[int, int, int], tuple[int, int, np.ndarray]]()
        for n, grams in wanted.grams.items():
            met = matches(texts, n, grams)
            if n in self.met:
                self.met[n][met["item"]] = True
            for key, rows in by_pair(met):
                covered = joined([(p, p + n) for p in rows["place"].tolist()])
                query = int(wanted.query[key[1]])
                inside = sum(min(b, query) - min(a, query) for a, b in covered)
                found[n, *key] = (sum(b - a for a, b in covered), inside, rows["word"])
        shares, spans = dict[tuple[int, int], tuple[Any, ...]](), dict[tuple[int, int], list[Any]]()
        for n, doc, item in found:
            decides = int(wanted.ngram[item])
            if n == decides or (n == 8 and (decides, doc, item) not in found):
                row = self._row(found, doc, item, decides)
                if row[4] or row[3] >= self.min_share:
                    shares[doc, item] = row
                    spans[doc, item] = joined([(w, w + n) for w in found[n, doc, item][2].tolist()])
        return shares, spans

    def _row(self, found: Mapping[Any, Any], doc: int, item: int, decides: int) -> tuple[Any, ...]:
        words, query = int(self.wanted.words[item]), int(self.wanted.query[item])
        covered, inside, _ = found.get((decides, doc, item), (0, 0, None))
        eight = found.get((8, doc, item), (0, 0, None))[0] / words
        share, of_query = covered / words, inside / query if query else 0.0
        of_answer = (covered - inside) / (words - query) if words > query else 0.0
        is_dirty = share >= self.min_share or (query >= decides and of_query >= self.min_share)
        return share, of_query, of_answer, eight, is_dirty

    def plant(self, hosts: Sequence[str]) -> None:
        """Puts 20 items into texts of the source and stops unless the search finds each of them there, whole."""
        fit = np.flatnonzero(self.wanted.ngram)
        chosen: list[int] = fit[np.unique(np.linspace(0, len(fit) - 1, PLANTS).astype(int))].tolist()
        halves = [host[: len(host) // 2] for host in hosts]
        texts = [f"{halves[n % len(halves)]}\n{self.wanted.items[i].text}\nplanted" for n, i in enumerate(chosen)]
        shares, _ = self.look(texts)
        missed = [i for n, i in enumerate(chosen) if shares.get((n, i), (0.0,))[0] < 1]
        if missed:
            told = self.wanted.items[missed[0]]
            raise AssertionError(
                f"the contamination check is blind: {len(missed)} of {len(chosen)} planted items were not found, first "
                f"{told.task}/{told.number}. This is a fault of mixlab, not of the data."
            )
        self.planted = len(chosen)

    def facts(self) -> dict[str, int]:
        """Counts of the source."""
        told = {"docs_in": self.docs_in, "docs": self.docs, "dropped": self.dropped, "cut": self.cut}
        return {**told, "planted": self.planted, "found": self.planted}


def _left(directory: Path, source: str, search: Search, policy: str) -> Iterator[Document]:
    """The documents that stay, as they stay."""
    for batch in read_docs(directory):
        if not search.planted and len(batch):
            met = {n: seen.copy() for n, seen in search.met.items()}
            search.plant(values(batch.slice(0, PLANTS), "text"))
            search.met = met
        dirty = search.batch(source, values(batch, "id"), column(batch, "text"))
        search.docs_in += len(batch)
        if policy == "report":
            search.docs += len(batch)
            continue
        for n, row in enumerate(batch.to_pylist()):
            text = without_words(row["text"], dirty[n]) if n in dirty and policy == "cut" else row["text"]
            if n in dirty and (policy == "drop" or not text.strip()):
                search.dropped += 1
                continue
            search.cut += n in dirty
            search.docs += 1
            yield document(row, text)


def _items(wanted: Wanted, hits: pd.DataFrame) -> pd.DataFrame:
    rows = [(i.task, i.number, int(n)) for i, n in zip(wanted.items, wanted.ngram, strict=True)]
    frame = pd.DataFrame(rows, columns=["task", "item", "ngram"])
    dirty = hits.loc[hits["dirty"], ["task", "item"]].drop_duplicates().assign(dirty=True)
    frame = frame.merge(dirty, on=["task", "item"], how="left")
    return frame.assign(dirty=frame["dirty"].eq(True))


def _summary(wanted: Wanted, hits: pd.DataFrame, met: Mapping[str, Mapping[int, np.ndarray]]) -> pd.DataFrame:
    task = np.array([i.task for i in wanted.items])
    dirty: list[dict[Any, Any]] = hits[hits["dirty"]].to_dict("records")
    rows = list[dict[str, Any]]()
    for source, seen in met.items():
        for name in dict.fromkeys(task.tolist()):
            of = task == name
            here = [h for h in dirty if h["source"] == source and h["task"] == name]
            row = {"source": source, "task": name, "items": int(of.sum())}
            row |= {"too_short": int((wanted.ngram[of] == 0).sum())}
            row |= {f"met_{n}": int(seen[n][of].sum()) for n in sorted(NGRAMS)}
            row |= {"dirty": len({h["item"] for h in here})}
            row |= {"answered": len({h["item"] for h in here if h["answer_share"] >= 0.5})}
            row |= {"docs": len({h["id"] for h in here})}
            rows.append({**row, "share": float(np.mean([h["share"] for h in here])) if here else 0.0})
    return pd.DataFrame(rows)
