"""Evaluation items as the words they put before a model: rendered queries and right answers, from task files.

Reads JSON lines in LLM Foundry's in-context-learning formats, and sentence pairs (BLiMP). A line that is none of them
is an error, as is a path without lines: a check against nothing finds nothing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlab.errors import SourceError
from mixlab.workspace import file_sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One item of a task."""

    task: str
    number: int
    """Line in the task's file, from 0."""
    query: str
    answer: str
    """The right one; empty where the item is one sentence."""

    @property
    def text(self) -> str:
        """Query and answer, as they would stand in a document."""
        return f"{self.query} {self.answer}" if self.answer else self.query


def read_tasks(paths: Iterable[Path]) -> list[Item]:
    """The items of task files and of every `*.jsonl` below folders; a task is called after its file.

    Lines end at "\\n" only. Files of other things (`source_rows.json`, published scores) are left out by their suffix
    or, inside a folder, by their content; a file that is named must hold items. Nothing found is a SourceError.
    """
    items: list[Item] = []
    for path in paths:
        found = [item for file in _files(path) for item in _read(file, is_named=path.is_file())]
        if not found:
            raise SourceError(
                f"{path} holds no evaluation items. Name a task file (JSON lines) or a folder of such files."
            )
        items += found
    twice = [name for name, count in _counts(items).items() if count > 1]
    if twice:
        raise SourceError(f"two task files are called '{twice[0][0]}'. Name one of them, or rename it.")
    return items


def fingerprint(paths: Iterable[str | Path]) -> list[str]:
    """Name and sha256 of every task file, sorted: what the items are, whatever the place of their files."""
    return sorted(f"{file.name} {file_sha256(file)}" for path in paths for file in _files(Path(path)))


def render(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """(query, right answer) of one row; None if its format is not known."""
    if {"query", "choices", "gold"} <= row.keys():  # multiple_choice
        return row["query"], row["choices"][row["gold"]]
    if {"context_options", "continuation", "gold"} <= row.keys():  # schema
        return row["context_options"][row["gold"]], row["continuation"]
    if {"context", "answer"} <= row.keys():  # generation_task_with_answers
        return row["context"], f"{row.get('chain_of_thought', '')} {row['answer']}".strip()
    if {"context", "continuation"} <= row.keys():  # language_modeling
        return row["context"], row["continuation"]
    if {"prompt", "canonical_solution"} <= row.keys():  # code_evaluation
        return row["prompt"], row["canonical_solution"]
    if {"sentence_good", "sentence_bad"} <= row.keys():  # BLiMP
        return row["sentence_good"], ""
    return None


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.jsonl"))


def _read(file: Path, *, is_named: bool) -> list[Item]:
    items = list[Item]()
    lines = file.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(line for line in lines if line.strip()):
        try:
            row: dict[str, Any] | list[Any] | str | float | None = json.loads(line)
            told = render(row) if isinstance(row, dict) else None
        except (json.JSONDecodeError, TypeError, IndexError) as e:
            raise SourceError(f"{file}, line {number + 1}: not an evaluation item ({e}).") from e
        if told is None:
            if not is_named and number == 0:
                return []
            raise SourceError(
                f"{file}, line {number + 1}: fields {', '.join(sorted(row))[:120] if isinstance(row, dict) else row} "
                "are no known format. Known: query/choices/gold, context_options/continuation/gold, context/answer, "
                "context/continuation, prompt/canonical_solution, sentence_good/sentence_bad."
            )
        items.append(Item(task=file.stem, number=number, query=told[0], answer=told[1]))
    return items


def _counts(items: list[Item]) -> dict[tuple[str, int], int]:
    out: dict[tuple[str, int], int] = {}
    for item in items:
        out[item.task, item.number] = out.get((item.task, item.number), 0) + 1
    return out
