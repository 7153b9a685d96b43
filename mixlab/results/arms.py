"""Runs of a sweep as arms, alike but for their seed, each held against the first with both noises.

Reads the store and what runs stored of their held-out documents; writes nothing. Arms whose cleaning differs have other
held-out documents of some sources: `shared` are the sources whose exam all arms sat, and comparisons keep to them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixlab.errors import ConfigError
from mixlab.results.compare import Difference, seeds_needed
from mixlab.results.listing import Row
from mixlab.results.mixes import Evidence, compare_mixes, documents_of
from mixlab.results.store import Store
from mixlab.results.versus import settings
from mixlab.workspace import Workspace

COSMETIC = re.compile(r"(^|\.)(name|rule)$|^evals\.|^mixture\.|^seed$")
"""Settings that say nothing of how an arm was made, that its weights say already, or in which its own runs differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """Runs alike but for their seed."""

    name: str
    """The settings in which it differs from the other arms; its mixture where it is the weights alone."""
    rows: tuple[Row, ...]
    """As `listing.list_runs` gives them, one a seed."""

    @property
    def runs(self) -> list[str]:
        """Ids of its runs."""
        return [r["run_id"] for r in self.rows]

    @property
    def weights(self) -> Mapping[str, float]:
        """Source -> share of training tokens."""
        return self.rows[0]["weights"]

    def bpb(self, sources: Sequence[str]) -> float | None:
        """Mean over seeds and these sources; None without sources, or where a run diverged."""
        values = [r["bpb"].get(s) for r in self.rows for s in sources]
        finite = [v for v in values if v is not None]
        return sum(finite) / len(finite) if finite and len(finite) == len(values) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """One arm minus the first arm, in bits per byte; lower is better."""

    arm: str
    score: str
    """`shared`, or a source."""
    difference: Difference
    seeds: int | None
    """Seeds a side that would tell such a difference from zero; None where none would, or it is told already."""

    @property
    def words(self) -> str:
        """Better, worse, or that it cannot be told; how many seeds it would take."""
        found = self.difference
        if found.mean is None:
            return "diverged"
        if found.stderr is None:
            return "noise unknown: not distinguishable with one seed a side"
        if found.distinguishable:
            return "better" if found.mean < 0 else "worse"
        needed = f"about {self.seeds} seeds a side would tell it" if self.seeds else "no number of seeds would tell it"
        return f"not distinguishable ({needed})"


def arms_of(chosen: Sequence[Row], ws: Workspace) -> tuple[list[Arm], list[str]]:
    """The arms of these runs in order, each with a name of its own, and the sources all were measured on alike.

    A source whose held-out documents differ from arm to arm (its cleaning does) is not among them.
    """
    groups: dict[Any, list[Row]] = {}
    for r in chosen:
        weights = tuple(sorted((s, round(w, 9)) for s, w in r["weights"].items() if w))
        groups.setdefault((r["recipe"], weights), []).append(r)
    differ = settings(Store.open(ws), [rows[0]["run_id"] for rows in groups.values()])
    found: dict[str, Arm] = {}
    for rows in groups.values():
        first = rows[0]
        run_id: str = first["run_id"]
        name = _named(dict(zip(differ["key"], differ[run_id], strict=True))) or str(first["mixture"])
        name = f"{name} · {first['mixture']}" if name in found else name
        name = f"{name} · {run_id[-8:]}" if name in found else name
        found[name] = Arm(name=name, rows=tuple(sorted(rows, key=lambda r: r["seed"])))
    sources = sorted({s for r in chosen for s in r["bpb"]})
    return list(found.values()), [s for s in sources if len({_exam(r, s) for r in chosen}) == 1]


def _named(differ: Mapping[str, Any]) -> str:
    """The settings of an arm in which arms differ, as a name; phases by what follows on the first mixture.

    >>> _named({"train.lr": "0.01", "name": "a", "mixture.rule": "natural", "seed": "1"})
    'lr=0.01'
    >>> _named({"phases": None, "phases.anneal.mixture.name": "books", "phases.anneal.share": "0.2"})
    'anneal on books'
    >>> _named({"phases": "[]"}), _named({"phases.long.mixture": "null", "phases.long.seq_len": "512"})
    ('one phase', 'long at length 512')
    """
    said = list[str]()
    for key, value in differ.items():
        *_, phase, leaf = ("", *key.split("."))
        if not isinstance(value, str):
            continue
        if key == "phases":
            said.append("one phase")
        elif key.startswith("phases.") and key.endswith(".mixture.name"):
            said.append(f"{key.split('.')[1]} on {value}")
        elif key.startswith("phases.") and leaf == "seq_len" and value != "null":
            said.append(f"{phase} at length {value}")
        elif not key.startswith("phases.") and COSMETIC.search(key) is None:
            said.append(f"{leaf}={value}")
    return ", ".join(said)


def against_first(
    rows: Sequence[Row], arms: Sequence[Arm], shared: Sequence[str], ws: Workspace
) -> tuple[list[Against], list[str]]:
    """Every arm against the first, on the mean of the shared sources and on each of them; what could not be, in words.

    `rows`: all runs of the lab. Noise: that of training (pairs of seeds, else seeds of any runs that sat this exam) and
    that of the held-out documents.
    """
    held = documents_of(ws.root / "runs", [run for arm in arms for run in arm.runs])
    documents = {run: {s: d for s, d in by.items() if s in shared} for run, by in held.items()}
    told = [_restricted(r, shared) for r in rows]
    found, said = list[Against](), list[str]()
    for arm in arms[1:]:
        try:
            both = compare_mixes(told, arms[0].runs[0], arm.runs[0], Evidence(documents=documents))
        except ConfigError as e:
            said.append(f"{arm.name}: {e}")
            continue
        for line in both["scores"]:
            task = line["task"].removeprefix("bpb/")
            noise = {"mean": line["difference"], "stderr": line["stderr"], "df": line["df"] or math.inf}
            d = Difference(**noise, n=len(both["b"]), method=line["method"], parts=line["parts"])
            needed = None if d.distinguishable else seeds_needed(d, d.n)
            score = "shared" if task == "macro" else task
            found.append(Against(arm=arm.name, score=score, difference=d, seeds=needed))
    return found, said


def _restricted(row: Row, sources: Sequence[str]) -> Row:
    """The row as if only these sources had been measured, its macro their mean."""
    bpb = {s: row["bpb"].get(s) for s in sources if s in row["bpb"]}
    values = [v for v in bpb.values() if v is not None]
    mean = sum(values) / len(values) if values and len(values) == len(bpb) else None
    exams = {s: row["exams"].get(s) for s in bpb}
    return {**row, "bpb": bpb, "bpb_macro": mean, "exams": {**exams, "macro": str(sorted(exams.items()))}}


def _exam(row: Row, source: str) -> tuple[Any, ...]:
    """What a run was asked about a source, and on which held-out documents; a source it lacks is nobody else's."""
    return row["evals_key"], row["exams"].get(source) if source in row["bpb"] else row["run_id"]
