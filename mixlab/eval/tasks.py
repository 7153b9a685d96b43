"""Task files into items: LLM Foundry's in-context formats, BLiMP pairs, OLMES request files.

Reads JSONL, split at "\\n" only (a U+2028 inside a row is text); writes nothing. What is wrong with a row is told with
file, line, field and remedy. Formats: reference/evaluation.md 3; llm-foundry `in_context_learning_evaluation.py`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mixlab.errors import ConfigError, nearest

Kind = Literal[
    "language_modeling",
    "multiple_choice",
    "schema",
    "generation_task_with_answers",
    "pairs",
    "olmes",
    "documents",
    "code_evaluation",
]
UNCONDITIONAL = 1_000_000
"""OLMES: requests of documents from this id on ask for a choice without its context; they are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question: its contexts before any shot or delimiter, its choices as scored, which one is right."""

    id: int
    """Row of its file, counted from 0."""
    contexts: tuple[str, ...]
    """One a choice; equal but for schema."""
    choices: tuple[str, ...]
    gold: int
    cluster: str = ""
    """Items with the same one are not independent: a paradigm, a passage, a category."""
    answers: tuple[str, ...] = ()
    """Generation only: every text that counts as right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One object of a JSONL file and where it stands."""

    path: Path
    line: int
    value: Mapping[str, Any]
    fields: Mapping[str, str]
    """Field of the format -> field of the file, where they differ."""

    def text(self, field: str, *, empty: bool = False) -> str:
        """The text in a field."""
        return self._text(self._get(field), self._name(field), empty=empty)

    def texts(self, field: str, least: int) -> tuple[str, ...]:
        """The texts in a field that is a list."""
        value: list[Any] | str | float | None = self._get(field)
        name = self._name(field)
        if not isinstance(value, list):
            raise self.wrong(name, f"is {_shown(value)}, not a list", "write a JSON list of texts")
        if len(value) < least:
            raise self.wrong(name, f"has {len(value)} entries", f"give at least {least}")
        return tuple(self._text(v, f"{name}[{i}]", empty=False) for i, v in enumerate(value))

    def gold(self, k: int) -> int:
        """Index of the right one of k choices."""
        value, name = self._get("gold"), self._name("gold")
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(name, f"is {_shown(value)}, not a whole number", "write the index of the right choice")
        if not 0 <= value < k:
            raise self.wrong(name, f"is {value}, out of range", f"with {k} choices it is 0 to {k - 1}")
        return value

    def optional(self, field: str) -> Any:
        """The value in a field that may be missing."""
        return self.value.get(self._name(field))

    def wrong(self, field: str, what: str, remedy: str) -> ConfigError:
        """The error about one field of this row."""
        return ConfigError(f"{self.path} line {self.line}: field '{field}' {what}. To mend it: {remedy}.")

    def _name(self, field: str) -> str:
        return self.fields.get(field, field)

    def _get(self, field: str) -> Any:
        name = self._name(field)
        if name not in self.value:
            raise self.wrong(
                name, "is missing", f"add it or map it by `fields:`.{nearest(name, self.value)}".rstrip(".")
            )
        return self.value[name]

    def _text(self, value: Any, name: str, *, empty: bool) -> str:
        if not isinstance(value, str):
            raise self.wrong(name, f"is {_shown(value)}, not a text", 'put it in quotes: "…"')
        if not empty and not value.strip():
            raise self.wrong(name, "is empty, so there is nothing to score", "give the text or delete the row")
        return value


def read_items(path: Path, kind: str, fields: Mapping[str, str] | None = None) -> list[Item]:
    """Every item of a task file, in file order; `fields` maps names of the format to names in the file.

    ConfigError for an unknown kind, a missing or empty file, and the first row that does not fit.
    """
    if kind not in FORMATS:
        raise ConfigError(f"{path}: icl_task_type '{kind}' is not known.{nearest(kind, FORMATS)}")
    items = FORMATS[kind](read_rows(path, fields or {}))
    if not items:
        raise ConfigError(f"{path} holds no item: give at least one line.")
    return items


def read_rows(path: Path, fields: Mapping[str, str]) -> list[Row]:
    """The objects of a JSONL file; empty lines are none."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such task file. Put it there, or say where tasks lie: --tasks."
        ) from None
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path} is not UTF-8 ({e}). Save it as UTF-8.") from e
    rows = list[Row]()
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            value: dict[str, Any] | list[Any] | str | float | None = json.loads(content)
        except json.JSONDecodeError as e:
            raise ConfigError(f"{path} line {line}: not JSON ({e}). To mend it: write one object on one line.") from e
        if not isinstance(value, dict):
            raise ConfigError(f"{path} line {line}: not an object. To mend it: write {{…}} with the task's fields.")
        rows.append(Row(path=path, line=line, value=value, fields=fields))
    return rows


def _language_modeling(rows: Sequence[Row]) -> list[Item]:
    """LLM Foundry's: `context`, `continuation`; how likely is the continuation, and is it the likeliest?"""
    return [
        Item(
            id=i,
            contexts=(row.text("context", empty=True),),
            choices=(row.text("continuation"),),
            gold=0,
            cluster=_category(row),
        )
        for i, row in enumerate(rows)
    ]


def _multiple_choice(rows: Sequence[Row]) -> list[Item]:
    """LLM Foundry's: `query`, `choices`, `gold`; which continuation of one context is likeliest?"""
    items = list[Item]()
    for i, row in enumerate(rows):
        choices = row.texts("choices", 2)
        query = row.text("query", empty=True)
        items.append(
            Item(
                id=i,
                contexts=(query,) * len(choices),
                choices=choices,
                gold=row.gold(len(choices)),
                cluster=_category(row),
            )
        )
    return items


def _schema(rows: Sequence[Row]) -> list[Item]:
    """LLM Foundry's: `context_options`, `continuation`, `gold`; after which context is one continuation likeliest?"""
    items = list[Item]()
    for i, row in enumerate(rows):
        contexts = row.texts("context_options", 2)
        choices = (row.text("continuation"),) * len(contexts)
        items.append(
            Item(id=i, contexts=contexts, choices=choices, gold=row.gold(len(contexts)), cluster=_category(row))
        )
    return items


def _generation(rows: Sequence[Row]) -> list[Item]:
    """LLM Foundry's: `context`, `answer`, `aliases`; the model writes, and its answer is compared."""
    items = list[Item]()
    for i, row in enumerate(rows):
        answer, aliases = row.text("answer"), row.optional("aliases")
        others = row.texts("aliases", 0) if aliases else ()
        answers = tuple(dict.fromkeys((answer, *others)))
        items.append(
            Item(
                id=i,
                contexts=(row.text("context"),),
                choices=(answer,),
                gold=0,
                answers=answers,
                cluster=_category(row),
            )
        )
    return items


def _pairs(rows: Sequence[Row]) -> list[Item]:
    """BLiMP: two whole sentences, the good one first."""
    return [
        Item(
            id=i,
            contexts=("", ""),
            choices=(row.text("sentence_good"), row.text("sentence_bad")),
            gold=0,
            cluster=str(row.optional("UID") or ""),
        )
        for i, row in enumerate(rows)
    ]


def _olmes(rows: Sequence[Row]) -> list[Item]:
    """OLMES request files: one row a choice, put together by doc_id; a label tells the right one (gold_bpb has one)."""
    by_doc: dict[int, list[Row]] = {}
    for row in rows:
        doc = row.optional("doc_id")
        request: dict[str, Any] | str | None = row.optional("request")
        if not isinstance(doc, int):
            raise row.wrong("doc_id", f"is {_shown(doc)}, not a whole number", "give each document its number")
        if not isinstance(request, dict) or not {"context", "continuation"} <= set(request):
            raise row.wrong("request", f"is {_shown(request)}", 'write {"context": …, "continuation": …}')
        if doc < UNCONDITIONAL:
            by_doc.setdefault(doc, []).append(row)
    items = list[Item]()
    for doc, those in sorted(by_doc.items()):
        those = sorted(those, key=lambda row: row.optional("idx") or 0)
        parts = [row.value["request"] for row in those]
        inner = [Row(path=r.path, line=r.line, value=p, fields={}) for r, p in zip(those, parts, strict=True)]
        choices = tuple(row.text("continuation") for row in inner)
        label = those[0].optional("label")
        gold = Row(path=those[0].path, line=those[0].line, value={"gold": label or 0}, fields={}).gold(len(choices))
        contexts = tuple(row.text("context", empty=True) for row in inner)
        items.append(Item(id=doc, contexts=contexts, choices=choices, gold=gold))
    return items


def _documents(rows: Sequence[Row]) -> list[Item]:
    """Whole texts, held out of every mix: bits per byte alone."""
    return [
        Item(id=i, contexts=("",), choices=(row.text("text"),), gold=0, cluster=_category(row))
        for i, row in enumerate(rows)
    ]


def _code(rows: Sequence[Row]) -> list[Item]:
    """LLM Foundry's code tasks: how likely the human's solution is. Nothing is generated, nothing is run."""
    return [
        Item(id=i, contexts=(row.text("prompt"),), choices=(row.text("canonical_solution"),), gold=0)
        for i, row in enumerate(rows)
    ]


def _category(row: Row) -> str:
    """What clusters the row, if the file says so."""
    return str(row.optional("category") or row.optional("cluster") or "")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


FORMATS: Mapping[str, Callable[[Sequence[Row]], list[Item]]] = {
    "language_modeling": _language_modeling,
    "multiple_choice": _multiple_choice,
    "schema": _schema,
    "generation_task_with_answers": _generation,
    "pairs": _pairs,
    "olmes": _olmes,
    "documents": _documents,
    "code_evaluation": _code,
}
"""Format -> its reader."""
