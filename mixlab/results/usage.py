"""What a run took: devices, their seconds and dollars, the share of their peak, and how often it was begun.

Reads run.json and status.json (as mappings) and events.jsonl; writes nothing. Dollars and peaks are those of the price
table (mix/budget.py): a run on a device that is not in it has None.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixlab.mix.budget import DEVICES
from mixlab.results.listing import read_rows


def begun(run: Path, told: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """`attempt, parent_run_id` of the run whose run.json is `told`.

    `attempt`: 1 for a run that was never interrupted, one more each time it was begun again; by its resumptions where
    an older mixlab wrote its status. `parent_run_id`: the run whose WSD stem it went on from, else the run of which
    the folder is that model.init_from names.
    """
    events = read_rows(run / "events.jsonl")
    resumed = sum(event.get("kind") == "resume" for event in events)
    stems = [event.get("run") for event in events if event.get("kind") == "stem"]
    return {
        "attempt": status.get("attempt", 1 + resumed),
        "parent_run_id": stems[-1] if stems else told.get("parent_run_id"),
    }


def usage(told: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """`gpu_name, n_gpus, gpu_s, cost_usd, mfu_frac` of the run whose run.json is `told`.

    `row`: its `flops, target_tokens, tokens_per_s, wall_s`, as table `run` has them; None where one is not known.
    `gpu_s`: wall seconds of all attempts, once a GPU; 0 on a CPU.
    """
    is_gpu = str(told.get("device") or "").startswith("cuda")
    ranks, wall = int(told.get("ranks") or 1), row["wall_s"]
    found: dict[str, Any] = {"n_gpus": ranks if is_gpu else 0, "gpu_name": told.get("device_name") if is_gpu else None}
    found["gpu_s"] = None if wall is None else wall * found["n_gpus"]
    name = table_name(str(told.get("device_name") or told.get("device") or ""))
    if name is None:
        return found
    device, many = DEVICES[name], ranks * (1 if is_gpu else int(told.get("threads") or 1))
    if wall is not None:
        found["cost_usd"] = wall / 3600 * many * device.dollars_per_hour
    if row["flops"] and row["target_tokens"] and row["tokens_per_s"]:
        found["mfu_frac"] = row["flops"] / row["target_tokens"] * row["tokens_per_s"] / (device.peak * many)
    return found


def table_name(device_name: str) -> str | None:
    """The name in DEVICES of a device as it calls itself; None if it is not there, or only a slice (MIG) of one.

    >>> table_name("NVIDIA H100 80GB HBM3"), table_name("NVIDIA GH200 480GB")
    ('h100', None)
    """
    name = device_name.lower()
    return next((d for d in DEVICES if re.search(rf"\b{d}\b", name) and "mig" not in name), None)
