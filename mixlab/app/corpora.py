"""What the pages on sources, filters and documents read: frames, kept until a manifest of the lab changes.

Everything is worked out in mixlab.data; texts are read for the rows on the page only. A cleaning is named by its
folder, `wiki-60d514d4`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from mixlab import jobs
from mixlab.app.lab import visible
from mixlab.config import CONF, load_source
from mixlab.data import atlas, audit, beside, browse, labels, switches
from mixlab.data.cleaned import Cleaned, cleaned_sources, cleanings
from mixlab.data.explain import Explained
from mixlab.data.explain import explain as look
from mixlab.errors import ConfigError, MissingError
from mixlab.types import Source
from mixlab.workspace import MANIFEST, Workspace, is_complete, read_manifest

PAGE_DOCS = 20
PLAIN_CHARS = 100_000
STARTERS = ("books", "code", "docs", "wiki")
COLUMNS = ["source", "state", "docs", "bytes", "tokens", "licence", "language", "heldout_docs", "made", "fingerprint"]
STAGES = ("raw", "clean", "contamination", "dedup", "split", "tokens")
Stamp = tuple[int, int, int]


def catalogue() -> pd.DataFrame:
    """Every source that the lab or the project knows: `COLUMNS`, kind, attribution, licence_url, problem.

    `state`: ready (tokenised), read (its text is here), described (by a YAML only), broken (a YAML with a mistake).
    docs and bytes are those that are trained on, or those that were read; `made` is when, in unix seconds.
    """
    ws, described = Workspace.open(), _described()
    rows: list[dict[str, Any]] = []
    for name in sorted({*described, *_names(ws, "raw"), *_names(ws, "tokens")}):
        spec = described.get(name)
        raw, tokens = _newest(ws, "raw", name), _newest(ws, "tokens", name)
        of_raw, of_tokens = read_manifest(raw) if raw else {}, read_manifest(tokens) if tokens else {}
        told = {**of_raw, **of_tokens}
        state = "ready" if tokens else "read" if raw else "broken" if isinstance(spec, ConfigError) else "described"
        yaml = spec if isinstance(spec, Source) else None
        made = tokens or raw
        rows.append(
            {
                "source": name,
                "state": state,
                "docs": told.get("docs"),
                "bytes": told.get("bytes"),
                "tokens": of_tokens.get("tokens"),
                "heldout_docs": of_tokens.get("heldout_docs"),
                "language": told.get("language") or (yaml.language if yaml else None),
                "licence": told.get("licence") or (yaml.licence if yaml else None) or "unknown",
                "fingerprint": (of_raw.get("fingerprint") or "")[:12] or None,
                "made": (made / MANIFEST).stat().st_mtime if made else None,
                "kind": yaml.kind if yaml else None,
                "attribution": of_raw.get("attribution") or (yaml.attribution if yaml else None),
                "licence_url": of_raw.get("licence_url") or (yaml.licence_url if yaml else None),
                "problem": str(spec) if isinstance(spec, ConfigError) else None,
            }
        )
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "kind", "attribution", "licence_url", "problem"])
    return frame.astype({"docs": "Int64", "bytes": "Int64", "tokens": "Int64", "heldout_docs": "Int64", "made": float})


def description(source: str) -> Path | None:
    """The YAML that describes a source, the project's before mixlab's own; None if it is only in the lab."""
    return next((path for path in reversed(_files()) if path.stem == source), None)


def starters(known: Sequence[str]) -> list[str]:
    """The sources of the demo, those that are known here."""
    return [name for name in STARTERS if name in known]


def cleaning_names() -> list[str]:
    """Cleanings that can be named: mixlab's own, `starter` first, then the project's."""
    ours = sorted((p.stem for p in (CONF / "cleaning").glob("*.yaml")), key=lambda name: (name != "starter", name))
    folders = (Path.cwd(), Path.cwd() / "sweeps")
    return [*ours, *sorted({p.stem for f in folders for p in (f / "cleaning").glob("*.yaml")} - set(ours))]


def last_job(ws: Workspace, verb: str) -> dict[str, Any] | None:
    """The newest job of `mixlab data <verb>`; None if there was none."""
    mine = [told for told in jobs.jobs(ws) if list(told["words"])[:2] == ["data", verb]]
    return mine[-1] if mine else None


def preparing(ws: Workspace, verb: str = "prepare") -> bool:
    """True while a job of `mixlab data <verb>` runs."""
    told = last_job(ws, verb)
    return told is not None and told["state"] in jobs.LIVE


def stamp() -> Stamp:
    """Changes whenever data of the lab do."""
    return _stamp(Workspace.open())


def choices() -> dict[str, list[Cleaned]]:
    """Source -> its cleanings, the newest first; empty if nothing was cleaned."""
    ws = Workspace.open()
    return _choices(str(ws.root), _stamp(ws))


def tables(keys: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The atlas of some cleanings: stages, kills, lines, overlap."""
    ws = Workspace.open()
    return _tables(str(ws.root), _stamp(ws), tuple(keys))


def rules(keys: Sequence[str]) -> pd.DataFrame:
    """Document-level rules of some cleanings that can be switched: rule, sources, limits, sense, docs.

    `limits`: source -> threshold, empty for a rule without one. `docs`: how many it hits; the most first.
    """
    hit: Counter[str] = Counter()
    for row in tables(keys)["kills"].to_dict("records"):
        hit[row["rule"]] += row["docs_hit"]
    found: dict[str, dict[str, Any]] = {}
    for told in _cleaned(keys):
        limits = browse.thresholds(told)
        for rule in told.rules:
            if rule.name not in ("empty", "random-drop"):
                row = found.setdefault(rule.name, {"rule": rule.name, "sources": [], "limits": {}, "sense": rule.sense})
                row["sources"].append(told.source)
                row["limits"] |= {told.source: limits[rule.name]} if rule.name in limits else {}
                row["docs"] = hit[rule.name]
    frame = pd.DataFrame(list(found.values()), columns=["rule", "sources", "limits", "sense", "docs"])
    return frame.sort_values("docs", ascending=False, kind="stable", ignore_index=True)


def answer(keys: Sequence[str], asked: Sequence[str]) -> pd.DataFrame:
    """What some changes, written `rule=off` or `rule=number`, would do together: as `switches.answer`."""
    ws = Workspace.open()
    return _answer(str(ws.root), _stamp(ws), tuple(keys), tuple(asked))


def histogram(key: str, rule: str) -> pd.DataFrame:
    """Where the measures of a rule lie in one cleaning: as `switches.histogram`."""
    ws = Workspace.open()
    return _histogram(str(ws.root), _stamp(ws), key, rule)


def fates(key: str) -> pd.DataFrame:
    """What became of the documents of one cleaning: as `browse.fates`."""
    ws = Workspace.open()
    return _fates(str(ws.root), _stamp(ws), key)


def documents(key: str, ask: browse.Ask, number: int) -> tuple[pd.DataFrame, int]:
    """One page of documents, from 1, and how many there are in all; as `browse.page`."""
    ws = Workspace.open()
    wish = (ask.fate, ask.rule, ask.only, ask.part, None if ask.ids is None else tuple(ask.ids))
    return _documents(str(ws.root), _stamp(ws), key, wish, number)


def document(key: str, doc_id: str) -> Explained:
    """One document's way, by its id or as `lab.visible` writes that; MissingError if it is not there."""
    ws = Workspace.open()
    try:
        return _document(str(ws.root), _stamp(ws), key, doc_id)
    except MissingError:
        meant = re.sub("<U[+]([0-9A-F]{4,6})>", lambda match: chr(int(match[1], 16)), doc_id)
        if meant == doc_id:
            raise
        return _document(str(ws.root), _stamp(ws), key, meant)


def verdicts(found: Explained) -> pd.DataFrame:
    """Every document rule in order: rule, verdict, measured. Words of a list are untrusted, too."""
    rows = [(name, "drops it" if hit else "passes", visible(what)) for name, hit, what in found.rules]
    return pd.DataFrame(rows, columns=["rule", "verdict", "measured"])


def pair(key: str, found: Explained) -> beside.Pair:
    """A near-duplicate and its kept partner."""
    assert found.duplicate is not None
    return beside.pair(Workspace.open(), _cleaned([key])[0], found.id, found.duplicate)


def audited(keys: Sequence[str]) -> audit.Audit | None:
    """What bias audits of these cleanings found; None if one was never audited."""
    return audit.kept(Workspace.open(), _cleaned(keys))


def labelled(source: str | None = None) -> pd.DataFrame:
    """Labels that people gave, the newest first."""
    return labels.read(Workspace.open(), source)


def label(key: str, doc_id: str, verdict: str, note: str = "") -> None:
    """Calls a document good or bad, or takes that away by `none`."""
    labels.put(Workspace.open(), _cleaned([key])[0], doc_id, verdict, note)


def _cleaned(keys: Sequence[str], root: str | None = None) -> list[Cleaned]:
    ws = Workspace(Path(root)) if root else Workspace.open()
    known = {told.path.name: told for made in _choices(str(ws.root), _stamp(ws)).values() for told in made}
    return [known.get(key) or cleaned_sources(ws, key)[0] for key in keys]


def _files() -> list[Path]:
    """YAMLs that describe one source each: mixlab's own, then the project's."""
    folders = (CONF, Path.cwd(), Path.cwd() / "sweeps")
    return [path for folder in folders for path in sorted((folder / "source").glob("*.yaml"))]


def _described() -> dict[str, Source | ConfigError]:
    """Source -> what its YAML says, or what is wrong with it. Examples and lists of sources are left out."""
    found: dict[str, Source | ConfigError] = {}
    for path in _files():
        head = path.read_text(encoding="utf-8", errors="replace").lstrip()
        if path.stem == "example_files" or not head.startswith("# @package sources."):
            continue
        try:
            found[path.stem] = load_source(path)
        except ConfigError as e:
            found[path.stem] = e
    return found


def _names(ws: Workspace, stage: str) -> set[str]:
    return {p.name.rpartition("-")[0] for p in (ws.root / stage).glob("*-????????") if is_complete(p)}


def _newest(ws: Workspace, stage: str, name: str) -> Path | None:
    made = [p for p in (ws.root / stage).glob(f"{name}-????????") if is_complete(p)]
    return max(made, key=lambda p: (p / MANIFEST).stat().st_mtime_ns, default=None)


def _stamp(ws: Workspace) -> Stamp:
    """(manifests there, newest change in ns of one or its folder, bytes together)."""
    files = [path for stage in STAGES for path in (ws.root / stage).glob(f"*/{MANIFEST}")]
    stats = [(path.stat(), path.parent.stat().st_mtime_ns) for path in files]
    return len(stats), max((max(s.st_mtime_ns, t) for s, t in stats), default=0), sum(s.st_size for s, _ in stats)


@st.cache_data(max_entries=4, show_spinner=False)
def _choices(root: str, stamp: Stamp) -> dict[str, list[Cleaned]]:
    found: dict[str, list[Cleaned]] = {}
    for told in cleanings(Workspace(Path(root))):
        found.setdefault(told.source, []).append(told)
    return dict(sorted(found.items()))


@st.cache_data(max_entries=16, show_spinner=False)
def _tables(root: str, stamp: Stamp, keys: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    cleaned = _cleaned(keys, root)
    looks = {"kills": atlas.kills, "lines": atlas.lines, "overlap": atlas.overlap}
    told = {name: look(cleaned) for name, look in looks.items()}
    told["kills"] = told["kills"].round({"tokens_only": 0, "shapley_docs": 1})
    return {"stages": browse.stages(Workspace(Path(root)), cleaned), **told}


@st.cache_data(max_entries=64, show_spinner=False)
def _answer(root: str, stamp: Stamp, keys: tuple[str, ...], asked: tuple[str, ...]) -> pd.DataFrame:
    return switches.answer(_cleaned(keys, root), [atlas.change(text) for text in asked])


@st.cache_data(max_entries=64, show_spinner=False)
def _histogram(root: str, stamp: Stamp, key: str, rule: str) -> pd.DataFrame:
    return switches.histogram(_cleaned([key], root)[0], rule)


@st.cache_data(max_entries=32, show_spinner=False)
def _lists(root: str, stamp: Stamp, key: str) -> tuple[Path | None, Path | None]:
    lists = browse.lists_of(Workspace(Path(root)), _cleaned([key], root)[0])
    return lists.dedup, lists.split


def _known_lists(root: str, stamp: Stamp, key: str) -> browse.Lists:
    dedup, split = _lists(root, stamp, key)
    return browse.Lists(dedup=dedup, split=split)


@st.cache_data(max_entries=32, show_spinner=False)
def _fates(root: str, stamp: Stamp, key: str) -> pd.DataFrame:
    return browse.fates(_cleaned([key], root)[0], _known_lists(root, stamp, key))


@st.cache_data(max_entries=64, show_spinner=False)
def _documents(root: str, stamp: Stamp, key: str, wish: tuple[Any, ...], number: int) -> tuple[pd.DataFrame, int]:
    told, lists = _cleaned([key], root)[0], _known_lists(root, stamp, key)
    ask = browse.Ask(fate=wish[0], rule=wish[1], only=wish[2], part=wish[3], ids=wish[4])
    page = browse.page(Workspace(Path(root)), told, lists, ask, size=PAGE_DOCS, number=number)
    return page, browse.count(told, lists, ask)


@st.cache_data(max_entries=32, show_spinner=False)
def _document(root: str, stamp: Stamp, key: str, doc_id: str) -> Explained:
    return look(Workspace(Path(root)), _cleaned([key], root)[0], doc_id)
