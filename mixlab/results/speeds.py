"""How fast the runs of a lab were, for prices of those to come. Reads run.json and status.json; writes nothing."""

from dataclasses import fields
from typing import Any

from mixlab.mix.speed import Speed
from mixlab.results.listing import read_object
from mixlab.results.usage import table_name
from mixlab.types import ModelSpec
from mixlab.workspace import Workspace


def measured(ws: Workspace) -> list[Speed]:
    """The last rate, per device, of every run whose device is in the price table.

    A GPU is known by `device_name` in run.json: a whole one, so neither a slice of it (MIG) nor a GH200. A run of
    several processes, or of several CPU cores, is shared out over them.
    """
    found, known = list[Speed](), {f.name for f in fields(ModelSpec)}
    for out in ws.runs():
        told, status = read_object(out / "run.json"), read_object(out / "status.json")
        device = table_name(str(told.get("device_name") or told.get("device") or ""))
        over = told.get("ranks", 1) * (told.get("threads", 1) if device == "cpu" else 1)
        rate = (status.get("tokens_per_s") or 0.0) / over
        spec: dict[str, Any] = told.get("spec") or {}
        shape: dict[str, Any] = spec.get("model") or {}
        train: dict[str, Any] = spec.get("train") or {}
        if device and rate > 0 and shape:
            model = ModelSpec(**{k: v for k, v in shape.items() if k in known})
            precision = train.get("precision", "fp32")
            found.append(Speed(device=device, model=model, tokens_per_s=rate, precision=precision))
    return found
