"""C4's rules on one core: `c4/tfds-3.1.0` by mixlab, by datatrove's `C4QualityFilter` and `C4BadWordsFilter`, and by
TFDS's rule order written plainly in Python (Punkt, one regular expression for the 377 bad words).

Every 60th document of the bench sources web_docs, web_gov and wiki_en, the same ones for all; medians of three
alternating rounds, CPU time of one process. *Short-circuit* stops at the first document-level rule as the references
do; *atlas* judges every rule and measures what a moved threshold would need. Processes: wall time of `clean_source`
over all documents of the three sources ten times over (0.9 GB), Parquet in, Parquet and verdicts out, start of the
processes included, the best of three rounds by turns; it only tells on a machine that is idle, so it is left out where
the load exceeds the cores. Beside it what two cleanings do at once that know nothing of each other, and two loops that
only count, in the time of one: more no code can have from these cores.
"""

import importlib.metadata
import io
import json
import multiprocessing
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import zstandard
from punkt import PunktSentenceTokenizer, load_model

from mixlab.data.badwords import word_list
from mixlab.data.clean import clean_source
from mixlab.data.documents import write_docs
from mixlab.data.rules import clean
from mixlab.types import Document
from mixlab.workspace import write_json

BENCH = Path(__file__).parents[3] / "shared" / "data" / "bench"
SOURCES = ("web_docs", "web_gov", "wiki_en")
PROFILE = "c4/tfds-3.1.0"
ROUNDS = 3
EVERY = 60
COUNT = 40_000_000  # some two seconds
TIMES = 10  # the sources over, for processes
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
BAD = re.compile(rf"(?:\W|^)({'|'.join(map(re.escape, word_list('en-377')))})(?:\W|$)")
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")


def rows() -> list[dict[str, str]]:
    """The lines of the table."""
    if not BENCH.exists():
        raise SystemExit("no bench corpora beside the repository (../shared/data/bench)")
    texts = [text for name in SOURCES for text in _texts(name)]
    few = texts[::EVERY]
    ways: dict[str, tuple[Callable[[str], object], Sequence[str]]] = {
        "mixlab, short-circuit": (lambda t: clean(t, PROFILE, short_circuit=True).text, few * 10),
        "mixlab, atlas": (partial(clean, profile=PROFILE), few * 10),
        f"datatrove {importlib.metadata.version('datatrove')}": (_datatrove(), few),
        "TFDS's order, plain Python": (_plainly(), few),
    }
    for way, _ in ways.values():
        way(few[0])
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (way, given) in ways.items():
            began = time.process_time()
            for text in given:
                way(text)
            rates[name].append(len(given) / (time.process_time() - began))
    mid = {name: statistics.median(found) for name, found in rates.items()}
    peer, plain = list(mid)[2:]
    made = [
        {
            "what": name,
            "documents/s": f"{rate:,.0f}",
            "x datatrove": f"{rate / mid[peer]:.1f}",
            "x plain Python": f"{rate / mid[plain]:.1f}",
            "range": f"{min(rates[name]):,.0f} to {max(rates[name]):,.0f}",
        }
        for name, rate in mid.items()
    ]
    cost = mid["mixlab, short-circuit"] / mid["mixlab, atlas"]
    made.append(_row("cost of the atlas", f"{cost:.2f} x the short-circuit mode"))
    load = os.getloadavg()[0]
    if load > (os.cpu_count() or 1) + 1:
        return [*made, _row("2 processes by 1", f"not measured: load {load:.1f}, others at work")]
    one, two, apart = _processes(texts)
    made += [_row("clean_source, 1 process", f"{one:,.0f}"), _row("clean_source, 2 processes", f"{two:,.0f}")]
    made.append(_row("2 processes by 1", f"{two / one:.2f} (load {load:.1f} before)"))
    made.append(_row("two cleanings at once by one", f"{apart / one:.2f}"))
    return [*made, _row("a loop that only counts, 2 processes by 1", f"{_bound():.2f}")]


def _row(what: str, value: str) -> dict[str, str]:
    return {"what": what, "documents/s": value, "x datatrove": "", "x plain Python": "", "range": ""}


def _texts(name: str) -> list[str]:
    with open(BENCH / f"{name}.jsonl.zst", "rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8")
        return [json.loads(line)["text"] for line in lines]


def _datatrove() -> Callable[[str], bool]:
    from datatrove.data import Document as Page
    from datatrove.pipeline.filters import C4QualityFilter
    from datatrove.pipeline.filters.c4_filters import C4BadWordsFilter

    quality, words = C4QualityFilter(), C4BadWordsFilter()
    words._badwords_regex["en"] = BAD  # it would download the list

    def way(text: str) -> bool:
        page = Page(text=text, id="x")
        return quality.filter(page) is True and words.filter(page) is True

    return way


def _plainly() -> Callable[[str], str | None]:
    punkt = PunktSentenceTokenizer(load_model("english"))

    def way(text: str) -> str | None:
        if len(text) > 190_000:
            return None
        kept, sentences = [], 0
        for raw in text.splitlines():
            line = raw.strip()
            if any(len(word) > 1000 for word in line.split()):
                continue
            line = CITATION.sub("", line)
            if not line.endswith((".", "?", "!", '"')) or line.endswith("...") or len(line.split()) < 5:
                continue
            low = line.lower()
            if "lorem ipsum" in low:
                return None
            if "javascript" in low:
                continue
            if "{" in line:
                return None
            if any(phrase in low for phrase in POLICY):
                continue
            sentences += len(punkt.tokenize(line))
            kept.append(line)
        made = "\n".join(kept).strip()
        return None if sentences < 3 or BAD.search(made.lower()) else made

    return way


def _processes(texts: Sequence[str]) -> tuple[float, float, float]:
    """Documents a second of `clean_source` with one process, with two, and by two with one process each."""
    docs = [*texts] * TIMES
    best = [0.0, 0.0, 0.0]
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(2) as pool:
        raw = Path(folder) / "raw"
        raw.mkdir()
        n, size = write_docs(raw, (Document(id=str(i), text=text) for i, text in enumerate(docs)))
        write_json(raw / "manifest.json", {"docs": n, "bytes": size})
        pool.map(_warm, [0, 0], 1)
        for _ in range(ROUNDS):
            for way, job in enumerate((_alone, _together, partial(_apart, pool))):
                began = time.monotonic()
                times = job(raw)
                best[way] = max(best[way], times * len(docs) / (time.monotonic() - began))
    return best[0], best[1], best[2]


def _alone(raw: Path, workers: int = 1) -> int:
    """One cleaning; how many there were."""
    with tempfile.TemporaryDirectory(dir=raw.parent) as out:
        clean_source(raw, PROFILE, Path(out), workers=workers)
    return 1


def _together(raw: Path) -> int:
    return _alone(raw, 2)


def _apart(pool: Any, raw: Path) -> int:
    return sum(pool.map(_alone, [raw, raw], 1))


def _warm(_: int) -> None:
    clean("One is here. Two is here. Three is here.", PROFILE)
    time.sleep(1)  # so that the other process takes the other one


def _bound() -> float:
    """Work of two processes that only count, by that of one, in the same time."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        times = []
        for jobs in ([0, 0], [COUNT], [COUNT, COUNT]):  # the first starts both
            began = time.monotonic()
            pool.map(_count, jobs, 1)
            times.append(time.monotonic() - began)
    return 2 * times[1] / times[2]


def _count(to: int) -> int:
    return sum(n & 7 for n in range(to))
