"""Runs that were trained elsewhere become runs of the lab: listed, ranked and learnt from like its own.

Reads RegMix's and Olmix's tables (advise/tables.py) and W&B's CSV (advise/wandb_csv.py); writes a directory a run, with
run.json (`origin` says whence; no spec, as there is none), scores.jsonl, metrics.jsonl where a curve came along, and
done.json or status.json; and the list of the sweep. A run is keyed by what its table tells of it, so the same table
twice is one import.
"""

import fnmatch
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mixlab import roster
from mixlab.advise import tables, wandb_csv
from mixlab.advise.tables import Arrival
from mixlab.errors import ConfigError, nearest
from mixlab.results.listing import read_object
from mixlab.workspace import Workspace, disk_errors, key_of, write_json

VERSION = 1
KINDS = ("wandb-csv", "regmix", "olmix")
UNITS: Mapping[str, str] = {"regmix": "nats per token"}
"""Unit of scores that do not call themselves bits per byte, where the table's authors tell it; else it is asked for."""
UNTOLD = "unit not told"
BPB = "bits per byte"
BPB_WORD = re.compile(r"(?:^|[/_. ])(?:bpb|bits_per_byte)(?:$|[/_. ])")
DECORATION = re.compile(
    r"^(?:summary[./])?(?:metric|eval|val|valid|validation)[/.]|^the_pile_"
    r"|(?:^|(?<=[/_.]))(?:(?:val_)?loss|bpb|bits_per_byte)(?=$|[/_.])"
)
"""Parts of a metric's name that do not say what was measured: metric/the_pile_arxiv_val_loss is of arxiv."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """What an import did."""

    added: tuple[str, ...]
    there: int
    """Runs that were in the lab already, as they are."""
    renewed: tuple[str, ...]
    """Runs that were there under another sweep or unit: told anew."""
    sweep: str
    units: Mapping[str, str]
    """Score -> unit."""
    notes: tuple[str, ...]


def bring(
    ws: Workspace,
    path: Path,
    kind: str,
    *,
    sweep: str | None = None,
    unit: str | None = None,
    metrics: Sequence[str] = (),
    dry_run: bool = False,
) -> Brought:
    """The runs in `path` as runs of the lab, of the sweep `sweep` (None: named after the file or folder).

    `unit`: of scores that are not called bpb ("bpb" if they are that). `metrics`: names or patterns of the columns that
    are scores (None: all in RegMix's and Olmix's, those named after bpb or loss in W&B's). Raises as the readers do.
    """
    if kind not in KINDS:
        raise ConfigError(f"--from {kind} is not known.{nearest(kind, KINDS)}")
    runs, notes = _read(path, kind, metrics)
    sweep = sweep or re.sub(r"[^\w.-]+", "-", path.absolute().stem if path.is_file() else path.absolute().name)
    roster.check(sweep)
    units = {m: _unit(m, kind, unit) for m in dict.fromkeys(m for run in runs for m in run.scores)}
    named = {m: _task(m, u) for m, u in units.items()}
    _distinct(named)
    if UNTOLD in units.values():
        notes.append(
            f"The unit of {', '.join(m for m, u in units.items() if u == UNTOLD)} is not told: say it by --unit "
            "('nats per token', or bpb), then lists and advice tell it."
        )
    if rescaled := sum(abs(sum(run.weights.values()) - 1) > 1e-3 for run in runs):
        notes.append(f"The weights of {rescaled} runs did not sum to 1 and were divided by their sum.")
    names = _not_settings(runs)
    added, renewed, there = list[str](), list[str](), 0
    for run in runs:
        files = _files(run, kind, path, sweep, named, units, names)
        told = files["run.json"]
        out = ws.run_dir(told["name"], told["seed"], told["key"])
        told["run_id"] = out.name
        before = read_object(out / "run.json")
        if before and (before.get("sweep"), before["origin"]["units"]) == (sweep, told["origin"]["units"]):
            there += 1
            continue
        (renewed if before else added).append(out.name)
        if not dry_run:
            _write(out, files)
    if not dry_run and (added or renewed):
        roster.enlist(ws, sweep, [*added, *renewed], {"kind": "import"})
    return Brought(
        added=tuple(added), there=there, renewed=tuple(renewed), sweep=sweep, units=units, notes=tuple(notes)
    )


def _read(path: Path, kind: str, metrics: Sequence[str]) -> tuple[list[Arrival], list[str]]:
    """The runs, with those scores alone that were asked for, and what was left out in words."""

    def is_asked(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, m) for m in metrics)

    if kind == "wandb-csv":
        return wandb_csv.read(path, is_asked if metrics else None)
    told = tables.read(path)
    if metrics:
        chosen = tuple(m for m in told.metrics if is_asked(m))
        if not chosen:
            raise ConfigError(f"no metric of {path} fits {', '.join(metrics)}.{nearest(metrics[0], told.metrics)}")
        told = tables.Tables(
            train=told.train, test=told.test, metrics=chosen, unmatched=told.unmatched, is_parted=told.is_parted
        )
    lost = f"{told.unmatched} lines have no partner of the same id in the other file and were left out."
    return tables.arrivals(told), [lost] if told.unmatched else []


def _unit(metric: str, kind: str, asked: str | None) -> str:
    """What a score is measured in: as it calls itself, else as asked, else as its authors tell."""
    told = asked or UNITS.get(kind, UNTOLD)
    return BPB if BPB_WORD.search(metric) or told in ("bpb", BPB) else told


def _task(metric: str, unit: str) -> str:
    """The task that a score stands under: bpb/<what> if it is in bits per byte, else loss/<what>.

    >>> _task("metric/the_pile_arxiv_val_loss", "nats per token"), _task("eval/code/bpb", BPB), _task("bpb", BPB)
    ('loss/arxiv', 'bpb/code', 'bpb/macro')
    """
    what = metric
    while (shorter := DECORATION.sub("", what).strip("/_. ")) != what:
        what = shorter
    return f"{'bpb' if unit == BPB else 'loss'}/{what or 'macro'}"


def _distinct(named: Mapping[str, str]) -> None:
    """ConfigError: two scores that would be one."""
    first: dict[str, str] = {}
    for metric, task in named.items():
        if (other := first.setdefault(task, metric)) != metric:
            raise ConfigError(
                f"'{other}' and '{metric}' would both be {task} here. Choose one of them by --metric, such as "
                f"--metric '{other}'."
            )


def _not_settings(runs: Sequence[Arrival]) -> set[str]:
    """Settings in words that differ from run to run: names and paths, which do not say how a run was made."""
    if len(runs) < 2:
        return set()
    values = {name: [run.settings.get(name) for run in runs] for run in runs for name in run.settings}
    return {name for name, told in values.items() if len(set(told)) == len(runs) and not any(map(_is_number, told))}


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _files(
    run: Arrival,
    kind: str,
    path: Path,
    sweep: str,
    named: Mapping[str, str],
    units: Mapping[str, str],
    names: set[str],
) -> dict[str, Any]:
    """File -> its content: an object, or the rows of a file of lines."""
    total = sum(run.weights.values())
    content = {k: v for k, v in asdict(run).items() if k != "curve"}
    key = key_of("runs", VERSION, {"from": kind, **content}, {})
    made = {k: v for k, v in run.settings.items() if k not in names}
    recipe = key_of("runs", VERSION, {"from": kind, "sweep": sweep, "made": made} | _size(run), {})
    exam = key_of("runs", VERSION, {"from": kind, "sweep": sweep, "scores": sorted(named.items())}, {})
    name = re.sub(r"[^\w.-]+", "-", f"{sweep}-{run.name}")
    origin = {"from": kind, "path": str(path.absolute()), "name": run.name, "settings": dict(run.settings)}
    origin |= {"units": {named[m]: units[m] for m in run.scores}, "recipe": recipe, "imported_at": time.time()}
    told = {
        "name": name,
        "seed": run.seed,
        "key": key,
        "sweep": sweep,
        "origin": origin,
        "mixture": {"name": run.name, "weights": {s: w / total for s, w in run.weights.items()}},
        "n_params": run.n_params,
        "created_at": run.created_at,
    }
    end = {"steps": run.step, "tokens": run.tokens, "wall_s": run.wall_s}
    files: dict[str, Any] = {
        "scores.jsonl": _score_rows(run, named, units, exam),
        "metrics.jsonl": [_point(run, step, values) for step, values in run.curve],
    }
    if run.state == "finished":
        logged = sorted({m for _, values in run.curve for m in values})
        finished_at = None if run.created_at is None or run.wall_s is None else run.created_at + run.wall_s
        files["done.json"] = {**end, "finished_at": finished_at, "metrics": logged}
    else:
        files["status.json"] = {**end, "state": "failed", "step": run.step, "reason": f"{kind} says: {run.state}"}
    return {**files, "run.json": told}  # last: with it the run is there


def _size(run: Arrival) -> dict[str, int | None]:
    return {"n_params": run.n_params, "tokens": run.tokens}


def _score_rows(run: Arrival, named: Mapping[str, str], units: Mapping[str, str], exam: str) -> list[dict[str, Any]]:
    """The final scores, and the mean of those in bits per byte, and of the others, where the table has no `macro`."""
    values = {named[m]: (v, {"told_as": m, "unit": units[m], "exam": exam}) for m, v in run.scores.items()}
    for family in ("bpb", "loss"):
        parts = [(task, v, about["unit"]) for task, (v, about) in values.items() if task.startswith(f"{family}/")]
        whole = f"{family}/macro"
        if parts and whole not in values and len({unit for *_, unit in parts}) == 1:
            about = {"told_as": f"mean of {len(parts)} scores", "unit": parts[0][2], "exam": exam}
            values[whole] = (sum(v for _, v, _ in parts) / len(parts), about)
    common = {"step": run.step or 0, "tokens": run.tokens, "ts": run.created_at, "stderr": None, "n": None}
    common |= {"higher_is_better": False, "final": True, "evals_key": exam}
    return [
        {**common, "task": task, "metric": task.partition("/")[0], "value": value, "detail": about}
        for task, (value, about) in sorted(values.items())
    ]


def _point(run: Arrival, step: int, values: Mapping[str, float]) -> dict[str, Any]:
    """A line of metrics.jsonl; its tokens follow from the step where the run tells both of its end."""
    tokens = round(run.tokens * step / run.step) if run.tokens and run.step else None
    return {"step": step, "tokens": tokens, "ts": run.created_at, "m": dict(values)}


def _write(out: Path, files: Mapping[str, Any]) -> None:
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            if name.endswith(".json"):
                write_json(out / name, content)
            elif content:
                lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in content)
                (out / name).write_text("".join(lines), encoding="utf-8")
