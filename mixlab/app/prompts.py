"""The prompts of vibes as lines of text, as a file that an exam can name, and as words of a command.

Writes `sweeps/evals/<name>.yaml` in the project directory: a value of the group `evals`.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from mixlab.app.weights import check_word
from mixlab.config import CONF, yaml_text
from mixlab.errors import ConfigError
from mixlab.workspace import disk_errors

HEAD = "# Prompts saved by the vibes page; edit them there or here.\n"
LONGEST = 4000  # characters of a prompt: the models read some hundred tokens


def one_line(prompt: str) -> str:
    r"""A prompt as a line of a text field: line breaks, tabs and backslashes written out.

    >>> one_line("def main():\n    ")
    'def main():\\n    '
    """
    return prompt.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def prompts_of(text: str) -> list[str]:
    r"""The prompts of a text field, one a line, each once; empty lines are none. ConfigError: none, or one too long.

    >>> prompts_of("def main():\\n    \n\nOnce upon\nOnce upon")
    ['def main():\n    ', 'Once upon']
    """
    found = list(dict.fromkeys(_read(line) for line in text.splitlines() if line.strip()))
    if not found:
        raise ConfigError("there is no prompt: write one a line, \\n for a line break within it.")
    if long := [p for p in found if len(p) > LONGEST]:
        raise ConfigError(f"the prompt '{long[0][:40]}…' has {len(long[0]):,} characters; {LONGEST:,} are the most.")
    return found


def save(name: str, prompts: Sequence[str], project: Path | None = None) -> Path:
    """Writes the prompts as the exam `evals=<name>`, whole or not at all; replaces only what it wrote itself.

    ConfigError for a bad name, or one that another file has.
    """
    path, content = file_of(name, prompts, project)
    if (CONF / "evals" / f"{name}.yaml").exists():
        raise ConfigError(f"'{name}' is an exam that mixlab ships, and the shipped one would win. Choose another name.")
    if path.exists() and not path.read_text(encoding="utf-8").startswith(HEAD):
        raise ConfigError(f"{path} is there already and was not written by this page. Choose another name.")
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp.write_text(content, encoding="utf-8")
        os.replace(tmp, path)
    return path


def file_of(name: str, prompts: Sequence[str], project: Path | None = None) -> tuple[Path, str]:
    """Where the exam of this name is kept, and its exact text. ConfigError for a name that could leave the folder."""
    check_word(name)
    content = HEAD + yaml_text({"prompts": list(prompts)})
    return (project or Path.cwd()) / "sweeps" / "evals" / f"{name}.yaml", content


def ask_words(run_id: str, prompts: Sequence[str]) -> list[str]:
    """Words of the command that puts these prompts to a finished run: another exam, no new training."""
    return ["runs", "clone", run_id, f"evals.prompts={json.dumps(list(prompts), ensure_ascii=False)}"]


def _read(line: str) -> str:
    return "\\".join(part.replace("\\n", "\n").replace("\\t", "\t") for part in line.split("\\\\"))
