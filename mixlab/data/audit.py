"""The bias audit: does cleaning remove what names a group of people more often than the rest?

Reads raw text and verdicts; `keep` writes what was found. Three looks: removal rates by identity term with their noise;
the same documents with nothing but the term swapped; words that are over-represented in what is removed.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from mixlab.data.cleaned import Cleaned, raw_of
from mixlab.data.documents import damage_named, read_docs
from mixlab.data.profiles import steps_of
from mixlab.data.rules import clean_by
from mixlab.workspace import Workspace, disk_errors, read_json, write_json

TERMS: Mapping[str, str] = {
    **dict.fromkeys(("lesbian", "gay", "bisexual", "transgender", "trans", "queer", "homosexual", "straight"), "tall"),
    **dict.fromkeys(("lgbt", "lgbtq"), "local"),
    **dict.fromkeys(("woman", "man", "girl", "boy"), "person"),
    **dict.fromkeys(("women", "men", "girls", "boys"), "people"),
    **dict.fromkeys(("muslim", "jewish", "christian", "hindu", "buddhist", "catholic", "atheist"), "local"),
    **dict.fromkeys(("black", "white", "asian", "african", "hispanic", "latino", "arab", "indigenous"), "local"),
    **dict.fromkeys(("disabled", "deaf", "blind", "autistic", "immigrant", "refugee", "elderly"), "local"),
}
"""Identity term -> the neutral word that takes its place in the swap. Found as whole words, with or without an s."""
ANY = "any rule"
Z = 1.959964  # two-sided 95 %
MIN_DOCS = 10  # with a term, below which a row raises no alarm
WORD = re.compile(r"[^\W\d_]{2,}")
PRIOR = 10.0  # documents that the prior of the log-odds is worth
MAX_WORDS = 500_000  # distinct words that are counted; the rarest go


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """What was found."""

    rates: pd.DataFrame
    """A row per source, rule and term: docs (with the term), removed, rate, low, high (Wilson, 95 %), base_rate (of
    all documents of the source), relative_risk, risk_low, risk_high (95 %, log normal; null where nothing is)."""
    swaps: pd.DataFrame
    """A row per source, rule and term: removed (documents with the term that the rule hits), freed (the rule hits them
    no more once the term alone is swapped; `any rule`: they are kept)."""
    words: pd.DataFrame
    """Words by source that mark removed documents: word, removed, kept (documents with it), log_odds, z."""

    def alarms(self, max_risk: float) -> pd.DataFrame:
        """Rows whose relative risk exceeds `max_risk`, where that is no noise: the interval excludes 1."""
        rows: Any = self.rates
        loud = (rows["relative_risk"] > max_risk) & (rows["risk_low"] > 1) & (rows["docs"] >= MIN_DOCS)
        return rows[loud].sort_values("relative_risk", ascending=False)


@dataclass(slots=True)
class _Counts:
    """Counts over one source."""

    docs: int = 0
    hit: Counter[str] = field(default_factory=Counter[str])
    with_term: Counter[str] = field(default_factory=Counter[str])
    hit_with_term: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    freed: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    words: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))


def audit(ws: Workspace, cleaned: list[Cleaned], terms: Mapping[str, str] | None = None, top: int = 20) -> Audit:
    """The audit of some cleaned sources for `terms` (term -> its neutral swap); `top` words a source."""
    chosen = TERMS if terms is None else terms
    rates, swaps, words = list[tuple[Any, ...]](), list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    for told in cleaned:
        counts = _count(raw_of(ws, told), told, chosen)
        rates += _rates(told.source, counts)
        swaps += [
            (told.source, rule, term, n, counts.freed[term, rule])
            for (term, rule), n in sorted(
                counts.hit_with_term.items(), key=lambda row: (row[0][1] != ANY, *row[0][::-1])
            )
        ]
        removed = counts.hit[ANY]
        words += [(told.source, *row) for row in log_odds(*counts.words, removed, counts.docs - removed, top=top)]
    return Audit(
        rates=pd.DataFrame(rates, columns=RATES),
        swaps=pd.DataFrame(swaps, columns=SWAPS),
        words=pd.DataFrame(words, columns=WORDS),
    )


def keep(ws: Workspace, found: Audit, cleaned: list[Cleaned]) -> None:
    """Writes what was found to `audits/<cleaning>.json`, a file for each cleaned source."""
    with disk_errors(ws.audits):
        ws.audits.mkdir(parents=True, exist_ok=True)
    for told in cleaned:
        frames: dict[str, Any] = {"rates": found.rates, "swaps": found.swaps, "words": found.words}
        mine = {name: frame[frame["source"] == told.source] for name, frame in frames.items()}
        rows = {n: json.loads(f.to_json(orient="records", double_precision=15)) for n, f in mine.items()}
        write_json(ws.audits / f"{told.path.name}.json", rows)


def kept(ws: Workspace, cleaned: list[Cleaned]) -> Audit | None:
    """What earlier audits of these very cleanings found, together; None if one of them was never audited."""
    files = [ws.audits / f"{told.path.name}.json" for told in cleaned]
    if not files or not all(file.is_file() for file in files):
        return None
    told = [read_json(file) for file in files]
    columns = {"rates": RATES, "swaps": SWAPS, "words": WORDS}
    frames = {n: pd.DataFrame([row for one in told for row in one[n]], columns=c) for n, c in columns.items()}
    return Audit(**frames)


SWAPS = ["source", "rule", "term", "removed", "freed"]
WORDS = ["source", "word", "removed", "kept", "log_odds", "z"]
RATES = ["source", "rule", "term", "docs", "removed", "rate", "low", "high", "base_rate",
         "relative_risk", "risk_low", "risk_high"]  # fmt: skip


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a share (Wilson 1927); (0, 1) without data.

    >>> tuple(round(x, 4) for x in wilson(38, 80))
    (0.3692, 0.583)
    """
    if n == 0:
        return 0.0, 1.0
    centre, spread = hits + Z * Z / 2, Z * math.sqrt(hits * (n - hits) / n + Z * Z / 4)
    return max((centre - spread) / (n + Z * Z), 0.0), min((centre + spread) / (n + Z * Z), 1.0)


def relative_risk(hits: int, n: int, all_hits: int, all_n: int) -> tuple[float, float, float] | None:
    """Risk among `n` by the risk among all, with its 95 % interval on the log scale (Katz 1978); None if undefined.

    The documents with the term are a part of all documents, so the interval is a little too wide.
    """
    if min(hits, n, all_hits, all_n) == 0:
        return None
    risk = (hits / n) / (all_hits / all_n)
    spread = Z * math.sqrt(max(1 / hits - 1 / n + 1 / all_hits - 1 / all_n, 0.0))
    return risk, risk * math.exp(-spread), risk * math.exp(spread)


def log_odds(
    removed: Counter[str], kept: Counter[str], n_removed: int, n_kept: int, top: int
) -> list[tuple[str, int, int, float, float]]:
    """The words that mark `removed`, by z: log-odds with an informative prior (Monroe et al. 2008, eq. 22).

    Counts are documents with the word, of `n_removed` and `n_kept`: in short documents a frequent word is no larger
    a part of what counts. The prior is the share of all documents, worth `PRIOR` of them on either side.
    """
    rows = list[tuple[str, int, int, float, float]]()
    for word, both in (removed + kept).items():
        a = PRIOR * both / (n_removed + n_kept + 1)
        one, other = removed[word] + a, kept[word] + a
        odds = math.log(one / (n_removed + PRIOR - one)) - math.log(other / (n_kept + PRIOR - other))
        spread = math.sqrt(1 / one + 1 / (n_removed + PRIOR - one) + 1 / other + 1 / (n_kept + PRIOR - other))
        rows.append((word, removed[word], kept[word], odds, odds / spread))
    return sorted((row for row in rows if row[4] > Z), key=lambda row: (-row[4], row[0]))[:top]


def swapped(text: str, terms: Mapping[str, str]) -> str:
    """The text with every term replaced by its neutral word, plural and capital kept.

    >>> swapped("Gay men, GAYS and gayety", {"gay": "tall"})
    'Tall men, TALLS and gayety'
    """

    def neutral(match: re.Match[str]) -> str:
        word = terms[match[1].lower()] + match[2]
        return word.upper() if match[1].isupper() else word.capitalize() if match[1][0].isupper() else word

    return _pattern(terms).sub(neutral, text)


def _pattern(terms: Mapping[str, str]) -> re.Pattern[str]:
    """The terms as whole words, the longest first."""
    ordered = sorted(terms, key=lambda term: (-len(term), term))
    return re.compile(rf"(?<!\w)({'|'.join(map(re.escape, ordered))})(s?)(?!\w)", re.IGNORECASE)


def _count(raw: Path, told: Cleaned, terms: Mapping[str, str]) -> _Counts:
    """One pass over a source's raw text and its verdicts."""
    steps, pattern, counts = steps_of(told.profile), _pattern(terms), _Counts()
    for row, hits in zip(_documents(raw), _verdicts(told), strict=True):
        text = row["text"]
        found = {match[1].lower() for match in pattern.finditer(text)} if terms else set[str]()
        struck = [*hits, ANY] if hits else []
        counts.docs += 1
        counts.hit.update(struck)
        counts.with_term.update(found)
        counts.hit_with_term.update((term, rule) for term in found for rule in struck)
        for term in found if hits else ():
            again = clean_by(swapped(text, {term: terms[term]}), steps, row["url"] or row["id"])
            left = (*again.rules_hit, *(() if again.otherwise.strip() else ("empty",)))
            counts.freed.update((term, rule) for rule in hits if rule not in left)
            counts.freed[term, ANY] += not left
        words = counts.words[0 if hits else 1]
        words.update(set(WORD.findall(text.lower())))
        if len(words) > MAX_WORDS:
            for word in [w for w, n in words.items() if n == 1]:
                del words[word]
    return counts


def _documents(raw: Path) -> Iterator[dict[str, Any]]:
    for batch in read_docs(raw, ["id", "text", "url"]):
        yield from batch.to_pylist()


def _verdicts(told: Cleaned) -> Iterator[list[str]]:
    """Rules that hit, document by document, in the order of the raw files."""
    path = told.path / "verdicts.parquet"
    with damage_named(path):
        file: Any = pq.ParquetFile(path)  # its stub leaves the type of column names open
    with file:
        for batch in file.iter_batches(columns=["rules_hit"]):
            yield from batch.column(0).to_pylist()


def _rates(source: str, counts: _Counts) -> Iterator[tuple[Any, ...]]:
    """Rows of `Audit.rates`: any rule first, then those that hit something."""
    rules = [ANY, *sorted(set(counts.hit) - {ANY})]
    for rule in rules:
        for term in sorted(counts.with_term):
            n, hits = counts.with_term[term], counts.hit_with_term[term, rule]
            risk = relative_risk(hits, n, counts.hit[rule], counts.docs) or (None, None, None)
            low, high = wilson(hits, n)
            yield (source, rule, term, n, hits, hits / n, low, high, counts.hit[rule] / counts.docs, *risk)
