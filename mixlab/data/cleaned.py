"""Cleaned sources as they lie on disk: where their verdicts are, what made them, what a token of them weighs.

Reads manifests; writes nothing.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from mixlab.data import clean
from mixlab.data.documents import damage_named
from mixlab.data.profiles import steps_of
from mixlab.data.rulebook import Rule, rules_of
from mixlab.errors import MissingError, nearest
from mixlab.workspace import Workspace, is_complete, key_of, read_manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaned:
    """One cleaned source: where its verdicts are, and how many bytes of it make a token."""

    source: str
    path: Path
    profile: str
    bytes_per_token: float | None

    def tokens(self, size: float) -> int | None:
        """Tokens that this many bytes make; None where nothing is tokenised yet."""
        return round(size / self.bytes_per_token) if self.bytes_per_token else None

    @property
    def rules(self) -> list[Rule]:
        """The document-level rules of its profile, in order."""
        return list({rule.name: rule for rule in rules_of(steps_of(self.profile)) if rule.level == "document"}.values())


def cleaned_sources(ws: Workspace, source: str | None = None) -> list[Cleaned]:
    """The newest cleaning of every source, or of one; `source` may be `name` or `name-key`. MissingError if none."""
    newest = {told.source: told for told in reversed(cleanings(ws, source))}
    if not newest:
        there = {p.name.rpartition("-")[0] for p in (ws.root / "clean").glob("*-????????") if is_complete(p)}
        wanted = f"source '{source}'" if source else "a source"
        raise MissingError(
            f"no cleaning of {wanted} in {ws.root}: run `mixlab data prepare`.{nearest(source or '', there)}"
        )
    return [newest[name] for name in sorted(newest)]


def cleanings(ws: Workspace, source: str | None = None) -> list[Cleaned]:
    """Every cleaning of every source, or of one (`name` or `name-key`), the newest first."""
    found = list[Cleaned]()
    for path in sorted((ws.root / "clean").glob("*-????????"), key=lambda p: p.stat().st_mtime_ns, reverse=True):
        name = path.name.rpartition("-")[0]
        if source in (None, name, path.name) and is_complete(path) and _has_all_columns(path / "verdicts.parquet"):
            weight, profile = _bytes_per_token(ws, name), read_manifest(path)["profile"]
            found.append(Cleaned(source=name, path=path, profile=profile, bytes_per_token=weight))
    return found


def _has_all_columns(path: Path) -> bool:
    """False for verdicts of an older version, which the same command makes anew under another key."""
    with damage_named(path), pq.ParquetFile(path) as file:
        return set(clean.VERDICTS.names) <= set(file.schema_arrow.names)


def raw_of(ws: Workspace, told: Cleaned) -> Path:
    """The raw artefact that a cleaning was made of, found by its key."""
    for raw in sorted((ws.root / "raw").glob(f"{told.source}-????????")):
        if key_of("clean", clean.VERSION, told.profile, {"raw": raw.name[-8:]}) == told.path.name[-8:]:
            return raw
    raise MissingError(f"the raw text of {told.path} is gone: run `mixlab data prepare` to have it made again.")


def _bytes_per_token(ws: Workspace, source: str) -> float | None:
    """Bytes per token of the newest tokenised corpus of a source."""
    made = [p for p in (ws.root / "tokens").glob(f"{source}-????????") if is_complete(p)]
    if not made:
        return None
    facts = read_manifest(max(made, key=lambda p: p.stat().st_mtime))
    return facts["bytes"] / facts["tokens"] if facts["tokens"] else None
