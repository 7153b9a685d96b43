"""A lab as pandas frames, for notebooks and scripts: `mixlab.open()`. Reads what is on disk, changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mixlab.data import atlas
from mixlab.data.cleaned import Cleaned, cleaned_sources, raw_of
from mixlab.data.documents import by_hash, read_docs, read_list
from mixlab.errors import ConfigError, MissingError, nearest
from mixlab.results.store import Store
from mixlab.workspace import Workspace

UNITS = {
    "bpb": "bits per byte", "w": "share of training tokens", "weight_frac": "share of training tokens",
    "tokens_per_s": "tokens per second", "flops": "floating-point operations", "epochs": "passes",
    "time_utc": "UTC", "created_at": "UTC", "heartbeat_at": "UTC", "ended_at": "UTC",
}  # fmt: skip
"""Units of columns whose names do not end in one; `bpb_wiki` and `w_wiki` go by what stands before the first `_`."""
ENDINGS = {"tokens": "tokens", "bytes": "bytes", "docs": "documents", "s": "seconds", "frac": "share (0 to 1)",
           "usd": "US dollars", "lines": "lines", "points": "percentage points"}  # fmt: skip
"""Last word of a column's name -> its unit."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A read-only lab. Holds no handle: usable from several threads, and each call sees what is on disk now.

    Units stand in each frame's `attrs["units"]`: column -> unit. `lab` in the examples is `mixlab.open()`.
    """

    ws: Workspace

    @staticmethod
    def open(path: str | Path | None = None) -> "Lab":
        """The lab at `path`; None: `$MIXLAB_HOME`, else ./lab. MissingError if there is none."""
        ws = Workspace(Path(path).absolute()) if path is not None else Workspace.open()
        if not ws.root.is_dir():
            raise MissingError(f"there is no lab at {ws.root}: `mixlab demo` makes one, `mixlab run` too.")
        return Lab(ws)

    def runs(self, where: str | None = None, *, only_differing: bool = False) -> pd.DataFrame:
        """One row a run, oldest first: `mixture, seed, state, …`, shares `w_<source>`, scores `bpb_<source>`.

        `where`: a condition in SQL, such as `"state = 'finished' AND seed = 0"`. `only_differing`: without the columns
        in which all these runs agree. ConfigError if the condition cannot be read.

        ```python
        lab.runs("state = 'finished' AND seed = 0").sort_values("bpb_macro")[["run_id", "bpb_macro"]]
        ```
        """
        store = Store.open(self.ws)
        found = store.query(f"SELECT * FROM run_wide WHERE {where or 'true'} ORDER BY created_at, run_id")
        if only_differing and len(found) > 1:
            found = found.loc[:, [c for c in found.columns if c == "run_id" or len(set(found[c].astype(str))) > 1]]
        return with_units(found)

    def metrics(self, runs: Sequence[str] | None = None, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Numbers logged while training, long: `run_id, name, step, tokens, time_utc, value`; None: all of them.

        ```python
        losses = lab.metrics(names=["loss/train"])
        losses.pivot_table(index="tokens", columns="run_id", values="value").tail(3)
        ```
        """
        return with_units(Store.open(self.ws).metrics(runs, names))

    def scores(self, runs: Sequence[str] | None = None, *, final: bool = True) -> pd.DataFrame:
        """What evaluation said, long: `run_id, task, metric, step, value, stderr, n_items, …`.

        `final=False`: the live evaluations during training too.

        ```python
        scores = lab.scores()
        scores.loc[scores["metric"] == "bpb"].pivot(index="run_id", columns="task", values="value")
        ```
        """
        return with_units(Store.open(self.ws).scores(runs, final))

    def samples(self, runs: Sequence[str] | None = None) -> pd.DataFrame:
        """What the models wrote: `run_id, step, prompt_id, prompt, output, …`. Untrusted text.

        ```python
        lab.samples().groupby("run_id")[["prompt", "output"]].last()
        ```
        """
        return with_units(Store.open(self.ws).samples(runs))

    def sources(self) -> pd.DataFrame:
        """One row a prepared source: `source, licence, language, docs, bytes, tokens, …`.

        ```python
        lab.sources().set_index("source")[["docs", "bytes", "tokens"]]
        ```
        """
        return with_units(Store.open(self.ws).sources())

    def mixes(self, runs: Sequence[str] | None = None) -> pd.DataFrame:
        """A row a run (index `run_id`), a column a source: shares of training tokens; each row sums to 1.

        ```python
        (100 * lab.mixes()).round(1)  # per cent
        ```
        """
        found = Store.open(self.ws).sql("SELECT run_id, source, weight_frac FROM mix_component")
        if runs is not None:
            self._known(runs)
            found = found.loc[found["run_id"].isin(list(runs))]
        table = found.pivot(index="run_id", columns="source", values="weight_frac").fillna(0.0)
        table.columns.name = None
        table.attrs["units"] = dict.fromkeys(map(str, table.columns), UNITS["w"])
        return table

    def leaderboard(self) -> pd.DataFrame:
        """One row a mix of finished runs, best first: mean and standard deviation of macro bits per byte over seeds.

        ```python
        lab.leaderboard().head(3)
        ```
        """
        return with_units(self.sql("SELECT * FROM leaderboard"))

    def diff(self, a: str, b: str) -> pd.DataFrame:
        """Where two runs differ: `key, a, b, difference` (b - a where both are numbers; shares in points).

        Settings first, then shares (`w_<source>`), then final scores (`bpb_<source>`). MissingError, with the nearest
        name, if there is no such run.

        ```python
        one, other, *_ = lab.runs("state = 'finished'")["run_id"]
        lab.diff(one, other)
        ```
        """
        self._known([a, b])
        store = Store.open(self.ws)
        params = store.sql("SELECT run_id, key, value_text FROM run_param WHERE run_id IN (?, ?)", [a, b])
        texts = {r: dict(zip(f["key"], f["value_text"], strict=True)) for r, f in params.groupby("run_id")}
        one, other = texts.get(a, {}), texts.get(b, {})
        rows: list[tuple[str, Any, Any, float | None]] = [
            (key, one.get(key), other.get(key), None)
            for key in sorted({*one, *other})
            if one.get(key) != other.get(key) and not key.startswith("mixture.weights")
        ]
        wide = store.sql("SELECT * FROM run_wide WHERE run_id IN (?, ?)", [a, b]).set_index("run_id")
        x, y = ({str(c): v for c, v in wide.loc[run].to_dict().items()} for run in (a, b))
        for column in sorted((c for c in x if c.startswith(("w_", "bpb_"))), key=lambda c: not c.startswith("w_")):
            scale, missing = (100, 0.0) if column.startswith("w_") else (1, None)
            before, after = (_number(side[column], missing) for side in (x, y))
            if before != after:
                change = None if before is None or after is None else scale * (after - before)
                rows.append((column, before, after, change))
        found = pd.DataFrame(rows, columns=["key", "a", "b", "difference"])
        found.attrs["units"] = {"difference": "percentage points for w_*, bits per byte for bpb_*"}
        return found

    def retention(self, source: str | None = None) -> pd.DataFrame:
        """What the newest cleaning of each source left after each rule: `source, step, docs, bytes, tokens`.

        ```python
        lab.retention().pivot(index="step", columns="source", values="bytes")
        ```
        """
        return with_units(atlas.waterfall(cleaned_sources(self.ws, source)))

    def documents(self, source: str, *, kept: bool = True, rule: str | None = None, n: int = 50) -> pd.DataFrame:
        """Up to `n` documents of a source that cleaning kept or dropped: `id, reason, rules_hit, text, url`.

        `rule`: only those that this rule would drop. Which ones: the first by a hash of the id, so the same each time
        and no special place in the source. The text is the raw one, and untrusted. ConfigError for an unknown rule.

        ```python
        lab.documents("notes", kept=False, n=5)[["reason", "text"]]
        ```
        """
        told = cleaned_sources(self.ws, source)[0]
        chosen = _verdicts(told, kept, rule)
        chosen = chosen.iloc[sorted(range(len(chosen)), key=lambda i: by_hash(chosen["id"].iloc[i]))[:n]]
        wanted = pa.array(chosen["id"].tolist(), pa.string())
        texts: dict[str, tuple[str, str | None]] = {}
        for batch in read_docs(raw_of(self.ws, told), ["id", "text", "url"]):
            is_wanted: Any = pc.is_in(batch["id"], value_set=wanted)  # pyright: ignore[reportUnknownMemberType]  # bare Array
            texts |= {row["id"]: (row["text"], row["url"]) for row in batch.filter(is_wanted).to_pylist()}
        urls: list[Any] = [texts[i][1] for i in chosen["id"]]
        return chosen.assign(text=[texts[i][0] for i in chosen["id"]], url=urls).reset_index(drop=True)

    def sql(self, query: str, params: Sequence[Any] | None = None) -> pd.DataFrame:
        """The answer to a query over the tables and views of docs/store-and-sweeps.md, live runs included.

        ```python
        lab.sql("SELECT mixture, bpb_macro FROM run_wide WHERE seed = ? ORDER BY bpb_macro LIMIT 3", [0])
        ```
        """
        store = Store.open(self.ws)
        return with_units(store.sql(query, params) if params else store.query(query))

    def _known(self, runs: Sequence[str]) -> None:
        there = {path.name for path in self.ws.runs()}
        for run in runs:
            if run not in there:
                raise MissingError(f"there is no run '{run}' in {self.ws.root}.{nearest(run, there)}")


def with_units(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, with the unit of each column that has one in `attrs["units"]`.

    >>> with_units(pd.DataFrame(columns=["run_id", "bpb_wiki", "seen_tokens"])).attrs["units"]
    {'bpb_wiki': 'bits per byte', 'seen_tokens': 'tokens'}
    """
    told = {str(c): _unit(str(c)) for c in frame.columns}
    frame.attrs["units"] = {column: unit for column, unit in told.items() if unit}
    return frame


def _number(value: Any, missing: float | None) -> float | None:
    return missing if pd.isna(value) else float(value)


def _unit(column: str) -> str | None:
    if column in UNITS:
        return UNITS[column]
    first, last = column.partition("_")[0], column.rpartition("_")[2]
    return UNITS[first] if first in ("bpb", "w") and first != column else ENDINGS.get(last)


def _verdicts(told: Cleaned, kept: bool, rule: str | None) -> pd.DataFrame:
    """id, reason and rules_hit of the documents that were kept, or dropped, and that `rule` hit."""
    table: Any = read_list(told.path / "verdicts.parquet", ["id", "kept", "reason", "rules_hit"], [("kept", "=", kept)])
    rows: pd.DataFrame = table.drop_columns(["kept"]).to_pandas()
    if rule is None:
        return rows
    known = {r.name for r in told.rules}
    if rule not in known:
        raise ConfigError(
            f"'{told.source}' was cleaned by {told.profile}, which has no rule '{rule}'.{nearest(rule, known)}"
        )
    return rows.loc[[rule in hit for hit in rows["rules_hit"]]]
