"""One GPU: kernels of attention and cross entropy, whole training steps, stacked runs, the trainer itself.

One NVIDIA H200; written by `python -m tests.bench.gpu --report FILE` on that machine, not by `make bench`.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import torch

from tests.bench import gpu_entropy, gpu_kernels, gpu_stack, gpu_steps, gpu_worker

PARTS: dict[str, Callable[[], object]] = {
    "limits": gpu_kernels.limits,
    "attention": gpu_kernels.attention,
    "entropy": gpu_entropy.entropy,
    "steps": gpu_steps.steps,
    "stack": gpu_stack.stacked,
    "worker": gpu_worker.worker,
}


def rows() -> list[dict[str, str]]:
    gpu_kernels.need_gpu()
    return list(chain.from_iterable(part() for part in PARTS.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=500.0, help="start no further row after this long")
    parser.add_argument("--report", type=Path, help="write the section of BENCHMARKS.md here, and rows as JSON lines")
    asked = parser.parse_args()
    torch.set_num_threads(4)
    began, found = time.monotonic(), []
    for name in asked.parts or PARTS:
        for row in PARTS[name]():
            found.append(row)
            print(f"{time.monotonic() - began:5.0f} s", *row.values(), sep=" | ", flush=True)
            if asked.report:
                with asked.report.with_suffix(".jsonl").open("a", encoding="utf-8") as f:
                    f.write(json.dumps(row) + "\n")
            if time.monotonic() - began > asked.seconds:
                break
    if asked.report:
        asked.report.write_text(section(found), encoding="utf-8")
    print(*(" | ".join(row.values()) for row in found), sep="\n")


def section(found: list[dict[str, str]], about: str = __doc__ or "", where: str = "") -> str:
    """The section `gpu` of BENCHMARKS.md; with the limits in it, shares also of the product that was measured."""
    product = next((share(row) for row in found if row["variant"].startswith("bf16 product")), None)
    if product:
        found = [_with_product(row, product) for row in found]
    columns = list(found[0])
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(row[c] for c in columns)} |" for row in found]
    return f"\n## gpu\n{about.strip()}\n\n{where or machine()}\n\n" + "\n".join(lines) + "\n"


def share(row: dict[str, str]) -> float | None:
    """`of peak` as a number."""
    return float(row["of peak"].rstrip("%")) / 100 if row["of peak"] else None


def _with_product(row: dict[str, str], product: float) -> dict[str, str]:
    """The row with `of product` after `of peak`."""
    own, told = share(row), {}
    for column, value in row.items():
        told[column] = value
        if column == "of peak":
            told["of product"] = "" if own is None else f"{own / product:.1%}"
    return told


def machine() -> str:
    """Where and with what: date, commit (from MIXLAB_COMMIT: no git there), GPU, versions."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {importlib.metadata.version('numpy')}"
    )
    if torch.cuda.is_available():
        versions += f", triton {importlib.metadata.version('triton')}, cuDNN {torch.backends.cudnn.version()}"
    commit = os.environ.get("MIXLAB_COMMIT", "?")
    return f"{datetime.now(UTC).date().isoformat()}, commit {commit}, {gpu}, {versions}"


if __name__ == "__main__":
    main()
