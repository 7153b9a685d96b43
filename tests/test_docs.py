"""The pages say what is true: the reference is regenerated, commands and settings parse, links and messages exist."""

import ast
import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from mixlab import cli
from mixlab.compose import SPECS
from mixlab.config import CONF
from tests import reference

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])
COMMAND = typer.main.get_command(cli.app)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return reference.pages()


def test_the_reference_is_what_the_code_says(made):
    there = {p.name: text_of(p) for p in reference.FOLDER.glob("*.md")}
    stale = [name for name in {*made, *there} if made.get(name) != there.get(name)]
    assert not stale, f"docs/reference/ is stale ({', '.join(sorted(stale))}): run `python -m tests.reference`"


def test_every_named_part_says_what_it_is(made):
    silent = [
        line
        for name in ("parts.md", "tasks.md")
        for line in made[name].splitlines()
        if re.search(r"^\| `[\w-]+` \|  \|$", line)
    ]
    assert not silent, f"parts without a docstring: {silent}"


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, content) of the fenced blocks of a page."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


def typed() -> list[tuple[str, str]]:
    """(page, command) of everything that the hand-written pages tell people to type."""
    found = []
    for page in PAGES:
        if page.parent == reference.FOLDER:
            continue
        lines = [line for kind, block in blocks(page) if kind in ("bash", "") for line in block.splitlines()]
        inline = re.findall(r"`(mixlab [^`]*)`", re.sub(r"^```.*?^```$", "", text_of(page), flags=re.M | re.S))
        for line in (*lines, *inline):
            if re.match(r"(mixlab|python -m mixlab) ", line) and not re.search(
                r"…|\||<|KEY|\.\.\.", line.split("  #")[0]
            ):
                found.append((page.name, line.split("  #")[0].strip()))
    return found


@pytest.mark.parametrize(("page", "line"), sorted(set(typed())))
def test_what_people_are_told_to_type_exists(page, line):
    words = shlex.split(line, comments=True)
    words = words[1:] if words[0] == "mixlab" else ["run", *(w for w in words[3:] if w not in ("-m", "[-m]"))]
    command: Any = COMMAND
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        name = words.pop(0).rstrip(",")
        assert name in command.commands, f"{page}: there is no command '{name}' in `{line}`"
        command = command.commands[name]
    options = {o: p for p in command.params for o in (*p.opts, *p.secondary_opts)}
    for before, word in zip(["", *words], words, strict=False):
        if word.startswith("-"):
            assert word.partition("=")[0] in {*options, "--help", "-v"}, f"{page}: `{line}`: there is no option {word}"
        elif before in options and not options[before].is_flag:
            continue
        elif re.match(r"[+~]?\w[\w./@]*=", word) and "hydra" not in word:
            check_override(page, word)


def check_override(page: str, word: str) -> None:
    key = re.match(r"[+~]?([\w./@]+)", word)[1].partition("@")[0]
    section, *rest = key.split(".")
    groups = {p.name for p in CONF.iterdir() if p.is_dir()} | {"sweeps"}
    assert section in {*groups, *SPECS, "seed", "name", "sources", "phases", "sweep", "design"}, f"{page}: `{word}`"
    if section in SPECS and rest:
        assert rest[0] in {f.name for f in dataclasses.fields(SPECS[section])}, f"{page}: there is no setting `{key}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text_of(page), flags=re.M | re.S)):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            heads = {slug(h) for h in re.findall(r"^#+ (.*)$", text_of(path), re.M)}
            assert anchor in heads, f"{page.name}: {target}; there are {sorted(heads)}"


def slug(heading: str) -> str:
    """The anchor that Markdown renderers give a heading."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def test_every_page_is_on_the_site():
    nav = re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text_of(ROOT / "mkdocs.yml"))["nav"]))
    assert sorted(nav) == sorted(str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md"))


def messages() -> set[str]:
    """Every text of the product, with … for what is filled in."""
    found = set()
    for path in (ROOT / "mixlab").rglob("*.py"):
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_quoted_message_is_one_that_is_raised():
    known = messages()
    quoted = re.findall(r"^### `(.*)`$", text_of(ROOT / "docs" / "troubleshooting.md"), re.M)
    assert len(quoted) > 20
    for message in quoted:
        parts = [re.escape(p) for p in message.split("…") if p.strip()]
        wanted = re.compile(".*".join(parts), re.DOTALL)
        assert any(wanted.search(k) for k in known), f"docs/troubleshooting.md quotes what no code says: {message}"
