"""The whole journey on the starter sources: which mix gives the lowest held-out bits per byte, and how sure are we?

Sixteen mixes are trained, a verdict is fitted to them, and then the verdict is put to the test: its mix and the natural
one are trained under three seeds each, and raced against uniform, UniMax and DoReMi. Writes `demo.json` (what is
printed) and `verdict.json`; asked again, it prints.
"""

import importlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from mixlab import compose, show, show_advice
from mixlab.data.places import places
from mixlab.results.listing import read_object
from mixlab.workspace import Workspace, key_of, read_json, write_json

VERSION = 2


def demo(*, workers: int, as_json: bool) -> None:
    """Runs what is missing of the journey and prints its outcome; raises RunFailed if runs failed."""
    ws = Workspace.open()
    spec = compose.spec_of([], Path.cwd())
    key = key_of("runs", VERSION, spec, {n: p.name for n, p in places(spec, ws).tokens.items()})
    record = ws.demo
    if not _is_current(record, key, ws):
        began = time.monotonic()
        with show.progress() as watch:
            facts = importlib.import_module("mixlab.journey").make(spec, ws, workers, watch)  # torch and all
        write_json(record, {"key": key, **facts, "wall_s": round(time.monotonic() - began, 1)})
    tell(read_json(record), ws, as_json=as_json)


def _is_current(record: Path, key: str, ws: Workspace) -> bool:
    """True if the record is of this very journey and its runs are still there."""
    told = read_object(record)  # one that a power cut tore is made again from the runs
    return told.get("key") == key and all((ws.root / "runs" / r["run_id"] / "done.json").exists() for r in told["runs"])


def tell(facts: Mapping[str, Any], ws: Workspace, *, as_json: bool) -> None:
    """Prints the outcome: cleaning, runs, verdict, its proof, where the files are, what to do next."""
    if as_json:
        show.print_json(facts)
        return
    _tell_cleaning(facts["cleaning"])
    _tell_runs(facts["runs"])
    card, outcome = facts["verdict"], facts["realised"]
    show.say("\nWhich mix gives the lowest held-out bits per byte (mean of the sources), and how sure are we?")
    for sentence in [*card["sentences"], *card["warnings"]]:
        show.say(f"- {sentence}")
    seeds = ", ".join(f"{v:.4f}" for v in outcome["recommended"])
    mean, low, high = (outcome["predicted"][k] for k in ("mean", "lo95", "hi95"))
    show.say(f"\nPut to the test: predicted {mean:.4f} (95 % {low:.4f} to {high:.4f}) a run; came out: {seeds}.")
    show.say(f"{outcome['words']}\n")
    show_advice.rivals(facts["rivals"]["rows"], as_json=False)
    show.say(facts["rivals"]["words"])
    show.say(f"\nFiles: {ws.root}  (runs/, mixlab.duckdb, verdict.json; {facts['wall_s']:.0f} s when it was made)")
    show.say("Next:  mixlab app                                        look at the curves, design a mix of your own")
    show.say("       mixlab advise rivals                              the same race under three seeds each")
    show.say("       mixlab run mixture=uniform seed=1                 one more run")
    show.say("       mixlab sweep seed=0,1,2 --dry-run                 a sweep, priced before it runs")


def _tell_cleaning(rows: Sequence[Mapping[str, Any]]) -> None:
    told: list[tuple[Any, ...]] = []
    for r in rows:
        why = ", ".join(f"{k} {n:,}" for k, n in r["c4_dropped"].items())
        c4 = f"{r['c4_kept']:,} ({r['c4_kept_bytes_frac']:.0%} of bytes)"
        told.append(
            (r["source"], f"{r['docs']:,}", r["profile"], f"{r['kept']:,} ({r['kept_bytes_frac']:.0%})", c4, why)
        )
    columns = ("source", "documents", "profile", "kept", "C4 would keep", "and drop mostly for")
    show.table("Cleaning: what was kept, and what C4's own rules would have cost", columns, told)


def _tell_runs(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a mix: weights, bits per byte of each source, their mean, seeds behind it."""
    sources = sorted(rows[0]["weights"])
    mixes: dict[str, list[Mapping[str, Any]]] = {}
    for r in rows:
        mixes.setdefault(r["name"].removeprefix("demo-"), []).append(r)
    ranked = sorted(mixes.items(), key=lambda kv: fmean(r["bpb_macro"] for r in kv[1]))
    told: list[tuple[Any, ...]] = []
    for name, group in ranked:
        weights = (f"{100 * group[0]['weights'].get(s, 0):.0f}" for s in sources)
        scores = (fmean(r["bpb"][s] for r in group) for s in sources)
        told.append((name, *weights, *scores, fmean(r["bpb_macro"] for r in group), len(group)))
    columns = ("mix", *(f"% {s}" for s in sources), *(f"bpb {s}" for s in sources), "macro bpb", "seeds")
    show.table(f"{len(ranked)} mixes, held-out bits per byte (lower is better)", columns, told)
