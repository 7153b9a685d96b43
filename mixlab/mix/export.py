"""A plan's weights as other trainers spell them. Reads and writes nothing: text out.

Our weights are shares of *tokens*. llm-foundry, OLMo-core, Megatron and Nanotron weigh sequences of one length: it is
the same; `datasets` weighs examples, so there each weight is divided by the mean tokens of a document. Checked against
the documented schemas: streaming.Stream (0.13), olmo_core SourceMixtureList and SourceMixtureDatasetConfig (2.x),
Megatron-LM --data-args-path, nanotron DatasetStageArgs and NanosetDatasetsArgs, datasets.interleave_datasets (5.x).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mixlab.config import yaml_text
from mixlab.errors import ConfigError, PlanError, nearest
from mixlab.types import Corpus, Draw, Plan, PlanPhase

NANOTRON_SEED = 42


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What an export may need to know."""

    plan: Plan
    corpora: Mapping[str, Corpus]
    texts: Mapping[str, Path]
    """Source -> directory of its cleaned documents."""
    root: str
    """Folder or bucket in which the other trainer keeps its own form of each source, by name."""
    batch_tokens: int
    seed: int


def export(recipe: Recipe, to: str, phase: str | None = None) -> str:
    """The file that tells the trainer `to` this mix. Nanotron takes all phases, the others the one that is named.

    Raises ConfigError for an unknown trainer or phase, PlanError if several phases are planned and none is named.
    """
    if to not in TRAINERS:
        raise ConfigError(f"there is no export to '{to}'.{nearest(to, TRAINERS)}")
    phases = {p.name: p for p in recipe.plan.phases}
    if phase is not None and phase not in phases:
        raise ConfigError(f"the plan has no phase '{phase}'.{nearest(phase, phases)}")
    if phase is None and len(phases) > 1 and to != "nanotron":
        raise PlanError(
            f"{to} takes one mix a file, and the plan has the phases {', '.join(phases)}: name one by --phase, and "
            "start the trainer once for each."
        )
    return TRAINERS[to](recipe, phases[phase] if phase else recipe.plan.phases[0])


def llm_foundry(recipe: Recipe, phase: PlanPhase) -> str:
    """`train_loader` of an llm-foundry config: streams of MDS shards made by its convert_dataset scripts."""
    streams = {
        d.source: {
            "remote": f"{recipe.root}/{d.source}",
            "local": f"/tmp/mds/{d.source}",
            "split": "train",
            "proportion": _share(d),
        }
        for d in _drawn(phase)
    }
    dataset = {"streams": streams, "shuffle": True, "shuffle_seed": recipe.seed, "max_seq_len": phase.seq_len}
    loader = {"name": "text", "dataset": dataset, "drop_last": True, "num_workers": 8}
    told = {
        "max_duration": f"{phase.tokens}tok",
        "global_train_batch_size": recipe.batch_tokens // phase.seq_len,
        "max_seq_len": phase.seq_len,
        "train_loader": loader,
    }
    return _yaml(recipe, told)


def olmo_core(recipe: Recipe, phase: PlanPhase) -> str:
    """A SourceMixtureDatasetConfig; repetition is allowed as far as the plan repeats."""
    sources = [
        {
            "source_name": d.source,
            "target_ratio": _share(d),
            "paths": [f"{recipe.root}/{d.source}/*.npy"],
            "max_repetition_ratio": max(1.0, math.ceil(d.epochs * 100 + 1) / 100),
            "max_source_fraction": 1.0,
        }
        for d in _drawn(phase)
    ]
    told = {
        "source_list": {"sources": sources},
        "requested_tokens": phase.tokens,
        "global_batch_size": recipe.batch_tokens,
        "seed": recipe.seed,
    }
    return _yaml(recipe, told)


def megatron(recipe: Recipe, phase: PlanPhase) -> str:
    """The file for --data-args-path: weights and prefixes by turns, and nothing else, comments neither."""
    return "".join(f"{_share(d):.9f} {recipe.root}/{d.source}_text_document\n" for d in _drawn(phase))


def nanotron(recipe: Recipe, phase: PlanPhase) -> str:
    """`data_stages` of a Nanotron config, a stage per phase of the plan; steps count from 1."""
    stages: list[dict[str, object]] = []
    start = 1
    for p in recipe.plan.phases:
        drawn = _drawn(p)
        dataset = {
            "dataset_folder": [f"{recipe.root}/{d.source}" for d in drawn],
            "dataset_weights": [_share(d) for d in drawn],
        }
        data = {"dataset": dataset, "num_loading_workers": 1, "seed": NANOTRON_SEED + recipe.seed}
        stages.append({"name": p.name, "start_training_step": start, "data": data})
        start += p.tokens // recipe.batch_tokens
    if len({p.seq_len for p in recipe.plan.phases}) > 1:
        raise PlanError("Nanotron has one sequence_length for all stages: plan the phases with one seq_len.")
    tokens = {"sequence_length": recipe.plan.seq_len, "train_steps": start - 1}
    return _yaml(recipe, {"data_stages": stages, "tokens": tokens})


def datasets(recipe: Recipe, phase: PlanPhase) -> str:
    """A Python file whose `mixture()` interleaves the lab's own training documents.

    Examples are documents, so probabilities are token shares over mean document lengths, normalised.
    """
    drawn = _drawn(phase)
    rates = [d.weight * recipe.corpora[d.source].docs / recipe.corpora[d.source].tokens for d in drawn]
    total = math.fsum(rates)
    rows = [
        f"    {json.dumps(d.source)}: ({json.dumps(str(recipe.texts[d.source] / 'docs-*.parquet'))}, "
        f"{json.dumps(str(recipe.corpora[d.source].path / 'ids.parquet'))}, {r / total!r}),  # {d.weight:.2%} of tokens"
        for d, r in zip(drawn, rates, strict=True)
    ]
    body = DATASETS.replace("ROWS", "\n".join(rows)).replace("SEED", str(recipe.seed))
    return body.replace("TITLE", _title(recipe))


DATASETS = '''"""TITLE

Probabilities are per document: shares of tokens over mean tokens of a document.
"""

import pyarrow.parquet as pq
from datasets import interleave_datasets, load_dataset

SOURCES = {  # name: (documents, ids of those to train on, probability)
ROWS
}


def mixture(seed: int = SEED):
    """A stream of documents; it ends when the last source has been seen whole, the others being repeated meanwhile."""
    parts = []
    for files, ids, _ in SOURCES.values():
        kept = frozenset(pq.read_table(ids, columns=["id"])["id"].to_pylist())
        docs = load_dataset("parquet", data_files=files, split="train", streaming=True, columns=["id", "text"])
        parts.append(docs.filter(lambda row, kept=kept: row["id"] in kept))
    odds = [p for _, _, p in SOURCES.values()]
    return interleave_datasets(parts, probabilities=odds, seed=seed, stopping_strategy="all_exhausted")
'''

TRAINERS: Mapping[str, Callable[[Recipe, PlanPhase], str]] = {
    "llm-foundry": llm_foundry,
    "olmo-core": olmo_core,
    "megatron": megatron,
    "nanotron": nanotron,
    "datasets": datasets,
}


def _drawn(phase: PlanPhase) -> list[Draw]:
    """The sources that a phase takes anything from."""
    return [d for d in phase.draws if d.weight > 0]


def _share(draw: Draw) -> float:
    return round(draw.weight, 9)


def _title(recipe: Recipe) -> str:
    return f"Mix '{recipe.plan.mixture.name}' of mixlab, plan {recipe.plan.key}; weights are shares of tokens."


def _yaml(recipe: Recipe, told: Mapping[str, object]) -> str:
    return f"# {_title(recipe)}\n{yaml_text(told)}"
