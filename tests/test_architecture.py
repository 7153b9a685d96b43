"""The laws of the house. Read from the syntax tree here: 1, 2, 4, 7 and 8.

Elsewhere: 3 in test_workspace (artefacts, golden keys), 5 in mix/ (weights are shares of tokens), 6 in test_pipeline,
train/test_loop and train/test_loader (a run is a function of its spec; resumed = uninterrupted; paired sequences).
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ORDER = [
    *("types", "errors", "seeds", "bounds", "config", "workspace", "alive", "requeue"),
    *("data", "mix", "model", "train", "eval", "results", "advise"),
    *(
        "roster",
        "claims",
        "commit",
        "jobs",
        "origin",
        "handover",
        "lengths",
        "exam",
        "unprompted",
        "lab",
        "arrivals",
        "trackers",
        "rehearsal",
        "pipeline",
        "crew",
        "sweep",
        "lrfinder",
        "halving",
        "optimize",
        "rivals",
        "lineage",
        "report",
        "again",
        "compose",
        "doctor",
        "app",
        "show",
        "show_advice",
        "show_atlas",
        "show_tasks",
        "show_run",
        "show_contest",
        "show_mix",
        "show_dedup",
        "show_report",
        "journey",
        "demo",
        "commands",
        "cli",
        "__main__",
    ),
]
"""Left to right; the package's own __init__ is the public front and may import everything lazily."""
ROOMS = {
    "torch": ("mixlab/model/", "mixlab/train/", "mixlab/eval/"),
    "datasets": ("mixlab/data/sources.py", "mixlab/data/readers.py"),
    "duckdb": (
        "mixlab/data/dedup.py",
        "mixlab/data/atlas.py",
        "mixlab/data/browse.py",
        "mixlab/results/look.py",
        "mixlab/results/store.py",
        "mixlab/results/export.py",
    ),
    "streamlit": ("mixlab/app/", "app.py"),
    "hydra": ("mixlab/compose.py", "mixlab/__main__.py"),
    "omegaconf": ("mixlab/compose.py", "mixlab/__main__.py"),
}


def modules() -> list[Path]:
    return sorted(p for p in (ROOT / "mixlab").rglob("*.py"))


def imports(path: Path) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(a.name, node.lineno) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found += [(f"{node.module}.{a.name}", node.lineno) for a in node.names]
    return found


def room(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py") if parts else "__init__"


def test_a_module_imports_only_leftwards():
    wrong = []
    for path in modules():
        here = room(path.relative_to(ROOT / "mixlab").parts)
        if here == "__init__":
            continue
        for name, line in imports(path):
            if not name.startswith("mixlab."):
                continue
            there = name.split(".")[1]
            if there == "__version__":
                continue
            if ORDER.index(there) > ORDER.index(here):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {there}, which stands to the right of {here}")
    assert not wrong, "\n".join(wrong)


def test_heavy_things_stay_in_their_room():
    wrong = []
    for path in [*modules(), ROOT / "app.py"]:
        where = str(path.relative_to(ROOT))
        for name, line in imports(path):
            allowed = ROOMS.get(name.split(".")[0])
            if allowed and not where.startswith(allowed):
                wrong.append(f"{where}:{line} imports {name}; that belongs in {', '.join(allowed)}")
    assert not wrong, "\n".join(wrong)


def test_only_the_pipeline_knows_two_stages():
    """`train` does not import `eval`, `eval` not `model`, `results` neither: stages talk through files."""
    forbidden = {
        "train": {"eval"},
        "eval": {"model", "train"},
        "results": {"model", "train", "eval"},
        "advise": {"data", "model", "train", "eval"},
        "app": {"model", "train", "eval", "pipeline", "demo", "cli"},
    }
    wrong = []
    for path in modules():
        here = room(path.relative_to(ROOT / "mixlab").parts)
        for name, line in imports(path):
            parts = name.split(".")
            if parts[0] == "mixlab" and len(parts) > 1 and parts[1] in forbidden.get(here, ()):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_file_is_a_drawer_or_too_long():
    for path in modules():
        assert path.stem not in {"utils", "misc", "helpers", "common"}, path
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300 or "Longer than 300 lines because" in text, f"{path} is too long"
        assert ast.get_docstring(ast.parse(text)), f"{path} does not say what its one job is"


def test_the_front_door_stays_light():
    """Importing the CLI brings in nothing heavy."""
    code = "import sys, mixlab.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pandas", "duckdb", "streamlit", "hydra", "numpy", "pyarrow", "datasets"} & set(loaded)


def test_what_a_run_would_be_is_told_without_torch():
    """`mix show`, `data prepare` and every dry run: two seconds less."""
    code = "import sys, mixlab.rehearsal, mixlab.sweep, mixlab.optimize, mixlab.halving; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "False\n"


def classes() -> dict[str, tuple[Path, ast.ClassDef]]:
    found = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name] = (path, node)
    return found


def test_no_class_of_ours_is_a_base_class():
    """Law 8: parts are plain functions in a table. Errors form a tree, so that a caller can catch a kind."""
    ours = classes()
    wrong = []
    for name, (path, node) in ours.items():
        bases = {b.id for b in node.bases if isinstance(b, ast.Name)} & set(ours)
        if bases and path.name != "errors.py":
            wrong.append(f"{path.relative_to(ROOT)}: {name} inherits from {', '.join(sorted(bases))}")
    assert not wrong, "\n".join(wrong)


def test_no_part_registers_itself():
    """Law 8: no decorator that files its function away somewhere; no module is looked up by a configured name."""
    wrong = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for decorator in getattr(node, "decorator_list", []):
                if "register" in ast.unparse(decorator):
                    wrong.append(f"{path.relative_to(ROOT)}:{decorator.lineno} {ast.unparse(decorator)}")
        if re.search(r"\b_target_\b", path.read_text(encoding="utf-8")):
            wrong.append(f"{path.relative_to(ROOT)} uses _target_")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_unpickled_and_no_shell_is_started():
    wrong = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called, words = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
                if called in {"pickle.load", "pickle.loads", "torch.load", "os.system", "eval", "exec"}:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {called}")
                if words.get("shell") == "True" or words.get("allow_pickle") == "True":
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {words}")
    assert not wrong, "\n".join(wrong)
