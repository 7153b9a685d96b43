"""How fast the runs of a lab were, for prices of those to come. Reads run.json and status.json; writes nothing."""

from dataclasses import fields

from mixlab.mix.budget import DEVICES
from mixlab.mix.speed import Speed
from mixlab.results.listing import read_object
from mixlab.types import ModelSpec
from mixlab.workspace import Workspace


def measured(ws: Workspace) -> list[Speed]:
    """The last rate of every run whose device is in the price table; a GPU is known by `device_name` in run.json."""
    found, known = [], {f.name for f in fields(ModelSpec)}
    for out in ws.runs():
        told, status = read_object(out / "run.json"), read_object(out / "status.json")
        name = str(told.get("device_name") or told.get("device") or "").lower()
        device = next((d for d in DEVICES if d in name), None)
        rate = status.get("tokens_per_s") or 0.0
        shape = (told.get("spec") or {}).get("model") or {}
        if device and rate > 0 and shape:
            model = ModelSpec(**{k: v for k, v in shape.items() if k in known})
            found.append(Speed(device=device, model=model, tokens_per_s=rate))
    return found
