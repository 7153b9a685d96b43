"""Suites: a YAML that names task files and how each is asked; rendered to requests with shots, subsets and hashes.

A task is a JSONL file and four lines of YAML (`label, dataset_uri, icl_task_type, continuation_delimiter`), with the
keys of LLM Foundry's task files. Prompts: prompt_string + shots joined by example_delimiter + the item. The shots of
an item depend on (task, item, seed) alone, so no subset changes a prompt. Reads suites and task files; writes nothing.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from mixlab.config import CONF, convert, read_yaml
from mixlab.errors import ConfigError, nearest
from mixlab.eval.tasks import FORMATS, Item, read_items
from mixlab.seeds import seed_of

VERSION = 1
"""Raised when the same YAML and file would ask something else."""
ANSWERS = 2
"""The same for tasks whose answers are written: since 2 they are."""
BARE = ("pairs", "olmes", "documents", "code_evaluation")
"""Formats whose rows are the whole prompt: no delimiter, no shots."""
PACKAGED = CONF / "evals" / "suites"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSpec:
    """How one task file is asked; keys and defaults are LLM Foundry's, but for `subset`, `fields`, `unconditional`."""

    label: str
    dataset_uri: str
    """File, relative to the suite's folder or the tasks folder."""
    icl_task_type: str
    num_fewshot: int = 0
    shots_uri: str | None = None
    """File the shots come from; None: the task's own file, without the item."""
    prompt_string: str = ""
    example_delimiter: str = "\n"
    continuation_delimiter: str = " "
    question_prelimiter: str = ""
    fewshot_random_seed: int = 1234
    strip_dataset: bool = True
    subset: int | None = None
    """Random items to ask, the same ones each time; with clusters, evenly over them. None: all."""
    cot_delimiter: str = ""
    """The answer is what follows its last occurrence in what the model wrote."""
    early_stopping_criteria: tuple[str, ...] = ()
    """Texts, not patterns, at the first of which an answer ends."""
    max_new_tokens: int = 32
    """Of an answer, at most."""
    fields: dict[str, str] | None = None
    """Names of the format -> names in the file."""
    convention: Literal["lm-eval", "foundry"] = "lm-eval"
    """How a pair becomes token ids; see eval/requests.py."""
    unconditional: bool = False
    """True: each choice is also scored alone, for PMI; costs its tokens once more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One item as it is asked: full contexts with shots and delimiters, what follows each, and what counts as text."""

    item: Item
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    """With the delimiter's trailing white space in front, as the model has to produce it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A rendered task: what is asked, and the hashes that say whether two scores of it may be compared."""

    spec: TaskSpec
    suite: str
    suite_hash: str
    """Of the task's settings and its files: changes with either."""
    prompt_hash: str
    """Of every request, word by word, and of which items are asked."""
    asked: tuple[Asked, ...]

    @property
    def label(self) -> str:
        """Name of the task; unique in a suite."""
        return self.spec.label

    def item_hash(self, asked: Asked) -> str:
        """Of one item, word by word as it is asked: alike in a subset and in the whole, whatever the other items."""
        return _sha(_json(_prompt(asked)))


def load_suite(name: str, tasks: Path | None = None) -> list[Task]:
    """The tasks of a suite: a packaged name (`live`, `full`, `code`), a YAML file, or a folder of YAML files.

    `tasks`: where the JSONL files are, if not beside the YAML. ConfigError names what is missing or wrong.
    """
    files = suite_files(name)
    found: dict[str, Task] = {}
    for file in files:
        for spec in read_specs(file):
            if spec.label in found:
                raise ConfigError(f"{file}: task '{spec.label}' is there twice: give each its own label.")
            found[spec.label] = render(spec, Path(name).stem, _folders(file, tasks))
    if not found:
        raise ConfigError(f"suite '{name}' has no task: {', '.join(map(str, files)) or 'no YAML file'} names none.")
    return list(found.values())


def suite_files(name: str) -> list[Path]:
    """The YAML files of a suite."""
    path, packaged = Path(name).expanduser(), PACKAGED / f"{name}.yaml"
    if packaged.is_file():
        return [packaged]
    if path.is_dir():
        return sorted(path.glob("*.yaml"))
    if path.is_file():
        return [path]
    known = [p.stem for p in PACKAGED.glob("*.yaml")]
    raise ConfigError(f"suite '{name}' is neither packaged nor a YAML file or folder.{nearest(name, known)}")


def read_specs(file: Path) -> list[TaskSpec]:
    """The tasks a YAML describes: `icl_tasks` (LLM Foundry) or `tasks`, a list; or one task at the top level."""
    try:
        tree: dict[str, Any] | list[Any] = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError:
        tree = read_yaml(file)  # tells where it is wrong
    if isinstance(tree, list):
        tree = {"tasks": tree}
    rows: list[dict[str, Any]] = tree.get("icl_tasks", tree.get("tasks", [tree] if "label" in tree else []))
    specs = list[TaskSpec]()
    for at, row in enumerate(rows):
        specs += [_spec(one, file, at) for one in _by_shots(row)]
    return specs


def _by_shots(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The task once per number of shots: LLM Foundry writes a list; several are told apart by their label."""
    shots: list[Any] | int | None = row.get("num_fewshot")
    if not isinstance(shots, list):
        return [row]
    named = len(shots) > 1
    return [{**row, "num_fewshot": n} | ({"label": f"{row.get('label')}/{n}-shot"} if named else {}) for n in shots]


def _spec(row: dict[str, Any], file: Path, at: int) -> TaskSpec:
    """One task as the YAML describes it."""
    told = {k: v for k, v in row.items() if k not in _IGNORED}
    if "prelimiter" in told:
        told["question_prelimiter"] = told.pop("prelimiter")
    spec = convert(TaskSpec, told, f"{file.name} task {at + 1}")
    if spec.icl_task_type not in FORMATS:
        known = nearest(spec.icl_task_type, FORMATS)
        raise ConfigError(f"{file} task {at + 1}: icl_task_type '{spec.icl_task_type}' is not known.{known}")
    if spec.icl_task_type in BARE and spec.num_fewshot:
        raise ConfigError(
            f"{file} task {at + 1}: num_fewshot is {spec.num_fewshot}, but a row of '{spec.icl_task_type}' is the "
            "whole prompt: set it to 0."
        )
    return spec


def render(spec: TaskSpec, suite: str, folders: Sequence[Path]) -> Task:
    """The task with every prompt written out."""
    path = _find(spec.dataset_uri, folders)
    items = read_items(path, spec.icl_task_type, spec.fields)
    pool_path = path if spec.shots_uri is None else _find(spec.shots_uri, folders)
    pool = items if spec.shots_uri is None else read_items(pool_path, spec.icl_task_type, spec.fields)
    if spec.num_fewshot > len(pool) - (spec.shots_uri is None):
        raise ConfigError(f"task '{spec.label}' wants {spec.num_fewshot} shots; {pool_path} has {len(pool)} items.")
    told = {"version": ANSWERS if spec.icl_task_type == "generation_task_with_answers" else VERSION, **asdict(spec)}
    told["sha"] = [_sha(path.read_bytes()), _sha(pool_path.read_bytes())]
    asked = tuple(_ask(spec, item, pool) for item in choose(items, spec.subset, spec.label))
    prompts = [_prompt(a) for a in asked]
    return Task(
        spec=spec,
        suite=suite,
        suite_hash=_sha(_json(told)),
        prompt_hash=_sha(_json(prompts)),
        asked=asked,
    )


def _prompt(asked: Asked) -> list[Any]:
    return [asked.item.id, asked.item.gold, asked.contexts, asked.continuations, asked.item.answers]


def choose(items: Sequence[Item], subset: int | None, label: str) -> list[Item]:
    """A random subset in file order, never the first N: by a hash of (task, item), in turn over the clusters."""
    if subset is None or subset >= len(items):
        return list(items)
    by_cluster: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: seed_of(0, "subset", f"{label}/{item.id}")):
        by_cluster.setdefault(item.cluster, []).append(item)
    turns = [
        (turn, seed_of(0, "turn", f"{label}/{cluster}"), item.id)
        for cluster, those in by_cluster.items()
        for turn, item in enumerate(those)
    ]
    kept = {item_id for _, _, item_id in sorted(turns)[:subset]}
    return [item for item in items if item.id in kept]


def _ask(spec: TaskSpec, item: Item, pool: Sequence[Item]) -> Asked:
    """One item with its shots and delimiters; trailing white space of a context moves to what follows it."""
    before = spec.prompt_string
    for shot in shots_of(spec, item, pool):
        gold = shot.choices[shot.gold]
        before += (
            _question(spec, shot.contexts[shot.gold]) + spec.continuation_delimiter + gold + spec.example_delimiter
        )
    contexts, continuations = list[str](), list[str]()
    for context, choice in zip(item.contexts, item.choices, strict=True):
        is_bare = spec.icl_task_type in BARE
        full = context if is_bare else before + _question(spec, context) + spec.continuation_delimiter
        if not full.strip() and not before:
            full = ""
        kept = full.rstrip()
        contexts.append(kept)
        continuations.append(full[len(kept) :] + choice)
    return Asked(item=item, contexts=tuple(contexts), continuations=tuple(continuations))


def shots_of(spec: TaskSpec, item: Item, pool: Sequence[Item]) -> list[Item]:
    """The item's own shots: drawn by (task, item, seed), never the item itself where the pool is its own file."""
    if not spec.num_fewshot:
        return []
    is_own = spec.shots_uri is None
    rng = random.Random(seed_of(spec.fewshot_random_seed, "shots", f"{spec.label}/{item.id}"))
    drawn = rng.sample(range(len(pool)), min(len(pool), spec.num_fewshot + is_own))
    others = [pool[at] for at in drawn if not (is_own and pool[at].id == item.id)]
    return others[: spec.num_fewshot]


def _question(spec: TaskSpec, context: str) -> str:
    return spec.question_prelimiter + (context.strip() if spec.strip_dataset else context)


def _folders(file: Path, tasks: Path | None) -> list[Path]:
    return [p for p in (tasks, file.parent) if p is not None]


def _find(uri: str, folders: Sequence[Path]) -> Path:
    """The file, tried below each folder."""
    tried = [folder / uri for folder in folders]
    for path in tried:
        if path.is_file():
            return path
    raise ConfigError(
        f"task file '{uri}' was not found ({', '.join(map(str, tried))}). Put it there, or name the folder of the task "
        "files: --tasks FOLDER or evals.tasks=FOLDER."
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True).encode()


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


_IGNORED = frozenset(
    {
        "metric_names",
        "batch_size",
        "has_categories",
        "do_normalization",
        "pass_at_k",
        "num_beams",
        "generations_per_sample",
    }
)
"""Keys of LLM Foundry's task files that decide nothing here: every metric is a view, batches follow a token budget,
categories are always kept, and no code is generated or run."""
