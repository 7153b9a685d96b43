"""What the pages on data read and write, without a page: the catalogue, passages with marks, files of the project."""

import json

import pytest

from mixlab import compose
from mixlab.app import corpora, passages, recipes
from mixlab.data import beside
from mixlab.data.explain import Explained
from mixlab.errors import ConfigError, SourceError
from tests.app.corpora_lab import EVIL, PAGES, make_corpora


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The lab of corpora, written once. Read it, do not write."""
    root = tmp_path_factory.mktemp("corpora")
    make_corpora(root / "lab")
    return root


@pytest.fixture
def corpus(made, monkeypatch):
    """The app's readers point at the lab of corpora."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("MIXLAB_HOME", str(made / "lab"))
    return made


def key_of(source):
    return corpora.choices()[source][0].path.name


def found(**given):
    told = {"source": "s", "id": "x", "profile": "none", "kept": False, "reason": "badword", "rules": []}
    return Explained(**{**told, "lines": [], "spans": [], "duplicate": None, **given})


def test_the_catalogue_knows_what_is_ready_and_what_is_only_described(corpus):
    told = corpora.catalogue().set_index("source")
    assert told.loc["pages", ["state", "tokens", "licence", "fingerprint"]].tolist() == [
        "ready", 1000, "CC0-1.0", "abcdefabcdef"
    ]  # fmt: skip
    assert told.loc["wiki", "state"] == "described" and "example_files" not in told.index
    assert "starter" not in told.index


def test_a_yaml_with_a_mistake_is_told_and_does_not_hide_the_others(project):
    folder = project / "sweeps" / "source"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("# @package sources.mine\nkind: files\npath: [a.txt]\n")
    told = corpora.catalogue().set_index("source")
    assert told.loc["mine", "state"] == "broken" and "Did you mean 'paths'" in told.loc["mine", "problem"]
    assert told.loc["wiki", "state"] == "described"


def test_a_page_of_documents_is_what_browse_tells(corpus):
    rows, total = corpora.documents(key_of("pages"), corpora.browse.Ask(fate="kept"), 2)
    assert (total, len(rows)) == (38, 18)  # 40 good ones, of which two are held out
    assert corpora.fates(key_of("pages")).set_index("fate")["docs"].to_dict() == {
        "kept": 38, "dropped": 4, "duplicate": 1, "held out": 2
    }  # fmt: skip
    assert corpora.answer([key_of("pages")], ["badword=off"])["docs_back"].tolist() == [1]  # a brace drops the other
    rules = corpora.rules([key_of("pages"), key_of("plain")]).set_index("rule")
    assert rules.loc["badword", "docs"] == 2 and rules.loc["filtered:too_few_sentences", "limits"] == {"pages": 3}


def test_no_text_of_a_document_reaches_the_page_with_controls_in_it(corpus):
    evil = next(name for name in PAGES if name.startswith("evil"))
    told = passages.lines_of(corpora.document(key_of("pages"), evil), 1)
    text = "\n".join("".join(said for said, _ in line["parts"]) for line in told)
    assert corpora.document(key_of("pages"), passages.visible(evil)).id == evil  # as a page writes it
    assert "<U+001B>[31m" in text and "<U+202E>" in text and EVIL[0] in text
    assert not {"\x1b", "\u202e", "\u202c"} & set(json.dumps(told, ensure_ascii=False))
    marks = [(said, line["n"]) for line in told for said, kind in line["parts"] if kind == "match"]
    assert ("sex", 7) in marks and ("{", 3) in marks


def test_marks_cut_a_line_exactly_and_a_long_line_shows_its_match():
    line = "a" * 9000 + " sex " + "b" * 9000
    one = found(lines=[(1, line, "kept"), (2, "gone", "line-filtered:no_endmark")], spans=[(1, 9001, 9004, "badword")])
    first, second = passages.lines_of(one, 1)
    assert ["sex", "match"] in first["parts"] and first["parts"][0] == ["… ", ""] and first["parts"][-1] == [" …", ""]
    assert sum(len(said) for said, _ in first["parts"]) == passages.LONGEST + 4
    assert second["gone"] and second["note"] == "line-filtered:no_endmark" and not first["gone"]
    both = found(lines=[(1, "abcdef", "kept")], spans=[(1, 1, 3, "x"), (1, 2, 5, "y")])
    assert "".join(said for said, _ in passages.lines_of(both, 1)[0]["parts"]) == "abcdef"


def test_a_long_document_opens_where_its_rule_strikes():
    lines = [(n, f"line {n}", "kept") for n in range(1, 401)]
    one = found(lines=lines, spans=[(3, 0, 1, "line-filtered:no_endmark"), (320, 0, 4, "badword")])
    assert passages.pages_of(one) == 3 and passages.page_of_first_span(one) == 3
    assert [line["n"] for line in passages.lines_of(one, 3)][:2] == [301, 302]
    assert passages.page_of_first_span(found(kept=True, reason=None)) == 1


def test_a_pair_is_cut_into_what_is_shared_and_what_differs(corpus):
    key = key_of("pages")
    pair = corpora.pair(key, corpora.document(key, "twin"))
    assert "".join(text for text, _ in pair.removed) == PAGES["twin"]
    assert "".join(text for text, _ in pair.kept) == PAGES["good-0"]
    assert "very" in " ".join(text for text, kind in pair.removed if kind == "differs")
    assert pair.removed[0][1] == "shared" and len(pair.removed[0][0].split()) == 18
    lines = passages.beside(pair.removed)
    assert len(lines) == PAGES["twin"].count("\n") + 1
    long = "word " * (beside.MOST_WORDS + 1)
    assert not beside.compared(long, "other", (0, 0, 0)).is_compared


def test_a_source_from_the_form_is_the_source_that_a_run_composes(project):
    (project / "texts").mkdir()
    (project / "texts" / "a.txt").write_text("Text.")
    given = {"paths": "texts/*.txt\n\n", "licence": "MIT", "max_docs": 10, "min_bytes": 0, "query": " "}
    tree = recipes.source_tree("files", given)
    assert tree == {"kind": "files", "paths": ["texts/*.txt"], "licence": "MIT", "max_docs": 10}
    told = recipes.check_source("my-pages", tree)
    path = recipes.write(recipes.path_of("source", "my-pages"), recipes.source_yaml("my-pages", tree))
    assert path == project / "sweeps" / "source" / "my-pages.yaml"
    assert compose.spec_of(["source=[my-pages]"], project).sources == (told,)
    with pytest.raises(ConfigError, match="is there already"):
        recipes.write(path, "")
    assert "cat > sweeps/source/my-pages.yaml <<'END'" in recipes.as_command(path, "x\n")


@pytest.mark.parametrize(
    ("name", "kind", "given", "error", "says"),
    [
        ("../evil", "files", {"paths": "a.txt"}, ConfigError, "cannot be used"),
        ("wiki", "files", {"paths": "a.txt"}, ConfigError, "mixlab brings"),
        ("mine", "files", {"paths": "nothing/*.txt"}, SourceError, "is not there"),
        ("mine", "files", {}, SourceError, "needs `paths`"),
        ("mine", "hf", {"dataset": "a/b", "revision": "main"}, SourceError, "pin the commit"),
        ("mine", "pypi", {"packages": "a==1: 0", "members": "*.txt"}, SourceError, "sha256"),
        ("mine", "sql", {}, ConfigError, "not possible"),
    ],
)
def test_a_source_that_no_run_could_read_is_refused(project, name, kind, given, error, says):
    with pytest.raises(error, match=says):
        recipes.check_source(name, recipes.source_tree(kind, given))
    assert not list(project.rglob("*.yaml"))


def test_a_package_without_its_hash_is_refused():
    with pytest.raises(ConfigError, match="sha256 of the wheel"):
        recipes.source_tree("pypi", {"packages": "awscli==1.2"})


def test_a_saved_rule_set_is_the_cleaning_that_a_run_composes(project):
    tree = recipes.cleaning_tree({"wiki": "c4/tfds-3.1.0?without=badword", "books": "none"}, "none")
    told = recipes.check_cleaning("looser", tree)
    recipes.write(recipes.path_of("cleaning", "looser"), recipes.cleaning_yaml(tree))
    assert compose.spec_of(["cleaning=looser"], project).cleaning == told
    assert told.profile_of("wiki") == "c4/tfds-3.1.0?without=badword" and told.profile_of("books") == "none"
    assert corpora.cleaning_names() == ["starter", "c4", "none", "looser"]
    with pytest.raises(ConfigError, match="unknown"):
        recipes.check_cleaning("mine", {"profile": "c5"})
