"""Runs as Weights & Biases exports them: the CSV of its runs table, and CSVs of charts for their curves.

The runs table has a line a run: `Name`, `State`, `Created` (and `ID`, `Runtime` if shown), columns of the config, the
mix among them as `mix.<source>`, and columns of the summary. A chart's export has `Step` and `<Name> - <metric>`.
"""

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mixlab.advise.tables import WEIGHT, Arrival, cell_error, no_mix
from mixlab.errors import ConfigError, MissingError

MIX = re.compile(r"^(?:config\.)?(?:mixture\.weights|mixture|mix|weights)[./](.+?)(?:\.value)?$")
"""Columns that are weights: mix.code, weights/code, mixture.weights.code, config.mix.code.value."""
SCORE = re.compile(r"(?:^|[/_.])(?:bpb|bits_per_byte|(?:val_)?loss)(?:$|[/_.])")
"""Columns that are scores unless --metric says which; those of training are none."""
TRAINING = re.compile(r"^(?:summary\.)?train(?:ing)?(?:$|[/_.])")
OWN = ("Name", "ID", "State", "Created", "Runtime", "Notes", "User", "Tags", "Hostname", "Sweep", "Group", "Updated")
UNDER_WAY = ("running", "pending")
NUMBERS = {
    "tokens": ("tokens", "train.tokens", "seen_tokens", "num_tokens"),
    "step": ("_step", "step", "trainer/global_step", "global_step"),
    "n_params": ("n_params", "num_params", "model.n_params"),
    "seed": ("seed", "train.seed"),
}
"""What a run's row tells beside mix and scores -> the columns that may hold it, the first that is there."""


def read(path: Path, is_score: Callable[[str], bool] | None = None) -> tuple[list[Arrival], list[str]]:
    """The runs in an export (a CSV, or a folder of them), and in words what was left out.

    `is_score`: which columns are scores (None: those named after bpb or loss). MissingError: no runs table.
    ConfigError: no weights in it, or a cell that cannot be.
    """
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    tables = {file: _rows(file) for file in files}
    runs = [file for file, (columns, _) in tables.items() if "Name" in columns]
    if len(runs) != 1:
        raise MissingError(
            f"{path} holds {len(runs)} CSVs with a column 'Name'; it wants one: the runs table of a W&B project "
            "(Download, CSV), with the mix as columns such as mix.code."
        )
    found, notes = _runs(runs[0], *tables[runs[0]], is_score or _looks_like_score)
    curves = _curves({f: t for f, t in tables.items() if f != runs[0]}, {run.name for run in found})
    return [replace(run, curve=curves.get(run.name, ())) for run in found], notes


def _looks_like_score(column: str) -> bool:
    return bool(SCORE.search(column)) and not TRAINING.search(column)


def _rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Columns of a CSV, and its rows with the number of the line each ends on."""
    if not path.is_file():
        raise MissingError(f"there is no file {path}.")
    try:
        with open(path, encoding="utf-8-sig", newline="") as f:
            reader = csv.DictReader(f, restkey="", strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is no CSV that can be read: {e}. Export the runs table of W&B again.") from e
    columns = list(reader.fieldnames or ())
    for line, row in rows:
        if "" in row or None in row.values():
            raise ConfigError(f"{path.name} line {line} has not as many cells as the header, which has {len(columns)}.")
    return columns, rows


def _runs(
    path: Path, columns: Sequence[str], rows: Sequence[tuple[int, dict[str, str]]], is_score: Callable[[str], bool]
) -> tuple[list[Arrival], list[str]]:
    mix = {c: m.group(1) for c in columns if (m := MIX.match(c))}
    if len(mix) < 2:
        raise ConfigError(
            f"{path.name} has {len(mix)} columns of weights; a mix needs two or more, named mix.<source>, "
            f"weights.<source> or mixture.weights.<source>. It has: {', '.join(columns)}."
        )
    scores = [c for c in columns if c not in mix and is_score(c)]
    if not scores:
        raise ConfigError(
            f"{path.name} has no column of scores: none is named after bpb or loss. Name them by --metric 'eval/*'. "
            f"It has: {', '.join(columns)}."
        )
    found: list[Arrival] = []
    under_way, without = 0, 0
    for line, row in rows:
        if row.get("State", "").lower() in UNDER_WAY:
            under_way += 1
        elif not any(row[c].strip() for c in mix):
            without += 1
        else:
            found.append(_arrival(path, line, row, mix, scores))
    notes = [f"{under_way} runs were still under way at the export and were left out."] if under_way else []
    notes += [f"{without} runs have no weights and were left out."] if without else []
    return found, notes


def _arrival(path: Path, line: int, row: dict[str, str], mix: Mapping[str, str], scores: Sequence[str]) -> Arrival:
    told = {c: _number(path, line, c, row[c]) for c in (*mix, *scores)}
    for column in mix:
        if (weight := told[column]) is None or weight < 0:
            raise cell_error(path, line, column, row[column], WEIGHT)
    if not any(told[c] for c in mix):
        raise no_mix(path, line, list(mix))
    numbers = {what: _first(path, line, row, columns) for what, columns in NUMBERS.items()}
    used = {*mix, *scores, *OWN, *(c for columns in NUMBERS.values() for c in columns)}
    state = row.get("State", "").lower() or "finished"
    return Arrival(
        name=row["Name"].strip() or row.get("ID", "").strip() or f"line-{line}",
        weights={source: told[c] or 0.0 for c, source in mix.items()},
        scores={c: v for c in scores if (v := told[c]) is not None},
        settings={c: v for c, v in row.items() if c not in used and not c.startswith(("_", "summary.")) and v},
        state=state,
        seed=int(numbers["seed"] or 0),
        tokens=_whole(numbers["tokens"]),
        step=_whole(numbers["step"]),
        n_params=_whole(numbers["n_params"]),
        created_at=_time(path, line, row.get("Created", "")),
        wall_s=_number(path, line, "Runtime", row.get("Runtime", "")),
    )


def _first(path: Path, line: int, row: Mapping[str, str], columns: Sequence[str]) -> float | None:
    """The number in the first of these columns that has one; `config.` may stand before its name."""
    for column in (name for c in columns for name in (c, f"config.{c}")):
        if row.get(column, "").strip():
            return _number(path, line, column, row[column])
    return None


def _number(path: Path, line: int, column: str, text: str) -> float | None:
    """The finite number in a cell; None for nothing, NaN and infinity, which W&B writes as words."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        raise cell_error(path, line, column, text, "a number, or nothing where there is none") from None
    return value if math.isfinite(value) else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _time(path: Path, line: int, text: str) -> float | None:
    """Unix seconds of an ISO time, UTC where it names no zone."""
    if not text.strip():
        return None
    try:
        told = datetime.fromisoformat(text.strip())
    except ValueError:
        raise cell_error(path, line, "Created", text, "a time such as 2026-01-31T12:00:00.000Z") from None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _curves(tables: Mapping[Path, Any], names: set[str]) -> dict[str, list[tuple[int, dict[str, float]]]]:
    """Run -> its curve, from the exports of charts; the columns of other runs are passed over."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for path, (columns, rows) in tables.items():
        told = list(_series(columns, names))
        for line, row in rows if "Step" in columns else ():
            step = _number(path, line, "Step", row["Step"])
            if step is None:
                raise cell_error(path, line, "Step", row["Step"], "a whole number")
            for column, run, metric in told:
                if (value := _number(path, line, column, row[column])) is not None:
                    found.setdefault(run, {}).setdefault(int(step), {})[metric] = value
    return {run: sorted(points.items()) for run, points in found.items()}


def _series(columns: Sequence[str], names: set[str]) -> Iterator[tuple[str, str, str]]:
    """(column, run, metric) of each column `<run> - <metric>`; the bands `__MIN` and `__MAX` are none."""
    for column in columns:
        run, dash, metric = column.rpartition(" - ")
        if dash and run in names and not metric.endswith(("__MIN", "__MAX")):
            yield column, run, metric
