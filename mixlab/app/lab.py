"""What the pages read: frames of the lab, kept until a file changes. Reads through results.store, writes nothing.

Every frame is cached under the lab's path and a stamp (newest change and size of the files it is made of), so a rerun
of a page reads nothing that did not change, and a page never shows older data than the disk holds.
"""

import os
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from mixlab.errors import ConfigError, nearest
from mixlab.results.catalogue import source_order
from mixlab.results.listing import TERMINAL, list_runs, read_object
from mixlab.results.store import Store
from mixlab.workspace import MANIFEST, Workspace

LIVE_SECONDS = 3
"""How often live parts of a page look again while a run is running."""
STATE_SECONDS = 10
"""A run that has not ended can be killed without any file changing, so its state is looked at again after this time."""
RULES = {"last": "last", "lowest": "min", "highest": "max"}
"""Which of a run's evaluations a table tells -> the aggregate that picks it; the last is the final one."""
STATES = ("running", "slow", "queued", "finished", "failed", "diverged", "stalled", "killed")
Stamp = tuple[int, int, int]


def runs() -> pd.DataFrame:
    """One row a run, as `Store.runs`, with a `label` short enough for a legend."""
    ws = Workspace.open()
    stamp = _stamp(_run_files(ws, "status.json", "scores.jsonl", "done.json", "annotations.jsonl"))
    made, told = _runs(str(ws.root), stamp, 0)
    if told.empty or time.time() - made < STATE_SECONDS or bool(told["state"].isin(sorted(TERMINAL)).all()):
        return told
    return _runs(str(ws.root), stamp, int(time.time() / STATE_SECONDS))[1]


def listed() -> list[dict[str, Any]]:
    """Every run as the statistics want it: `results.listing.list_runs`."""
    ws = Workspace.open()
    stamp = _stamp(_run_files(ws, "plan.json", "status.json", "scores.jsonl", "done.json"))
    made, told = _listed(str(ws.root), stamp, 0)
    if time.time() - made < STATE_SECONDS or all(run["state"] in TERMINAL for run in told):
        return told
    return _listed(str(ws.root), stamp, int(time.time() / STATE_SECONDS))[1]


def best_mixes() -> pd.DataFrame:
    """Finished mixes, lowest macro bits per byte first: columns of the view `leaderboard`, `shares` in words."""
    ws = Workspace.open()
    return _best(str(ws.root), _stamp(_run_files(ws, "scores.jsonl", "done.json")))


def sources() -> pd.DataFrame:
    """One row a prepared source, by name, the newest where there are several: the columns of `Store.sources`."""
    ws = Workspace.open()
    return _sources(str(ws.root), _stamp([ws.database, *ws.root.glob("tokens/*/manifest.json")]))


def source_names() -> list[str]:
    """Every source that the lab's corpora or runs know, the oldest first: the colours of all pages hang on this."""
    return source_order(Workspace.open(), runs())


def scores(run_ids: Sequence[str]) -> pd.DataFrame:
    """Held-out bits per byte over training, long: run_id, tokens, domain (source or `macro`), value."""
    ws = Workspace.open()
    return _scores(str(ws.root), stamp_of("scores.jsonl", only=run_ids), tuple(run_ids))


def losses(run_ids: Sequence[str]) -> pd.DataFrame:
    """Training loss, long: run_id, tokens, value in nats per token."""
    ws = Workspace.open()
    return _losses(str(ws.root), stamp_of("metrics.jsonl", only=run_ids), tuple(run_ids))


def samples(run_id: str) -> pd.DataFrame:
    """What the run wrote to each prompt: step, prompt_id, prompt, output. Untrusted text, controls made visible."""
    ws = Workspace.open()
    frame = _samples(str(ws.root), stamp_of("samples.jsonl", only=[run_id]), run_id)
    return frame.assign(prompt=[visible(t) for t in frame["prompt"]], output=[visible(t) for t in frame["output"]])


def verdict() -> tuple[list[str], dict[str, float]] | None:
    """The last recommendation in sentences, with what came of it if it was tried, and its weights; None before it."""
    told = read_object(Workspace.open().verdict)
    if not told:
        return None
    return [*told["sentences"], told["realised"]["words"]], told["mixture"]["weights"]


def stamp_of(*names: str, only: Iterable[str] | None = None, more: Iterable[Path] = ()) -> Stamp:
    """Changes when a run comes, or a file of these names in a run does, or one of `more`: a key for caches.

    `only`: of these runs alone; what goes on in the others of the lab then changes nothing.
    """
    ws = Workspace.open()
    runs = _folders(ws) if only is None else [f"{ws.root}/runs/{run_id}" for run_id in only]
    return _stamp([*(f"{run}/{name}" for run in runs for name in ("run.json", *names)), *more])


def late(scores: pd.DataFrame) -> pd.DataFrame:
    """The second half of training: there the runs differ, and the first steps do not flatten the picture."""
    return scores.loc[scores["tokens"] >= max(scores["tokens"], default=0) / 2]


def visible(text: str) -> str:
    r"""The text with control and direction characters written out, so that it cannot pose as other text.

    >>> visible("a\x1b[31m \u202eb")
    'a<U+001B>[31m <U+202E>b'
    """
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf") else f"<U+{ord(c):04X}>" for c in text
    )


def is_live(runs: pd.DataFrame) -> bool:
    """True while some run waits or runs, so that a page should look again; one that was stopped waits for a person."""
    if runs.empty:
        return False
    stopped = runs["reason"].fillna("").str.startswith(("stopped", "interrupted"))
    return bool((runs["state"].isin(("running", "slow")) | ((runs["state"] == "queued") & ~stopped)).any())


def named(frame: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The frame with a column `run`: the label of each row's run."""
    labels = dict(zip(runs["run_id"], runs["label"], strict=True))
    return frame.assign(run=[labels[r] for r in frame["run_id"]])


def counts(runs: pd.DataFrame) -> dict[str, int]:
    """State -> number of runs, states in their usual order, those without runs left out (`finished` stays).

    >>> counts(pd.DataFrame({"state": ["failed", "finished", "finished"]}))
    {'finished': 2, 'failed': 1}
    """
    got = Counter(runs["state"])
    return {s: got[s] for s in (*STATES, *sorted(set(got) - set(STATES))) if s == "finished" or got[s]}


def summarised(runs: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The runs with the last, lowest or highest of their evaluations as bits per byte; ConfigError for another rule."""
    if rule == "last":
        return runs
    if rule not in RULES:
        raise ConfigError(f"'{rule}' is no way to sum up a run.{nearest(rule, RULES)}")
    ws = Workspace.open()
    told = _extremes(str(ws.root), _stamp(_run_files(ws, "scores.jsonl")), RULES[rule])
    told = told.reindex(index=runs["run_id"], columns=[c for c in runs.columns if c in told.columns])
    return runs.assign(**{str(c): told[c].to_numpy() for c in told.columns})


def mixes(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs' mixtures, long: run (label), source, weight (share of training tokens)."""
    columns = [c for c in runs.columns if c.startswith("w_")]
    told = {run["label"]: {c.removeprefix("w_"): run[c] for c in columns} for run in runs.to_dict("records")}
    return bars(told).dropna()


def bars(mixtures: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Named mixtures in the shape of `mixes`."""
    told = [(name, source, w) for name, weights in mixtures.items() for source, w in weights.items()]
    return pd.DataFrame(told, columns=["run", "source", "weight"])


def _run_files(ws: Workspace, *names: str) -> list[str]:
    told = ("run.json", *names)
    return [str(ws.database), *(f"{run}/{name}" for run in _folders(ws) for name in told)]


def _folders(ws: Workspace) -> list[str]:
    """Every folder below `runs/`; `Workspace.runs` looks into each of a thousand, and a stamp does so anyway."""
    try:
        with os.scandir(ws.root / "runs") as found:
            return [entry.path for entry in found]
    except FileNotFoundError:
        return []


def _stamp(files: Iterable[Path | str]) -> Stamp:
    """(files there, newest change in ns, bytes together)."""
    there, newest, size = 0, 0, 0
    for path in files:
        try:
            stat = os.stat(path)  # noqa: PTH116  # thousands of files each time a page is drawn: a Path takes twice as long
        except FileNotFoundError:
            continue
        there, newest, size = there + 1, max(newest, stat.st_mtime_ns), size + stat.st_size
    return there, newest, size


@st.cache_data(max_entries=4, show_spinner=False)
def _runs(root: str, stamp: Stamp, at: int) -> tuple[float, pd.DataFrame]:
    """When they were looked at, and the runs; `at`: 0 for the first look, another number for each later one."""
    began, frame = time.time(), Store.open(Workspace(Path(root))).runs()
    if frame.empty:
        return began, frame
    label = frame["name"].astype(str) + " s" + frame["seed"].astype("Int64").astype(str)
    return began, frame.assign(label=label.where(~label.duplicated(keep=False), frame["run_id"]))


@st.cache_data(max_entries=2, show_spinner=False)
def _listed(root: str, stamp: Stamp, at: int) -> tuple[float, list[dict[str, Any]]]:
    return time.time(), list_runs(Workspace(Path(root)))


@st.cache_data(max_entries=4, show_spinner=False)
def _extremes(root: str, stamp: Stamp, aggregate: str) -> pd.DataFrame:
    """Index run_id, a column `bpb_<source>` each: the lowest or highest value over a run's evaluations."""
    rows = Store.open(Workspace(Path(root))).sql(
        f"SELECT run_id, task[5:] AS source, {aggregate}(value) AS value FROM score "
        "WHERE metric = 'bpb' AND starts_with(task, 'bpb/') GROUP BY ALL"
    )
    return rows.assign(source="bpb_" + rows["source"]).pivot(index="run_id", columns="source", values="value")


@st.cache_data(max_entries=4, show_spinner=False)
def _sources(root: str, stamp: Stamp) -> pd.DataFrame:
    frame = Store.open(Workspace(Path(root))).sources()
    made = [(Path(path) / MANIFEST).stat().st_mtime_ns for path in frame["path"]]
    newest = frame.assign(made=made).sort_values(["source", "made"]).drop_duplicates("source", keep="last")
    return newest.drop(columns="made").reset_index(drop=True)


@st.cache_data(max_entries=4, show_spinner=False)
def _best(root: str, stamp: Stamp) -> pd.DataFrame:
    return Store.open(Workspace(Path(root))).sql(
        "SELECT leaderboard.*, shares FROM leaderboard LEFT JOIN (SELECT mix_id, string_agg(source || ' ' || "
        "round(100 * w)::INT, ', ' ORDER BY w DESC, source) AS shares FROM (SELECT mix_id, source, "
        "any_value(weight_frac) AS w FROM mix_component WHERE weight_frac > 0 GROUP BY ALL) GROUP BY mix_id) "
        "USING (mix_id) WHERE n_scored > 0 ORDER BY bpb_macro, mix_id"
    )


@st.cache_data(max_entries=16, show_spinner=False)
def _scores(root: str, stamp: Stamp, run_ids: tuple[str, ...]) -> pd.DataFrame:
    long = Store.open(Workspace(Path(root))).scores(list(run_ids))
    long = long.loc[long["task"].str.startswith("bpb/")]
    told = long.assign(domain=[task.removeprefix("bpb/") for task in long["task"]])
    return told.loc[:, ["run_id", "tokens", "domain", "value"]]


@st.cache_data(max_entries=16, show_spinner=False)
def _losses(root: str, stamp: Stamp, run_ids: tuple[str, ...]) -> pd.DataFrame:
    told = Store.open(Workspace(Path(root))).metrics(list(run_ids), ["loss/train"])
    return told.loc[:, ["run_id", "tokens", "value"]]


@st.cache_data(max_entries=16, show_spinner=False)
def _samples(root: str, stamp: Stamp, run_id: str) -> pd.DataFrame:
    return Store.open(Workspace(Path(root))).samples([run_id])
