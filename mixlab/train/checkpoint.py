"""A run's checkpoint: model.safetensors, optimizer.safetensors, state.json in a directory that is whole or absent.

Written beside and swapped in by rename, so a kill at any moment leaves the old one or the new one. No pickle.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from mixlab.errors import ConfigError, EnvironmentFault
from mixlab.workspace import disk_errors, read_json, write_json

FORMAT = 1
NAME = "checkpoint"
NEW, OLD = ".checkpoint.new", ".checkpoint.old"


def save_checkpoint(
    out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any], *, run_key: str
) -> None:
    """Replaces out/checkpoint. `state` is JSON: the step and what the logbook needs to go on.

    Raises EnvironmentFault if the disk is full or read-only; the checkpoint that was there is kept.
    """
    new, old, final = out / NEW, out / OLD, out / NAME
    with disk_errors(final):
        try:
            settle(out)
            new.mkdir()
            _write(new / "model.safetensors", dict(model.state_dict()), {"format": "pt"})
            _write(new / "optimizer.safetensors", _optimizer_tensors(model, optimizer), {})
            write_json(new / "state.json", {"format": FORMAT, "run_key": run_key, **state})  # last: now it is whole
            if final.exists():
                final.rename(old)
            new.rename(final)
            shutil.rmtree(old, ignore_errors=True)
        except OSError:
            settle(out)
            raise


def load_checkpoint(
    out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, run_key: str
) -> dict[str, Any] | None:
    """The state saved with out/checkpoint, after model and optimizer took its tensors bit for bit; None without one.

    Raises ConfigError for a checkpoint of another run, EnvironmentFault for a damaged one.
    """
    with disk_errors(out):
        settle(out)
    path = out / NAME
    if not path.exists():
        return None
    state = read_json(path / "state.json") if (path / "state.json").exists() else {}
    if state.get("run_key") != run_key or state.get("format") != FORMAT:
        raise ConfigError(
            f"{path} belongs to run key {state.get('run_key')} (format {state.get('format')}), not to {run_key} "
            f"(format {FORMAT}): its settings or data differ. Train in another directory, "
            f"or delete {path} to start afresh."
        )
    load_weights(out, model)
    saved = _read(path / "optimizer.safetensors")
    for name, p in model.named_parameters():
        ours = {k.removesuffix(f"/{name}"): v for k, v in saved.items() if k.endswith(f"/{name}")}
        optimizer.state[p] = {k: v.to(p.device) for k, v in ours.items()}
    return state


def load_weights(out: Path, model: nn.Module) -> None:
    """Gives `model` the weights in out/checkpoint. Raises EnvironmentFault if they are damaged or of another shape."""
    path = out / NAME / "model.safetensors"
    try:
        model.load_state_dict(_read(path))
    except RuntimeError as e:
        raise EnvironmentFault(
            f"{path} does not fit this model: {' '.join(str(e).split())} Delete {out / NAME} and run the same command "
            "again."
        ) from e


def settle(out: Path) -> None:
    """Finishes or undoes a swap that was cut short, and removes what is left of an unfinished write."""
    new, old, final = out / NEW, out / OLD, out / NAME
    if not final.exists():
        if (new / "state.json").exists():
            new.rename(final)
        elif old.exists():
            old.rename(final)
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
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
