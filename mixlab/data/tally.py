"""What cleaning counts as it goes: documents and bytes kept, and what each rule does alone and beside the others.

Sums over rows of `verdicts.parquet`, for the manifest of a clean artefact: readers of many artefacts open no verdicts.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mixlab.data.rulebook import RULES, rules_of, threshold_of
from mixlab.data.steps import Off, Step

SAMPLES = 5
"""Ids of documents told for each rule: the smallest, so that they do not depend on the order of reading."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """Sums over verdicts."""

    docs_in: int = 0
    docs: int = 0
    bytes_in: int = 0
    bytes: int = 0
    bytes_otherwise: int = 0
    """Of all documents, had no document-level rule been on."""
    dropped: Counter[str] = field(default_factory=Counter[str])
    """Rule -> documents of which it is the reason."""
    lines_dropped: Counter[str] = field(default_factory=Counter[str])
    hit: Counter[str] = field(default_factory=Counter[str])
    """Rule -> documents that it would drop, or of whose lines it dropped some."""
    only: Counter[str] = field(default_factory=Counter[str])
    """Rule -> documents that no other rule would drop."""
    bytes_dropped: Counter[str] = field(default_factory=Counter[str])
    """Rule -> bytes of the documents of which it is the reason."""
    samples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, row: dict[str, Any]) -> None:
        """Counts one row of `verdicts.parquet`."""
        self.docs_in += 1
        self.docs += row["kept"]
        self.bytes_in += row["bytes_in"]
        self.bytes += row["bytes_out"]
        self.bytes_otherwise += row["bytes_otherwise"]
        hits = row["rules_hit"]
        if hits:
            self.dropped[row["reason"]] += 1
            self.bytes_dropped[row["reason"]] += row["bytes_otherwise"]
            if len(hits) == 1:
                self.only[hits[0]] += 1
        for rule, lines in row["lines_dropped"].items():
            self.lines_dropped[rule] += lines
        for rule in (*hits, *row["lines_dropped"]):
            self.hit[rule] += 1
            ids = self.samples.setdefault(rule, [])
            if len(ids) < SAMPLES or row["id"] < ids[-1]:
                insort(ids, row["id"])
                del ids[SAMPLES:]

    def include(self, other: "Tally") -> None:
        """Adds what another worker counted."""
        self.docs_in, self.docs = self.docs_in + other.docs_in, self.docs + other.docs
        self.bytes_in, self.bytes = self.bytes_in + other.bytes_in, self.bytes + other.bytes
        self.bytes_otherwise += other.bytes_otherwise
        for mine, more in (
            (self.dropped, other.dropped),
            (self.lines_dropped, other.lines_dropped),
            (self.hit, other.hit),
            (self.only, other.only),
            (self.bytes_dropped, other.bytes_dropped),
        ):
            mine.update(more)
        for rule, ids in other.samples.items():
            self.samples[rule] = sorted([*self.samples.get(rule, ()), *ids])[:SAMPLES]

    def facts(self, steps: tuple[Step, ...]) -> dict[str, Any]:
        """What a manifest tells of it; `rules`: a row for each rule of the steps, in their order."""
        return {
            "docs_in": self.docs_in,
            "docs": self.docs,
            "bytes_in": self.bytes_in,
            "bytes": self.bytes,
            "bytes_otherwise": self.bytes_otherwise,
            "dropped": dict(sorted(self.dropped.items())),
            "lines_dropped": dict(sorted(self.lines_dropped.items())),
            "rules": [self._told(rule, params) for rule, params in _asked(steps).items()],
        }

    def _told(self, rule: str, params: dict[str, float]) -> dict[str, Any]:
        """What one rule did: docs it concerns, is the reason for, alone would drop; bytes; lines; some ids."""
        told = {"rule": rule, "level": RULES[rule].level, "params": params, "docs": self.hit[rule]}
        if told["level"] == "document":
            told |= {"first": self.dropped[rule], "only": self.only[rule], "bytes": self.bytes_dropped[rule]}
        else:
            told |= {"lines": self.lines_dropped[rule]}
        return {**told, "sample": self.samples.get(rule, [])}


def _asked(steps: Iterable[Step]) -> dict[str, dict[str, float]]:
    """Rule -> its thresholds, in the order of the steps, `empty` last; without those that are switched off.

    >>> from mixlab.data.profiles import steps_of
    >>> _asked(steps_of("lang/en+c4/tfds-3.1.0?min_sentences=1"))["filtered:too_few_sentences"]
    {'min_sentences': 1}
    """
    found: dict[str, dict[str, float]] = {}
    off: tuple[str, ...] = ()
    for step in steps:
        off = step.rules if isinstance(step, Off) else off
        for rule in rules_of((step,)):
            value = threshold_of(step, rule)
            if rule.name not in off and rule.name != "empty":
                found.setdefault(rule.name, {}).update({} if value is None else {str(rule.parameter): value})
    return {**found, "empty": {}}
