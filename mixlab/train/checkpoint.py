"""A run's checkpoint: model.safetensors, optimizer.safetensors, state.json in a directory that is whole or absent.

With it, where there is something to tell, ring.safetensors (snapshots to go back to) and average.safetensors (the
weights that are used). Written beside and swapped in by rename, so a kill at any moment leaves the old one or the new
one. Earlier ones may stay as checkpoints/step-N/. No pickle.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from mixlab.errors import ConfigError, EnvironmentFault
from mixlab.train.optim import AVERAGE, Optimizer
from mixlab.train.recovery import optimizer_state
from mixlab.workspace import disk_errors, read_json, write_json

FORMAT = 2
NAME = "checkpoint"
NEW, OLD = ".checkpoint.new", ".checkpoint.old"
EARLIER = "checkpoints"


def save_checkpoint(
    out: Path,
    model: nn.Module,
    optimizer: Optimizer,
    state: Mapping[str, Any],
    *,
    run_key: str,
    ring: Mapping[str, Tensor] | None = None,
    keep: int = 1,
) -> None:
    """Replaces out/checkpoint; with keep > 1 the keep - 1 before it stay. `state` is JSON: the step, and what goes on.

    Raises EnvironmentFault if the disk is full or read-only; the checkpoint that was there is kept.
    """
    new, old, final = out / NEW, out / OLD, out / NAME
    with disk_errors(final):
        try:
            settle(out)
            new.mkdir()
            _write(new / "model.safetensors", dict(model.state_dict()), {"format": "pt"})
            if moments := _optimizer_tensors(model, optimizer):  # none before the first step
                _write(new / "optimizer.safetensors", moments, {})
            if ring:
                _write(new / "ring.safetensors", dict(ring), {})
            average = {
                n: optimizer.state[p][AVERAGE] for n, p in model.named_parameters() if AVERAGE in optimizer.state[p]
            }
            if average:
                _write(new / "average.safetensors", average, {"format": "pt"})
            told = {"format": FORMAT, "run_key": run_key, "has_moments": bool(moments), **state}
            write_json(new / "state.json", told)  # last: now it is whole
            if final.exists():
                final.rename(old)
            new.rename(final)
            _retire(out, keep)
        except OSError:
            settle(out)
            raise


def load_checkpoint(
    out: Path, model: nn.Module, optimizer: Optimizer, *, run_key: str
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """(state, ring) of out/checkpoint, after model and optimizer took its tensors bit for bit; None without one.

    Raises ConfigError for a checkpoint of another run, EnvironmentFault for a damaged one.
    """
    path = out / NAME
    if not path.exists():
        return None
    state: dict[str, Any] = read_json(path / "state.json") if (path / "state.json").exists() else {}
    if state.get("run_key") != run_key or state.get("format") != FORMAT:
        raise ConfigError(
            f"{path} belongs to run key {state.get('run_key')} (format {state.get('format')}), not to {run_key} "
            f"(format {FORMAT}): its settings or data differ. Train in another directory, "
            f"or delete {path} to start afresh."
        )
    _load_into(path / "model.safetensors", model)
    device = next(model.parameters()).device
    moments = _read(path / "optimizer.safetensors") if state["has_moments"] else {}
    optimizer_state(model, optimizer, moments, lambda t: t.to(device))
    ring = _read(path / "ring.safetensors") if (path / "ring.safetensors").exists() else {}
    return state, {name: t.to(device) for name, t in ring.items()}


def load_weights(out: Path, model: nn.Module) -> None:
    """Gives `model` the weights that a run is judged by: of out/checkpoint, averaged if the run averages them.

    Raises EnvironmentFault if they are damaged or of another shape.
    """
    average = out / NAME / "average.safetensors"
    _load_into(average if average.exists() else out / NAME / "model.safetensors", model)


def _load_into(path: Path, model: nn.Module) -> None:
    try:
        model.load_state_dict(_read(path))
    except RuntimeError as e:
        raise EnvironmentFault(
            f"{path} does not fit this model: {' '.join(str(e).split())} Delete {path.parent} and run the same command "
            "again."
        ) from e


def settle(out: Path) -> None:
    """Finishes or undoes a swap that was cut short, and removes what is left of an unfinished write."""
    new, old, final = out / NEW, out / OLD, out / NAME
    if (new / "state.json").exists():  # whole, so it is the newest
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
            final.rename(old)
        new.rename(final)
    elif not final.exists() and old.exists():
        old.rename(final)
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _retire(out: Path, keep: int) -> None:
    """What was the checkpoint until now goes to the earlier ones, of which keep - 1 stay."""
    old, shelf = out / OLD, out / EARLIER
    if keep > 1 and old.exists():
        shelf.mkdir(exist_ok=True)
        place = shelf / f"step-{read_json(old / 'state.json')['step']}"
        shutil.rmtree(place, ignore_errors=True)
        old.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    by_step = sorted(shelf.glob("step-*"), key=lambda p: int(p.name.removeprefix("step-")))
    for path in by_step[: max(0, len(by_step) - keep + 1)]:
        shutil.rmtree(path, ignore_errors=True)


def _optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors as `<what>/<parameter name>`."""
    return {f"{k}/{n}": v for n, p in model.named_parameters() for k, v in optimizer.state[p].items()}


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes tensors and waits for the disk. Through bytes, so that a full disk is an OSError with its number."""
    with open(path, "wb") as f:
        f.write(save({k: v.detach().contiguous() for k, v in tensors.items()}, metadata))
        f.flush()
        os.fsync(f.fileno())


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors in a file; a missing or damaged one is an EnvironmentFault that names it."""
    try:
        return load(path.read_bytes())
    except (SafetensorError, FileNotFoundError) as e:
        raise EnvironmentFault(
            f"{path} is missing or damaged ({e}). Delete {path.parent} and run the same command again."
        ) from e
