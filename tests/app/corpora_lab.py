"""A lab whose sources were really cleaned, with documents that would like to be more than text. Nothing is trained."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixlab.data import clean
from mixlab.data.documents import write_docs
from mixlab.types import Document
from mixlab.workspace import Workspace, build, key_of, write_json
from tests.app.synthetic_lab import HOSTILE
from tests.data.test_browse import NAMES

PROFILE = "c4/tfds-3.1.0"
GOOD = "One sentence stands here. A second one follows it. And a third one ends it."
BRACE = "A line with { a brace in it stands here."
BAD = "The word sex stands in this line of text."
EVIL = [
    "<script>document.title = 'stolen'</script> is in this line.",
    "{{ 7 * 7 }} and {% raw %} are in this line.",
    "![image](http://127.0.0.1:9/x.png) and [link](javascript:alert(1)) are here.",
    "\x1b[31mred\x1b[0m and \u202eright to left\u202c and \u05e9\u05dc\u05d5\u05dd stand here.",
    "<img src=x onerror=\"document.title='stolen'\"> $x^2$ **bold** :material/home: is here.",
]
PAGES = {
    **{f"good-{i}": f"{GOOD}\nDocument {i} says so in a line of its own." for i in range(40)},
    "brace": f"{GOOD}\n{BRACE}",
    "swear": f"{GOOD}\n{BAD}\nno end mark in this line",
    "short": "Only one sentence stands here.",
    f"evil {HOSTILE}": "\n".join([GOOD, *EVIL, BAD]),
    "twin": f"{GOOD}\nDocument 0 says so in a line of its very own.\n{EVIL[0]}",
}


def make_corpora(root: Path) -> Workspace:
    """The sources `pages` (dropped, held-out, a duplicate) and `plain` (all kept), cleaned and tokenised."""
    ws = Workspace.open(root)
    told = {"pages": PAGES, "plain": {f"p{i}": GOOD for i in range(3)}}
    for name, texts in told.items():
        _cleaned(ws, name, texts, PROFILE if name == "pages" else "none")
    keep = [("pages", i) for i in PAGES if i.startswith("good")] + [("plain", f"p{i}") for i in range(3)]
    twin = {"source": "pages", "id": "twin", "kept_source": "pages", "kept_id": "good-0", "jaccard": 0.85}
    twin |= {"containment": 0.9, "cluster": 0, "exact": False, "reason": "near", "cluster_size": 2}
    twin |= {"shared_words": 18, "shared_start": 0, "kept_start": 0}
    dedup = ws.artefact("dedup", "pool", "0000000d")
    dedup.mkdir(parents=True)
    pq.write_table(_ids(keep), dedup / "keep.parquet")
    pq.write_table(pa.Table.from_pylist([twin]), dedup / "removed.parquet")
    counts = {name: {"docs_in": len(texts), "removed": int(name == "pages")} for name, texts in told.items()}
    write_json(dedup / "manifest.json", {"per_source": counts})
    split = ws.artefact("split", "pool", "0000000e")
    split.mkdir(parents=True)
    pq.write_table(_ids(keep[1:3]), split / "heldout.parquet")
    pq.write_table(_ids([]), split / "contaminated.parquet")
    write_json(split / "manifest.json", {"heldout": dict.fromkeys(told, 1)})
    return ws


def _ids(names: list[tuple[str, str]]) -> pa.Table:
    return pa.Table.from_pylist([{"source": s, "id": i} for s, i in names], NAMES["keep"])


def _cleaned(ws: Workspace, name: str, texts: dict[str, str], profile: str) -> None:
    raw = ws.artefact("raw", name, "0000aaaa")

    def write(out: Path) -> dict:
        docs, size = write_docs(out, (Document(id=i, text=text) for i, text in texts.items()))
        facts = {"source": name, "docs": docs, "bytes": size, "fingerprint": "abcdef" * 8, "licence": "CC0-1.0"}
        return {**facts, "language": "en", "attribution": "nobody", "licence_url": ""}

    build(raw, write)
    key = key_of("clean", clean.VERSION, profile, {"raw": "0000aaaa"})
    build(ws.artefact("clean", name, key), lambda out: clean.clean_source(raw, profile, out))
    tokens = ws.artefact("tokens", name, "0000bbbb")
    tokens.mkdir(parents=True)
    facts = {"source": name, "key": "0000bbbb", "docs": len(texts) - 2, "bytes": 4000, "tokens": 1000}
    facts |= {"licence": "CC0-1.0", "language": "en", "heldout_docs": 2, "heldout_tokens": 20, "heldout_bytes": 80}
    facts |= {"vocab_size": 300, "licences": {"CC0-1.0": 1000}, "dropped": {}, "name": tokens.name, "built_s": 0.1}
    write_json(tokens / "manifest.json", facts)
