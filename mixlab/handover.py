"""Finished runs out to Hugging Face, and Hugging Face folders in as the start of a run.

Reads a run's run.json, checkpoint and tokenizer; writes the folder that was asked for, with a mixlab.json that says
where it comes from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlab.config import convert
from mixlab.data import tokenizer
from mixlab.errors import MissingError
from mixlab.model.export import export_hf, load_hf
from mixlab.model.mpt import MPT
from mixlab.origin import PROVENANCE
from mixlab.results.listing import trained_here
from mixlab.train import loop
from mixlab.train.checkpoint import load_weights
from mixlab.types import ModelSpec, RunSpec
from mixlab.workspace import Workspace, read_json, write_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What an export left: where, how close, and what its reader has to know."""

    path: Path
    difference: float
    """Largest difference of a logit between the run's model and the folder read back."""
    notes: tuple[str, ...]


def export_run(run: Path, ws: Workspace, out: Path) -> Exported:
    """A finished run as a folder for transformers; MissingError for an unfinished one, else what `export_hf` raises."""
    if not (run / "done.json").exists():
        raise MissingError(f"{run.name} has not finished: run its command again, and export it then.")
    told, done = trained_here(run), read_json(run / "done.json")
    spec = convert(ModelSpec, told["spec"]["model"], "model")
    model = MPT(spec)
    load_weights(run, model)
    words = ws.root / "tokenizer" / told.get("tokenizer", "none")
    files = tokenizer.portable(words, spec.max_seq_len)
    difference = export_hf(model, out, files)
    write_json(
        out / PROVENANCE,
        {
            "run_id": told["run_id"],
            "key": told["key"],
            "mixture": told["mixture"],
            "steps": done["steps"],
            "tokens": done["tokens"],
            "largest_logit_difference": difference,
        },
    )
    return Exported(path=out, difference=difference, notes=_notes(spec))


def start(spec: ModelSpec, seed: int) -> MPT:
    """The model that a run starts with: drawn from the seed, or what the folder holds."""
    model = MPT(spec, seed=seed)
    if spec.init_from is not None:
        load_hf(model, Path(spec.init_from).expanduser())
    return model


def follow(spec: RunSpec, loader: Callable[[], Any], key: str, out: Path) -> Path:
    """Trains along with the leading process of a run started by torchrun; writes nothing. Returns `out`.

    `loader` makes the run's own, if there is anything to train: exams and exports load no planner for it.
    """
    if (out / "done.json").exists():
        return out
    model, every = start(spec.model, spec.seed), spec.evals.every_tokens
    loop.train(model, loader(), spec.train, out, evaluate=_no_scores, every_tokens=every, run_key=key)
    return out


def _no_scores(*_: object) -> None:
    """The leading process evaluates."""


def _notes(spec: ModelSpec) -> tuple[str, ...]:
    notes = list[str]()
    if spec.attn_uses_sequence_id:
        notes.append("attn_uses_sequence_id: transformers has no document mask, so feed it one document a row.")
    if spec.logit_scale is not None:
        notes.append(f"logit_scale={spec.logit_scale} is folded into norm_f.")
    return tuple(notes)
