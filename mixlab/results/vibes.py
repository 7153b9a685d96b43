"""Samples side by side, blind until voted: which text stands where, the votes, and how often each run won.

Reads frames of `Store.samples`; a vote is a line of annotations.jsonl in the folder of the run that was shown first by
name: kind `vote`, a JSON key (prompt, the other run, both steps, who), value `won`, `lost` or `tie`. A second vote of
the same person on the same texts replaces the first. Votes are opinions: rankings and advice do not read them.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd
from filelock import FileLock

from mixlab.errors import ConfigError, MissingError
from mixlab.results.annotations import FILE
from mixlab.results.statistics import wilson
from mixlab.results.store import Store
from mixlab.seeds import generator
from mixlab.workspace import Workspace, append_line, disk_errors

KIND = "vote"
TIE = "tie"
RESULTS = ("won", "lost", TIE)
Text = tuple[str, int]
"""A run and a step: whose text it is."""


def shown(
    samples: pd.DataFrame, run_ids: Sequence[str], steps: Sequence[int], temperature: float
) -> list[dict[str, Any]]:
    """Prompts that every one of these texts answers: `prompt`, `seeds` (of the draw), `texts` (whose -> what).

    `steps`: of checkpoints, -1 for the last one of each run. Prompts are told apart by their text, not their number.
    """
    told: Any = samples.loc[samples["temperature"] == temperature]
    last = told.groupby("run_id")["step"].max()
    wanted = {(r, int(last[r]) if s < 0 else int(s)) for r in run_ids if r in last.index for s in steps}
    found: dict[str, dict[str, Any]] = {}
    for row in told.to_dict("records"):
        whose = (row["run_id"], int(row["step"]))
        if whose in wanted:
            at = found.setdefault(row["prompt"], {"prompt": row["prompt"], "seeds": set(), "texts": {}})
            at["texts"].setdefault(whose, row["output"])
            at["seeds"].add(int(row["seed"]))
    return [at for at in found.values() if set(at["texts"]) == wanted]


def order(prompt: str, texts: Sequence[Text]) -> list[Text]:
    """The texts in the order in which they are shown: shuffled by the prompt, the same each time."""
    known = sorted(texts)
    digest = hashlib.sha256(json.dumps([prompt, known]).encode()).hexdigest()
    return [known[i] for i in generator(int(digest[:8], 16), "vibes").permutation(len(known))]


def vote(
    ws: Workspace, prompt: str, temperature: float, texts: Sequence[Text], best: Text | None, author: str | None = None
) -> None:
    """Stores that `best` is better than each of the other texts; None: no difference between any two.

    ConfigError unless there are two different texts at least and `best` is one of them; MissingError if a run is gone.
    """
    if len(set(texts)) < 2 or (best is not None and best not in texts):
        raise ConfigError("a vote needs two different texts, and its choice has to be one of them.")
    for run, _ in texts:
        if not (ws.root / "runs" / run / "run.json").exists():
            raise MissingError(f"there is no run '{run}' any more: reload the page, `mixlab runs ls` lists the others.")
    for a, b in combinations(sorted(set(texts)), 2):
        if best is not None and best not in (a, b):
            continue  # neither was chosen: nothing is known of these two
        value = TIE if best is None else "won" if best == a else "lost"
        path = ws.root / "runs" / a[0] / FILE
        line = {
            "ts": time.time(),
            "kind": KIND,
            "key": _key(prompt, temperature, a, b, author),
            "value": value,
            "author": _me(author),
        }
        with disk_errors(path), FileLock(path.parent / ".annotations.lock"):  # the app and a shell may write at once
            append_line(path, line)


def words_of(prompt: str, temperature: float, texts: Sequence[Text], best: Text | None) -> list[str]:
    """The command that casts this vote.

    >>> words_of("Once", 0.8, [("a-s0", 9), ("b-s0", 9)], ("b-s0", 9))
    ['runs', 'vote', '--temperature', '0.8', 'Once', 'b-s0@9', 'a-s0@9']
    """
    order = sorted(set(texts), key=lambda text: (text != best, text))
    options = ["--temperature", f"{temperature:g}"] if temperature else []
    options += [] if best else ["--tie"]
    options += ["--"] if prompt.startswith("-") else []
    return ["runs", "vote", *options, prompt, *(f"{run}@{step}" for run, step in order)]


def text_of(name: str, prompt: str, temperature: float, samples: pd.DataFrame) -> Text:
    """The text that `RUN@STEP` (or `RUN`: its last step) names among the samples of that run.

    ConfigError where the run wrote nothing to this prompt, at this temperature or at this step: says what there is.
    """
    run, _, step = name.partition("@")
    for column, value, option in (("prompt", prompt, "the prompt"), ("temperature", temperature, "--temperature")):
        known = sorted(set(samples[column]))
        samples = samples.loc[samples[column] == value]
        if samples.empty:
            told = ", ".join(repr(k) for k in known) or "no samples at all"
            raise ConfigError(f"{run} has no sample for {option} {value!r}. It has: {told}.")
    steps = sorted({int(s) for s in samples["step"]})
    if step and step not in map(str, steps):
        raise ConfigError(f"{name}: there is no sample at step '{step}'. There are: {', '.join(map(str, steps))}.")
    return str(samples["run_id"].iloc[0]), int(step) if step else steps[-1]


def votes(store: Store) -> pd.DataFrame:
    """Every vote that holds: run_a, step_a, run_b, step_b, prompt (8 hex), author, value (of run_a)."""
    rows = store.sql("SELECT run_id, key, value FROM annotation WHERE kind = ? ORDER BY run_id, key", [KIND])
    told = list[dict[str, Any]]()
    for run, key, value in zip(rows["run_id"], rows["key"], rows["value"], strict=True):
        try:
            at = json.loads(key)
            row = {"run_a": run, "step_a": int(at["step"]), "run_b": str(at["against"]), "step_b": int(at["at"])}
            row |= {"prompt": str(at["prompt"]), "author": str(at["by"]), "value": value}
        except (ValueError, KeyError, TypeError):
            continue  # not of ours: annotations are anybody's
        told += [row] if value in RESULTS else []
    return pd.DataFrame(told, columns=["run_a", "step_a", "run_b", "step_b", "prompt", "author", "value"])


def is_voted(
    told: pd.DataFrame, prompt: str, temperature: float, texts: Sequence[Text], author: str | None = None
) -> bool:
    """True once this person has voted on one of these pairs of texts."""
    pairs = set(combinations(sorted(set(texts)), 2))
    mine = told.loc[(told["prompt"] == _hash(prompt, temperature)) & (told["author"] == _me(author))]
    rows = zip(mine["run_a"], mine["step_a"], mine["run_b"], mine["step_b"], strict=True)
    return any(((a, i), (b, j)) in pairs for a, i, b, j in rows)


def tally(told: pd.DataFrame) -> pd.DataFrame:
    """One row a run, most won first: run_id, won, lost, tied, share (won of those decided), lo, hi (Wilson, 95 %).

    Votes between two checkpoints of one run are left out; ties are counted and decide nothing. Share and interval are
    missing where nothing was decided. `said`: "not distinguishable" where the interval holds one half.
    """
    counts: dict[str, dict[str, int]] = {}
    for row in told.loc[told["run_a"] != told["run_b"]].to_dict("records"):
        a, b = (counts.setdefault(row[side], dict.fromkeys(RESULTS, 0)) for side in ("run_a", "run_b"))
        a[row["value"]] += 1
        b[{"won": "lost", "lost": "won", TIE: TIE}[row["value"]]] += 1
    rows = [_counted(run, found) for run, found in counts.items()]
    columns = ["run_id", "won", "lost", "tied", "share", "lo", "hi", "said"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values(["share", "won", "run_id"], ascending=[False, False, True], ignore_index=True)


def _counted(run: str, found: Mapping[str, int]) -> dict[str, Any]:
    won, lost = found["won"], found["lost"]
    told: dict[str, Any] = {"run_id": run, "won": won, "lost": lost, "tied": found[TIE]}
    if not won + lost:
        return {**told, "share": None, "lo": None, "hi": None, "said": "nothing decided"}
    lo, hi = wilson(won, won + lost)
    said = "preferred" if lo > 0.5 else "not preferred" if hi < 0.5 else "not distinguishable"
    return {**told, "share": won / (won + lost), "lo": lo, "hi": hi, "said": said}


def _key(prompt: str, temperature: float, a: Text, b: Text, author: str | None) -> str:
    at = {"prompt": _hash(prompt, temperature), "step": a[1], "against": b[0], "at": b[1], "by": _me(author)}
    return json.dumps(at, sort_keys=True)


def _hash(prompt: str, temperature: float) -> str:
    return hashlib.sha256(json.dumps([prompt, temperature]).encode()).hexdigest()[:8]


def _me(author: str | None) -> str:
    return author or os.environ.get("USER") or "someone"
