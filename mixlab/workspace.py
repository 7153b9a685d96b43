"""The folder where everything lands: paths, content keys, and files that are either whole or absent.

Layout below `MIXLAB_HOME` (default `./lab`): `<stage>/<name>-<key>/` for artefacts, `runs/<name>-s<seed>-<key>/` for
runs, `mixlab.duckdb` for the published index. An artefact directory appears by rename with its manifest inside.
"""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from filelock import FileLock

from mixlab.errors import EnvironmentFault, MissingError

FORMAT = 1
"""Raised when the meaning of every artefact changes at once."""
Stage = Literal["raw", "clean", "dedup", "split", "tokenizer", "tokens", "runs", "contamination", "spans"]
MANIFEST = "manifest.json"
TMP = ".tmp-"


def key_of(stage: Stage, version: int, spec: Any, inputs: Mapping[str, str]) -> str:
    """8 hex digits that name an artefact: sha256 over the stage, its version, its spec and the keys of its inputs.

    >>> key_of("clean", 1, {"profile": "none"}, {"raw": "0123abcd"})
    '33331bcb'
    """
    told = {"format": FORMAT, "stage": stage, "stage_version": version, "spec": canonical(spec), "inputs": dict(inputs)}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def canonical(spec: Any) -> Any:
    """The spec as plain JSON values: cosmetic fields left out, weights rounded to 1e-9, paths as strings."""
    if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
        told = [f for f in dataclasses.fields(spec) if not f.metadata.get("cosmetic")]
        return {f.name: canonical(getattr(spec, f.name)) for f in told}
    if isinstance(spec, Mapping):
        return {str(k): canonical(v) for k, v in cast("Mapping[Any, Any]", spec).items()}
    if isinstance(spec, list | tuple):
        return [canonical(v) for v in cast("list[Any]", spec)]
    if isinstance(spec, float):
        return round(spec, 9) if abs(spec) >= 1e-6 or not spec else float(f"{spec:.9e}")
    return str(spec) if isinstance(spec, Path) else spec


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where things are. Makes every path mixlab writes to."""

    root: Path

    @staticmethod
    def open(root: str | Path | None = None) -> "Workspace":
        """The workspace at `root`, else at $MIXLAB_HOME, else at ./lab; the folder is made if it is missing."""
        path = Path(root or os.environ.get("MIXLAB_HOME") or "lab").absolute()
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        return Workspace(path)

    def artefact(self, stage: Stage, name: str, key: str) -> Path:
        """Directory of one artefact, complete or not."""
        return self.root / stage / f"{name}-{key}"

    def run_dir(self, name: str, seed: int, key: str) -> Path:
        """Directory of one run; an existing run with this seed and key keeps its own name."""
        for there in sorted((self.root / "runs").glob(f"*-s{seed}-{key}")):
            return there
        return self.root / "runs" / f"{name}-s{seed}-{key}"

    def runs(self) -> list[Path]:
        """Every run directory that says what it is, by name."""
        return sorted(p.parent for p in (self.root / "runs").glob("*/run.json"))

    @property
    def downloads(self) -> Path:
        """Wheels, as they came."""
        return self.root / "downloads"

    @property
    def signatures(self) -> Path:
        """MinHash signatures, a file for each file of documents; may be deleted at any time."""
        return self.root / "signatures"

    @property
    def requests(self) -> Path:
        """Tokenised requests of tasks, a file for each task and tokenizer; may be deleted at any time."""
        return self.root / "requests"

    @property
    def database(self) -> Path:
        """The published index; may be deleted at any time."""
        return self.root / "mixlab.duckdb"

    @property
    def verdict(self) -> Path:
        """The demo's verdict, with what came of it when its mix was trained."""
        return self.root / "verdict.json"

    @property
    def ledger(self) -> Path:
        """Advice given, one line a proposal."""
        return self.root / "ledger.jsonl"

    @property
    def demo(self) -> Path:
        """What `mixlab demo` printed."""
        return self.root / "demo.json"

    @property
    def audits(self) -> Path:
        """What bias audits found, one JSON file a cleaning; may be deleted at any time."""
        return self.root / "audits"

    @property
    def labels(self) -> Path:
        """What people say of documents, one JSON line a judgement."""
        return self.root / "labels.jsonl"

    @property
    def claims(self) -> Path:
        """One file an attempt at a run: who trains it."""
        return self.root / "claims"

    @property
    def sweeps(self) -> Path:
        """One JSON file per sweep: its design and the runs it asked for."""
        return self.root / "sweeps"

    @property
    def jobs(self) -> Path:
        """What the app and the CLI started in the background."""
        return self.root / "jobs"

    @property
    def drafts(self) -> Path:
        """What the app's pages are being filled with, one JSON file a page."""
        return self.root / "drafts"


def build(path: Path, write: Callable[[Path], Mapping[str, Any]], made_of: Iterable[Path] = ()) -> dict[str, Any]:
    """Manifest of the artefact at `path`; `write(tmp)` makes it and returns its facts, unless it is there already.

    `made_of`: the artefacts that `write` reads, for the manifest to tell. Two processes that ask at once do the work
    once. A failure leaves nothing behind at `path`.
    """
    if is_complete(path):
        return read_manifest(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / f".{path.name}.lock"):
            if is_complete(path):
                return read_manifest(path)
            tmp = path.parent / f".{path.name}{TMP}{uuid.uuid4().hex[:8]}"
            tmp.mkdir()
            try:
                began, inputs = time.monotonic(), [f"{p.parent.name}/{p.name}" for p in made_of]
                facts = {**write(tmp), "name": path.name, "made_of": inputs}
                facts["built_s"] = round(time.monotonic() - began, 3)
                write_json(tmp / MANIFEST, facts)
                _sync_dir(tmp)
                shutil.rmtree(path, ignore_errors=True)  # without a manifest it is a torso
                tmp.rename(path)
            finally:
                shutil.rmtree(tmp, ignore_errors=True)
    return read_manifest(path)


def lands_at(tmp: Path) -> Path:
    """Where an artefact that `build` has written to `tmp` will stand; a folder of another kind stays where it is.

    >>> lands_at(Path("lab/raw/.wiki-0123abcd.tmp-89ef89ef")).name
    'wiki-0123abcd'
    """
    name, is_tmp, _ = tmp.name.rpartition(TMP)
    return tmp.with_name(name[1:]) if is_tmp and name.startswith(".") else tmp


def is_complete(path: Path) -> bool:
    """True if the artefact's manifest is there and whole: it is written last."""
    try:
        json.loads((path / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return True


def read_manifest(path: Path) -> dict[str, Any]:
    """Facts about a complete artefact."""
    if not is_complete(path):
        raise MissingError(f"{path} is not there or not complete: run `mixlab data prepare`.")
    return read_json(path / MANIFEST)


@contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Turns a full or read-only disk into a sentence with the way out."""
    try:
        yield
    except OSError as e:
        reasons = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EROFS: "read-only"}
        reasons[errno.ENOTDIR] = "it lies below something that is no folder"
        reason = reasons.get(e.errno or 0, "permission denied" if e.errno in (errno.EACCES, errno.EPERM) else None)
        if reason is None:
            raise
        raise EnvironmentFault(
            f"cannot write {path}: {reason}. What was finished is kept; free some space or set MIXLAB_HOME to another "
            "disk, then run the same command again."
        ) from e


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` by the value as JSON, whole or not at all, and on the disk when this returns."""
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(tmp, "w", encoding="utf-8") as f:
            json.dump(value, f, indent=1, ensure_ascii=False)
            f.flush()
            os.fsync(f.fileno())
        os.replace(tmp, path)
    finally:
        tmp.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The value in a JSON file; a damaged file is an EnvironmentFault that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise EnvironmentFault(f"{path} is damaged ({e}). Delete {path.parent} and run the same command again.") from e


def append_line(path: Path, row: Mapping[str, Any], *, sync: bool = False) -> None:
    """Appends one JSON line by a single write, whole or not at all; `sync` waits for the disk.

    Half a line that a power cut left at the end is cut off first: the file has one writer, and that one is here.
    """
    line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = _whole_lines(fd)
        if os.write(fd, line) < len(line):
            os.ftruncate(fd, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def append_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Appends JSON lines by a single write, so that a reader sees whole lines; on the disk when this returns."""
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    with open(path, "ab") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())


def _whole_lines(fd: int) -> int:
    """Size of an open file of lines, after half a line at its end was cut off."""
    size = os.fstat(fd).st_size
    if not size or os.pread(fd, 1, size - 1) == b"\n":
        return size
    size = os.pread(fd, size, 0).rfind(b"\n") + 1
    os.ftruncate(fd, size)
    return size


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file, none if it is missing; a half-written last line is not a row yet."""
    if not path.exists():
        return []
    *whole, _torn = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in whole if line.strip()]


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, as hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _sync_dir(path: Path) -> None:
    """Waits until every file in a directory is on the disk."""
    for file in path.rglob("*"):
        if file.is_file():
            with open(file, "rb") as f:
                os.fsync(f.fileno())
