"""`python -m tests.bench [topic ...]`: runs tests/bench/<topic>.py and renews its section of BENCHMARKS.md.

A topic is a module with a docstring (it opens the section: what is measured, on what, against which peers at which
versions) and a function `rows() -> list[dict[str, str]]`, the lines of its table; the figures of a section come from
one run. The other sections stay as they are.
"""

import importlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
REPORT = HERE.parents[1] / "BENCHMARKS.md"
HEAD = (
    "# Benchmarks\n\nWritten by `make bench`. Ratios hold on one machine in one run; absolute figures do not travel.\n"
)


def main(topics: list[str]) -> None:
    known = sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith(("_", "gpu")))  # gpu.py: its own program
    if wrong := set(topics) - set(known):
        sys.exit(f"no such topic: {', '.join(sorted(wrong))}; there are {', '.join(known)}")
    report = REPORT.read_text(encoding="utf-8") if REPORT.exists() else HEAD
    for topic in topics or known:
        module = importlib.import_module(f"tests.bench.{topic}")
        section = _section(topic, module.__doc__ or "", module.rows())
        print(section)
        found = re.compile(rf"\n## {topic}\n.*?(?=\n## |\Z)", re.DOTALL)
        report = (
            found.sub(lambda _, s=section: s, report) if found.search(report) else report.rstrip("\n") + "\n" + section
        )
        REPORT.write_text(report.rstrip("\n") + "\n", encoding="utf-8")


def _section(topic: str, about: str, rows: list[dict[str, str]]) -> str:
    columns = list(rows[0])
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(row[c]) for c in columns)} |" for row in rows]
    return f"\n## {topic}\n{about.strip()}\n\n{_machine()}\n\n" + "\n".join(lines) + "\n"


def _machine() -> str:
    sha = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "?")
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("torch", "numpy", "numba", "duckdb"))
    when = datetime.now(UTC).date().isoformat()
    return f"{when}, commit {sha}, {cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main(sys.argv[1:])
