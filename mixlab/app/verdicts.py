"""What the pages Compare, Explore and Vibes read: frames of the lab, kept until a file changes.

Reads through results/ and lab.py; writes what a person asks to keep: a view, and the draft of the Mix page.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from mixlab.app import drafts, lab, weights
from mixlab.results import landscape, versus, vibes
from mixlab.results.store import Store
from mixlab.workspace import Workspace

MIX_DRAFT = "mix"
"""The draft that the Mix page takes up."""
VIEW = "compare-"
VOTES_COMMAND = "mixlab db query \"SELECT run_id, key, value FROM annotation WHERE kind = 'vote'\""


def mixes(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Mix, as people name it -> its runs (alike but for their seed), in the order of the frame; all states."""
    if runs.empty:
        return {}
    kinds: dict[tuple[str, str], list[tuple[str, str]]] = {}
    columns = (runs[c].astype(str) for c in ("mix_id", "recipe", "name", "run_id"))
    for mix_id, recipe, name, run_id in zip(*columns, strict=True):
        kinds.setdefault((mix_id, recipe), []).append((name, run_id))
    told: dict[str, list[str]] = {}
    for (mix_id, recipe), members in kinds.items():
        name = min(name for name, _ in members)
        name = name if name not in told else f"{name} {recipe}"
        told[name if name not in told else f"{name} {mix_id}"] = [run_id for _, run_id in members]
    return told


def choices(runs: pd.DataFrame, mixes: Mapping[str, Sequence[str]]) -> list[str]:
    """What can be compared: mixes by name first, then single runs by id."""
    return [*mixes, *(str(r) for r in runs["run_id"] if r not in mixes)]


def short_name(choice: str, runs: pd.DataFrame, mixes: Mapping[str, Sequence[str]]) -> str:
    """A choice for a legend: the mix, or the run's label."""
    return choice if choice in mixes else str(runs.loc[runs["run_id"] == choice, "label"].iloc[0])


def representative(run_ids: Sequence[str], runs: pd.DataFrame) -> str:
    """The run that stands for these: the first by name that has finished, else the first."""
    done = set(runs.loc[runs["state"] == "finished", "run_id"])
    return min(run_ids, key=lambda r: (r not in done, r))


def comparison(run_a: str, run_b: str) -> dict[str, Any]:
    """`versus.versus` of two runs, their seeds included."""
    ws = Workspace.open()
    return _comparison(str(ws.root), lab.stamp_of("scores.jsonl", "done.json", "items.jsonl"), run_a, run_b)


def settings(run_ids: Sequence[str]) -> pd.DataFrame:
    """Settings in which these runs differ, a column a run."""
    ws = Workspace.open()
    return _settings(str(ws.root), lab.stamp_of(only=run_ids), tuple(run_ids))


def curves(groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Held-out bits per byte over seeds: `versus.bands` of these groups."""
    of = {run: group for group, runs in groups.items() for run in runs}
    return versus.bands(lab.scores(list(of)), of)


def task_scores(groups: Mapping[str, str], metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of tasks by group, long, and their floors; `groups`: run -> name."""
    ws = Workspace.open()
    stamp = lab.stamp_of("scores.jsonl", "items.jsonl", only=groups)
    scores, floors = _tasks(str(ws.root), stamp, tuple(groups), metric)
    return scores.assign(group=[groups[r] for r in scores["run_id"]]), floors


def task_metrics(run_ids: Sequence[str]) -> list[str]:
    """Metrics that some task of these runs was scored by; the two that tell most first, what all agree in last."""
    ws = Workspace.open()
    found = _metrics(str(ws.root), lab.stamp_of("scores.jsonl", only=run_ids), tuple(run_ids))
    return sorted(found, key=lambda m: (m != "acc_char", m != "gold_bpb"))


def compared(told: Mapping[str, Any]) -> pd.DataFrame:
    """The table of a comparison: task, a, b, difference, lo, hi, interval, verdict (who, or 'not distinguishable')."""
    rows = [
        {**{k: s[k] for k in ("task", "a", "b", "difference", "lo", "hi", "interval", "distinguishable", "method")}}
        | {"verdict": _winner(s["distinguishable"], s["difference"] < 0)}
        for s in told["scores"]
    ]
    return pd.DataFrame(rows)


def tasked(told: Mapping[str, Any]) -> pd.DataFrame:
    """The same for tasks, item by item."""
    rows = [
        {"task": f"{t['task']} {t['metric']}", "n": t["n"], "a": t["a"], "b": t["b"], "difference": t["difference"]}
        | {
            "floor": t.get("floor"),
            "lo": t["lo"],
            "hi": t["hi"],
            "p_holm": t["p_holm"],
            "distinguishable": t["winner"] in ("a", "b"),
        }
        | {"verdict": f"{t['winner']} is better" if t["winner"] in ("a", "b") else t["winner"]}
        for t in told["tasks"]
    ]
    return pd.DataFrame(rows)


def moved(told: Mapping[str, Any]) -> pd.DataFrame:
    """The change of shares of a comparison, long: source, points."""
    return pd.DataFrame([{"source": s, "points": p} for s, p in told["points"].items()])


def as_json(told: Mapping[str, Mapping[str, Any]]) -> str:
    """Comparisons as JSON: pair -> what `mixlab runs compare --json` tells."""
    return json.dumps(told, indent=1, default=str)


def csv(told: Mapping[str, Mapping[str, Any]]) -> str:
    """Comparisons as one table: pair, what, and the columns of `compared` or `tasked`."""
    frames = [
        frame.assign(pair=pair, what=what)
        for pair, one in told.items()
        for what, frame in (("bpb", compared(one)), ("task", tasked(one)))
        if len(frame)
    ]
    return pd.concat(frames).to_csv(index=False) if frames else ""


def views(known: Sequence[str]) -> dict[str, list[str]]:
    """Views that were saved: name -> what was picked, the baseline first; what is gone from the lab is left out."""
    told = {n.removeprefix(VIEW): drafts.load(n) or {} for n in drafts.names() if n.startswith(VIEW)}
    return {n: [c for c in v.get("ids", []) if c in known] for n, v in told.items()}


def save_view(name: str, picked: Sequence[str]) -> None:
    """Keeps what is compared under this name. ConfigError for a name that is none."""
    weights.check_word(name)
    drafts.save(f"{VIEW}{name}", {"ids": list(picked)})


def view_command(name: str, picked: Sequence[str]) -> str:
    """The shell lines that save the same view; ConfigError as `save_view`."""
    weights.check_word(name)
    return drafts.as_command(f"{VIEW}{name}", {"ids": list(picked)})


def use_mix(mixture: Mapping[str, float], origin: str) -> None:
    """Writes the mixture to the draft of the Mix page; `origin` says where it is from."""
    names = sorted(set(lab.source_names()) | set(mixture))
    shares = weights.as_weights(weights.on_grid(mixture, names), names)
    drafts.save(MIX_DRAFT, {"weights": shares, "origin": origin})


def placed() -> tuple[pd.DataFrame, int]:
    """Comparable finished runs, best first, with `label`; how many others are left out: `landscape.alike`."""
    return landscape.alike(lab.runs())


def sources_of(runs: pd.DataFrame) -> list[str]:
    """Sources of which these runs have a share, by name."""
    return [c.removeprefix(landscape.SHARE) for c in landscape.shares_of(runs)]


def widest(runs: pd.DataFrame) -> list[str]:
    """The three sources whose shares differ most between these runs: corners that spread the points."""
    spread = {s: float(runs[f"{landscape.SHARE}{s}"].to_numpy(float).std()) for s in sources_of(runs)}
    return sorted(spread, key=lambda s: (-spread[s], s))[:3]


def sampled(runs: pd.DataFrame) -> dict[str, str]:
    """Runs that wrote samples, the lowest bits per byte first: run -> its label."""
    if runs.empty:
        return {}
    found = runs.loc[[is_written(Path(path) / "samples.jsonl") for path in runs["path"]]]
    found = found.sort_values(["bpb_macro", "run_id"], na_position="last")
    return dict(zip(found["run_id"], found["label"], strict=True))


def rivals(runs: pd.DataFrame, among: Sequence[str]) -> list[str]:
    """Two of these runs to begin with: the first, and the next of another mix, under the same seed if there is one."""
    told = runs.set_index("run_id").loc[list(among), ["mix_id", "seed"]]
    first, mix, seed = among[0], told["mix_id"], told["seed"]
    others = [r for r in among if mix[r] != mix[first]]
    alike = [r for r in others if seed[r] == seed[first]]
    return [first, *(alike or others)[:1]]


def is_written(path: Path) -> bool:
    """True if the file is there and holds something."""
    return path.exists() and path.stat().st_size > 0


def samples(run_ids: Sequence[str]) -> pd.DataFrame:
    """Samples of these runs as they are: untrusted text."""
    ws = Workspace.open()
    return _samples(str(ws.root), lab.stamp_of("samples.jsonl", only=run_ids), tuple(run_ids))


def votes() -> pd.DataFrame:
    """Every vote that holds: `vibes.votes`."""
    ws = Workspace.open()
    return _votes(str(ws.root), lab.stamp_of("annotations.jsonl"))


def _winner(distinguishable: bool, b_is_lower: bool) -> str:
    if not distinguishable:
        return "not distinguishable"
    return "b is better" if b_is_lower else "a is better"


@st.cache_data(max_entries=64, show_spinner=False)
def _comparison(root: str, stamp: lab.Stamp, run_a: str, run_b: str) -> dict[str, Any]:
    return versus.versus(Workspace(Path(root)), run_a, run_b, lab.listed())


@st.cache_data(max_entries=16, show_spinner=False)
def _settings(root: str, stamp: lab.Stamp, run_ids: tuple[str, ...]) -> pd.DataFrame:
    return versus.settings(Store.open(Workspace(Path(root))), run_ids)


@st.cache_data(max_entries=16, show_spinner=False)
def _tasks(root: str, stamp: lab.Stamp, run_ids: tuple[str, ...], metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    store = Store.open(Workspace(Path(root)))
    return versus.task_scores(store, run_ids, metric), versus.floors(store, run_ids, metric)


@st.cache_data(max_entries=16, show_spinner=False)
def _metrics(root: str, stamp: lab.Stamp, run_ids: tuple[str, ...]) -> list[str]:
    return versus.task_metrics(Store.open(Workspace(Path(root))), run_ids)


@st.cache_data(max_entries=16, show_spinner=False)
def _samples(root: str, stamp: lab.Stamp, run_ids: tuple[str, ...]) -> pd.DataFrame:
    return Store.open(Workspace(Path(root))).samples(list(run_ids))


@st.cache_data(max_entries=4, show_spinner=False)
def _votes(root: str, stamp: lab.Stamp) -> pd.DataFrame:
    return vibes.votes(Store.open(Workspace(Path(root))))
