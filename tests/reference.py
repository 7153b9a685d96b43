"""Writes docs/reference/: every command, setting, profile, task, part, table and public name, read from the code.

`python -m tests.reference` after a change to any of them; tests/test_docs.py holds that the pages are what it writes.
Nothing here is told twice: the sentences are the help texts, docstrings and the comments of the YAML files.
"""

import ast
import inspect
import os
import re
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import typer
import yaml
from typer.testing import CliRunner

import mixlab
from mixlab import cli, errors, types
from mixlab.advise import fits
from mixlab.config import CONF
from mixlab.data import profiles, readers
from mixlab.data.rulebook import rules_of
from mixlab.eval import suites, tasks
from mixlab.lab import Lab
from mixlab.mix import budget, designs, export
from mixlab.model import attention
from mixlab.results import (
    catalogue,
    charts,
    charts_compare,
    charts_data,
    charts_explore,
    landscape,
    marks,
    schema,
    versus,
)
from mixlab.results.store import Store
from mixlab.train import optim, rates
from mixlab.workspace import Workspace

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
AGAIN = "*Made from the code by `python -m tests.reference`; changed there, not here.*"
SECTIONS = ("Source", "Cleaning", "Dedup", "Decontamination", "Spans", "Holdout", "TokenizerSpec", "Mixture", "Phase",
            "ModelSpec", "TrainSpec", "EvalSpec", "RunSpec")  # fmt: skip
"""Types of types.py that a person sets, in the order of a run."""
KEYS = {"TokenizerSpec": "tokenizer", "ModelSpec": "model", "TrainSpec": "train", "EvalSpec": "evals",
        "RunSpec": "", "Source": "sources.NAME", "Phase": "phases[i]"}  # fmt: skip
"""Type -> key before its fields, where that is not its name in small letters."""


def pages() -> dict[str, str]:
    """File name -> the whole page."""
    made = {
        "commands": ("Commands", _commands()),
        "settings": ("Settings", _settings()),
        "presets": ("Presets", _presets()),
        "profiles": ("Cleaning profiles", _profiles()),
        "tasks": ("Tasks and metrics", _tasks()),
        "parts": ("Parts that have names", _parts()),
        "tables": ("Tables and views", _tables()),
        "python": ("Python", _python()),
        "exit-codes": ("Exit codes", _exit_codes()),
    }
    return {f"{name}.md": f"# {title}\n\n{AGAIN}\n\n" + "\n".join(body) + "\n" for name, (title, body) in made.items()}


def _commands() -> Iterator[str]:
    """`--help` of every command, as printed in 100 columns."""
    yield from ("```text", _help(()), "```")
    for words in command_names():
        yield from ("", f"## mixlab {' '.join(words)}", "", "```text", _help(words), "```")


def command_names() -> list[tuple[str, ...]]:
    """Every command as the words after `mixlab`, in the order of the help."""

    def walk(group: Any, before: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, (*before, name))
            else:
                yield (*before, name)

    return list(walk(typer.main.get_command(cli.app), ()))


def _help(words: Sequence[str]) -> str:
    told = CliRunner().invoke(cli.app, [*words, "--help"], env={"COLUMNS": "100"}, prog_name="mixlab")
    assert told.exit_code == 0, (words, told.output)
    return "\n".join(line.rstrip() for line in told.output.strip().splitlines())


def _settings() -> Iterator[str]:
    """Every field of the types that a person sets, with type, default and the line beneath it."""
    yield (
        "Typed as `key=value` after `mixlab run`, `mixlab sweep` or `mixlab mix show`, or written in a YAML of the "
        "group. ○ after a name: it changes no number of the training and so is no part of a run's key."
    )
    tree = {node.name: node for node in ast.parse(inspect.getsource(types)).body if isinstance(node, ast.ClassDef)}
    for name in SECTIONS:
        key = KEYS.get(name, name.lower())
        yield from ("", f"## {key or 'the run itself'}", "", _first_line(ast.get_docstring(tree[name])), "")
        yield from _table(("setting", "type", "default", "what it is"), _fields(tree[name], f"{key}." if key else ""))


def _fields(node: ast.ClassDef, prefix: str) -> Iterator[tuple[str, ...]]:
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            about = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            default, mark = _default(field.value)
            yield f"`{prefix}{field.target.id}`{mark}", f"`{ast.unparse(field.annotation)}`", default, _flat(str(about))


def _default(node: ast.expr | None) -> tuple[str, str]:
    """The default as shown, and the mark of a field that is in no key."""
    if node is None:
        return "required", ""
    mark = " ○" if "COSMETIC" in ast.unparse(node) else ""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "field":
        given = {k.arg: k.value for k in node.keywords}
        node = given.get("default")
        if node is None:
            return "`{}`", mark
    return ("its own defaults" if isinstance(node, ast.Call) else f"`{ast.unparse(node)}`"), mark


def _presets() -> Iterator[str]:
    """Every YAML of every config group: the comment that opens it, and its values."""
    yield (
        "`group=name` on the command line; a file of your own is `sweeps/<group>/<name>.yaml`. What a preset does not "
        "name stays at its default ([settings](settings.md))."
    )
    for group in sorted(p for p in CONF.iterdir() if p.is_dir() and not p.name.startswith("_")):
        yield from ("", f"## {group.name}", "")
        rows: list[tuple[str, ...]] = []
        for file in sorted(group.glob("*.yaml")):
            text = file.read_text(encoding="utf-8")
            said = [line[1:].strip() for line in _opening(text) if not line.startswith("# @package")]
            values = {k: v for k, v in yaml.safe_load(text).items() if group.name != "source" or k in SHOWN_OF_SOURCE}
            shown = ", ".join(f"`{k}: {_short(v)}`" for k, v in values.items())
            rows.append((f"`{group.name}={file.stem}`", _flat(" ".join(said)), shown))
        yield from _table(("preset", "what it is", "values"), rows)


SHOWN_OF_SOURCE = ("kind", "defaults", "max_docs", "licence", "reader")


def _opening(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        yield line


def _profiles() -> Iterator[str]:
    """Every cleaning profile, its steps with the parameters that `?` moves, and its rules."""
    yield _flat(str(inspect.getdoc(profiles)).split("\n\n")[1]).partition(" `PROFILES`, at the end,")[0]
    yield "\nWhat each rule does: [rules](../rules.md)."
    for name, profile in profiles.PROFILES.items():
        yield from ("", f"## `{name}`", "", profile.about, "")
        for step in profile.steps:
            values = {f: getattr(step, f) for f in step.__dataclass_fields__}
            moved = ", ".join(f"`{k}={v}`" for k, v in values.items() if isinstance(v, int | float | str))
            yield f"- *{type(step).__name__}*{': ' + moved if moved else ''}"
        if profile.steps:
            yield f"- rules: {', '.join(f'`{r.name}`' for r in rules_of(profile.steps))}"


def _tasks() -> Iterator[str]:
    """Packaged suites and their tasks, formats of task files, settings of a task, metrics."""
    yield "How tasks are asked and compared: [evaluation](../evaluation.md)."
    for file in sorted(suites.PACKAGED.glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        said = " ".join(line[1:].strip() for line in _opening(text))
        yield from ("", f"## Suite `{file.stem}`", "", said, "")
        tree = yaml.safe_load(text)
        rows = tree if isinstance(tree, list) else next(v for v in tree.values() if isinstance(v, list))
        keys = ("label", "dataset_uri", "icl_task_type", "subset")
        yield from _table(
            ("task", "file", "type", "items asked"), [tuple(_short(r.get(k, "all")) for k in keys) for r in rows]
        )
    yield from ("", "## Types of task files", "")
    yield from _table(("`icl_task_type`", "what it is"), _docs(tasks.FORMATS))
    yield from ("", "## Settings of a task", "")
    tree = next(n for n in ast.parse(inspect.getsource(suites)).body if getattr(n, "name", "") == "TaskSpec")
    assert isinstance(tree, ast.ClassDef)
    yield from _table(("setting", "type", "default", "what it is"), _fields(tree, ""))
    yield from ("", "## Metrics", "", ", ".join(f"`{m}`" for m in marks.METRICS) + ".")


def _parts() -> Iterator[str]:
    """The tables of named parts: a name, and the first line of its function's docstring."""
    yield "Each is a plain function in one table at the end of its file; a new one is a function and a line there."
    for title, table in PARTS.items():
        yield from ("", f"## {title}", "")
        yield from _table(("name", "what it is"), _docs(table))
    yield from ("", "## Devices that are priced: `--device`", "")
    rows = [
        (f"`{n}`", f"{d.peak / 1e12:g}", f"{d.utilisation:g}", f"{d.dollars_per_hour:g}", d.origin)
        for n, d in budget.DEVICES.items()
    ]
    yield from _table(("device", "peak TFLOP/s", "utilisation", "$ an hour", "where from"), rows)


PARTS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "Fits: `mixlab recommend --method`": fits.METHODS,
    "Designs: `mixlab mix design`": designs.DESIGNS,
    "Recipes: `mixlab mix export --to`": export.TRAINERS,
    "Schedules: `train.schedule`": rates.SCHEDULES,
    "Optimizers: `train.optimizer`": optim.OPTIMIZERS,
    "Attention: `model.attn_impl`": attention.BACKENDS,
    "Kinds of sources: `kind`": readers.READERS,
}


def _tables() -> Iterator[str]:
    """Every table and view of an empty lab, with its columns."""
    yield 'Asked by `mixlab db query "FROM leaderboard"` or `mixlab.open().sql(…)`. Times are UTC.'
    yield "`run_wide` and `leaderboard` also have a column `bpb_<source>` and `w_<source>` for each source of the lab."
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Workspace(Path(folder)))
        for title, names in (("Tables", schema.TABLES), ("Views", tuple(schema.VIEWS))):
            yield from ("", f"## {title}", "")
            for name in names:
                columns = store.query(f"DESCRIBE FROM {name}")
                told = ", ".join(f"`{c}`" for c in columns["column_name"])
                made_of = f" (of {', '.join(schema.VIEWS[name])})" if name in schema.VIEWS else ""
                yield f"- **{name}**{made_of}: {told}"


def _python() -> Iterator[str]:
    """The public names, with signatures and docstrings."""
    yield from ("```python", "import mixlab", "", 'lab = mixlab.open("lab")', "lab.leaderboard()", "```")
    for name in mixlab.__all__:
        if callable(thing := getattr(mixlab, name)):
            yield from ("", f"## mixlab.{name}{_signature(thing)}", "", inspect.getdoc(thing) or "")
    yield from ("", "## The lab", "", inspect.getdoc(Lab) or "")
    for name, method in vars(Lab).items():
        if not name.startswith("_") and inspect.isfunction(method):
            yield from ("", f"### lab.{name}{_signature(method)}", "", inspect.getdoc(method) or "")
    yield from ("", "## Beside the lab", "", "What the notebooks draw and fit with; frames in, charts or fits out.")
    for module in BESIDE:
        yield from ("", f"### {module.__name__}", "")
        yield from _table(("name", "what it gives"), _docs(public_functions(module)))


BESIDE = (catalogue, charts, charts_compare, charts_data, charts_explore, landscape, versus, fits)
"""Modules that scripts and notebooks may import, beside `mixlab` itself."""


def public_functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """Name -> function of those that a module defines for others, in its order."""
    told = {n: f for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__}
    return {name: function for name, function in told.items() if not name.startswith("_")}


def _signature(function: Callable[..., Any]) -> str:
    """As it is written: what `inspect.signature` prints differs between Python versions."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef) and node.returns is not None
    arguments = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
    return f"({arguments}) -> {ast.unparse(node.returns)}".replace("pd.DataFrame", "DataFrame")


def _exit_codes() -> Iterator[str]:
    """What the shell sees, and the errors behind it."""
    told = inspect.getdoc(cli) or ""
    codes = re.findall(r"(\d+) ([^·.]+)", told.partition("Exit codes:")[2])
    yield from _table(("code", "means"), [(code, _flat(said)) for code, said in codes])
    yield from ("", "## Errors in Python", "", "All are children of `mixlab.errors.MixlabError`, a `ValueError`.", "")
    kinds = [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, errors.MixlabError)]
    yield from _table(
        ("error", "exit code", "means"), [(f"`{c.__name__}`", str(c.exit_code), inspect.getdoc(c) or "") for c in kinds]
    )


def _docs(table: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Name and first docstring line of each part; a part that says nothing has an empty cell."""
    return [(f"`{name}`", _flat(_first_line(inspect.getdoc(part)))) for name, part in table.items()]


def _table(heads: Sequence[str], rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0]


def _flat(text: str) -> str:
    return " ".join(text.split())


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "…"


def main() -> None:
    """Writes the pages, and deletes those that are no longer made."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = pages()
    for stale in {p.name for p in FOLDER.glob("*.md")} - set(made):
        (FOLDER / stale).unlink()
    for name, text in made.items():
        beside = FOLDER / f".{name}.tmp"
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, FOLDER / name)


if __name__ == "__main__":
    main()
