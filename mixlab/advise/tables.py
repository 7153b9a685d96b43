"""Tables of runs that others trained, as they are: RegMix's and Olmix's files, a row a run.

Reads RegMix (`train_mixture_1m.csv` + `train_pile_loss_1m.csv`, the same for `test` and for other sizes of model than
1m, joined on `index`) and Olmix (`ratios.csv` + `metrics.csv`, joined on their common id columns). What is wrong with a
cell is told with file, line and column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixlab.advise.fits import PREFIX
from mixlab.errors import ConfigError, MissingError, nearest
from mixlab.seeds import generator

IDS = ("run", "name", "index", "run_id")
MIXTURE = "mixture"  # RegMix's word for a file of weights: {train,test}_mixture_{size}.csv
WEIGHT = "a weight: a number from 0 up"
UNSEEN = 1 / 3  # share of the runs kept for judging where a table has no test part


@dataclass(frozen=True, kw_only=True, slots=True)
class Tables:
    """Runs to learn from and runs to be judged on, each frame's index their ids; weights as `w_<source>`."""

    train: pd.DataFrame
    test: pd.DataFrame
    metrics: tuple[str, ...]
    unmatched: int
    """Rows of either file whose id the other one lacks: they are in no frame."""
    is_parted: bool = False
    """True if `test` has files of its own, with ids of its own."""
    larger: Mapping[str, pd.DataFrame] = field(default_factory=dict[str, pd.DataFrame])
    """Size in the file's name, such as 60m -> runs of that size, where the folder has test files of others than the
    runs to learn from. Their scores cannot be set beside those of `test`; ranks can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """One run that was trained elsewhere, as its table tells it."""

    name: str
    weights: Mapping[str, float]
    """Source -> share of training tokens, as told: they need not sum to 1."""
    scores: Mapping[str, float]
    """Metric, in the table's own words -> value; one that is missing or not finite is left out."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """What else the table says of how it was made."""
    state: str = "finished"
    seed: int = 0
    tokens: int | None = None
    step: int | None = None
    n_params: int | None = None
    created_at: float | None = None
    """Unix seconds."""
    wall_s: float | None = None
    curve: Sequence[tuple[int, Mapping[str, float]]] = ()
    """(step, metric -> value), steps rising."""


def read(folder: Path) -> Tables:
    """The tables in a folder. MissingError: neither layout is there. ConfigError: a cell that cannot be."""
    if (folder / "ratios.csv").exists() and (folder / "metrics.csv").exists():
        return _halves(_joined(folder / "ratios.csv", folder / "metrics.csv"))
    mixes = sorted(folder.glob(f"train_{MIXTURE}*.csv"))
    if not mixes:
        raise MissingError(
            f"{folder} holds neither RegMix's train_mixture*.csv nor Olmix's ratios.csv and metrics.csv. "
            "Give the folder of one of the two layouts."
        )
    train = _joined(mixes[0], _losses(folder, "train", mixes[0]))
    judges = {_size(p): _joined(p, _losses(folder, "test", p)) for p in sorted(folder.glob(f"test_{MIXTURE}*.csv"))}
    own = judges.pop(_size(mixes[0]), None)
    told = _halves(train) if own is None else _parted(train, own)
    larger = {size.lstrip("_"): part.train for size, part in judges.items()}
    for size, frame in {"of the same size": told.test, **larger}.items():
        _check_sources(folder, told.train, frame, size)
    return replace(told, larger=larger)


def arrivals(told: Tables) -> list[Arrival]:
    """All runs of the tables, in both parts, as runs that were trained elsewhere."""
    both = pd.concat([told.train, told.test])
    weights = [str(c) for c in both.columns if str(c).startswith(PREFIX)]
    found = list[Arrival]()
    parts = ["train"] * len(told.train) + ["test"] * len(told.test)
    rows: list[dict[Any, Any]] = both.to_dict("records")
    for part, name, row in zip(parts, both.index, rows, strict=True):
        scores = {m: float(row[m]) for m in told.metrics if np.isfinite(row[m])}
        mix = {c.removeprefix(PREFIX): float(row[c]) for c in weights}
        found.append(Arrival(name=f"{part}-{name}" if told.is_parted else str(name), weights=mix, scores=scores))
    return found


def _parted(train: Tables, test: Tables) -> Tables:
    metrics = tuple(m for m in train.metrics if m in test.metrics)
    lost = train.unmatched + test.unmatched
    return Tables(train=train.train, test=test.train, metrics=metrics, unmatched=lost, is_parted=True)


def _check_sources(folder: Path, train: pd.DataFrame, test: pd.DataFrame, size: str) -> None:
    """ConfigError: mixes of other sources than those to learn from."""
    ours, theirs = ({str(c) for c in frame.columns if str(c).startswith(PREFIX)} for frame in (train, test))
    if ours != theirs:
        odd = ", ".join(sorted(c.removeprefix(PREFIX) for c in ours ^ theirs))
        raise ConfigError(f"{folder}: the test mixes ({size}) and those to learn from do not share the sources {odd}.")


def _size(path: Path) -> str:
    """What stands behind the word mixture in a file's name: `_1m`, or nothing."""
    return path.stem.partition(MIXTURE)[2]


def frame(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table with at least these columns. MissingError: no such file. ConfigError: no CSV, or a column is missing."""
    if not path.is_file():
        raise MissingError(f"there is no table {path}.")
    told = _table(path)
    for name in columns:
        if name not in told.columns:
            raise ConfigError(f"{path.name} has no column '{name}'.{nearest(name, map(str, told.columns))}")
    return told


def _losses(folder: Path, part: str, beside: Path) -> Path:
    """The file of losses of the same part and size as a file of weights. MissingError: none, or only other sizes."""
    size, files = _size(beside), sorted(folder.glob(f"{part}_*.csv"))
    found = [p for p in files if MIXTURE not in p.name]
    alike = [p for p in found if size and p.stem.endswith(size)]
    if alike or (len(found) == 1 and len(files) == 2):  # the only losses beside the only weights, whatever their name
        return (alike or found)[0]
    have = f"; there are only {', '.join(p.name for p in found)}" if found else ""
    raise MissingError(
        f"{folder} has {beside.name} but no losses beside it (such as {part}_pile_loss{size}.csv){have}."
    )


def _joined(mixes: Path, scores: Path) -> Tables:
    """Weights and metrics of the runs that are in both files, rows of weights summing to one; no test part."""
    left, right = (_table(path) for path in (mixes, scores))
    shared = [c for c in IDS if c in left.columns and c in right.columns]
    if not shared:
        raise ConfigError(
            f"{mixes.name} and {scores.name} share no id column ({', '.join(IDS)}): they cannot be joined."
        )
    _unique(mixes, left, shared)
    _unique(scores, right, shared)
    told = [str(c) for c in left.columns if c not in IDS]
    left[told] = _weights(mixes, left[told])
    metrics = [str(c) for c in right.columns if c not in IDS and _is_number(scores, right, str(c))]
    prefix = _common_prefix(told)
    columns = [PREFIX + c.removeprefix(prefix) for c in told]
    left = left.rename(columns=dict(zip(told, columns, strict=True)))
    both = left[[*shared, *columns]].merge(right[[*shared, *metrics]], on=shared)
    both[columns] = both[columns].div(both[columns].sum(axis=1), axis=0)
    key = next((c for c in shared if both[c].is_unique), shared[0])
    ids: Any = both[key].astype(str)
    both = both.set_index(ids.rename("id")).drop(columns=shared)
    lost = len(left) + len(right) - 2 * len(both)
    return Tables(train=both, test=both.iloc[:0], metrics=tuple(metrics), unmatched=lost)


def _table(path: Path) -> pd.DataFrame:
    """The file, but for columns without a name: row numbers that pandas wrote."""
    try:
        return pd.read_csv(path, usecols=lambda name: not str(name).startswith("Unnamed: "))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is no CSV that can be read: {e}. It wants a header and one line a run.") from e


def _unique(path: Path, frame: Any, ids: Sequence[str]) -> None:
    """ConfigError: two lines with one id."""
    again = frame.duplicated(list(ids)).to_numpy()
    if again.any():
        row = int(again.argmax())
        told = ", ".join(f"{c} {frame[c].iloc[row]}" for c in ids)
        raise ConfigError(f"{path.name} line {row + 2} is a second run with {told}. Leave one line a run.")


def _weights(path: Path, frame: Any) -> np.ndarray:
    """The weights (rows, columns). ConfigError: one that is no number from 0 up, or a line of nothing but zeros."""
    numbers = np.column_stack([_numbers(frame[c]) for c in frame.columns])
    rows, columns = (~(np.isfinite(numbers) & (numbers >= 0))).nonzero()
    if len(rows):
        row, column = int(rows[0]), int(columns[0])
        raise cell_error(path, row + 2, str(frame.columns[column]), frame.iloc[row, column], WEIGHT)
    empty = numbers.sum(axis=1) == 0
    if empty.any():
        raise no_mix(path, int(empty.argmax()) + 2, [str(c) for c in frame.columns])
    return numbers


def _is_number(path: Path, frame: Any, column: str) -> bool:
    """True for a column of numbers, False for one of words. ConfigError: numbers with a word among them."""
    if pd.api.types.is_numeric_dtype(frame[column]):
        return True
    numbers = _numbers(frame[column])
    if np.isnan(numbers).all():
        return False
    row = int((np.isnan(numbers) & frame[column].notna().to_numpy()).argmax())
    raise cell_error(path, row + 2, column, frame[column].iloc[row], "a number, or nothing where there is none")


def _numbers(column: pd.Series) -> np.ndarray:
    """The column's numbers, NaN where a cell holds none."""
    return pd.to_numeric(column, errors="coerce").to_numpy(float)


def cell_error(path: Path, line: int, column: str, value: Any, possible: str) -> ConfigError:
    """The error of one cell: where it stands, what it holds, what it may hold."""
    told = "empty" if value is None or value == "" or pd.isna(value) else f"'{value}'"
    return ConfigError(f"{path.name} line {line}, column '{column}' is {told}; it wants {possible}.")


def no_mix(path: Path, line: int, columns: Sequence[str]) -> ConfigError:
    """The error of a line whose weights are all 0."""
    return ConfigError(
        f"{path.name} line {line}: all weights are 0. A mix needs one above 0 among {', '.join(columns)}."
    )


def _common_prefix(names: Sequence[str]) -> str:
    """What all names begin with, up to RegMix's `train_the_pile_`; nothing for other tables."""
    known = "train_the_pile_"
    return known if all(n.startswith(known) for n in names) else ""


def _halves(told: Tables) -> Tables:
    """A third of the runs kept for judging."""
    order = generator(0, "replay").permutation(len(told.train))
    cut = int(len(told.train) * UNSEEN)
    train, test = told.train.iloc[order[cut:]], told.train.iloc[order[:cut]]
    return Tables(train=train, test=test, metrics=told.metrics, unmatched=told.unmatched)
