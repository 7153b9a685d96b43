"""The rule atlas: what each cleaning rule costs, alone and together, and what another choice would bring back.

Reads `clean/…/verdicts.parquet`, in which every document-level rule was judged as if the others were off; so each
question is one SQL query and no second pass. Writes nothing. Bytes become tokens at the rate of the source's own
tokenised corpus, where there is one.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pandas as pd

from mixlab.data.cleaned import Cleaned
from mixlab.data.lines import STORED_SENTENCES
from mixlab.data.profiles import steps_of
from mixlab.data.rulebook import RULES, Rule, rules_of, threshold_of
from mixlab.data.steps import ACROSS, C4Lines, LineDedup
from mixlab.errors import ConfigError, nearest
from mixlab.workspace import read_manifest


def waterfall(cleaned: list[Cleaned]) -> pd.DataFrame:
    """What is left after each step: source, step, docs, bytes, tokens (null without a tokenised corpus).

    First the raw documents, then all of them without the lines that went, then rule by rule in the profile's order.
    """
    frames = list[tuple[Any, ...]]()
    with verdicts(cleaned) as db:
        for told in cleaned:
            query = (
                "SELECT count(*) docs, coalesce(sum(CASE WHEN ? THEN bytes_in ELSE bytes_otherwise END), 0) bytes "
                "FROM verdicts WHERE source = ? AND NOT list_has_any(rules_hit, ?::VARCHAR[])"
            )
            names = [rule.name for rule in told.rules]
            steps: list[tuple[str, bool, list[str]]] = [
                ("raw", True, []),
                ("line rules", False, []),
                *((n, False, names[: i + 1]) for i, n in enumerate(names)),
            ]
            for step, is_raw, gone in steps:
                docs, size = db.execute(query, [is_raw, told.source, gone]).fetchall()[0]
                frames.append((told.source, step, docs, int(size), told.tokens(size)))
    return pd.DataFrame(frames, columns=["source", "step", "docs", "bytes", "tokens"])


def kills(cleaned: list[Cleaned]) -> pd.DataFrame:
    """What each document-level rule removes, a row per source and rule.

    `docs_hit`: it would drop them; `docs_first`: it is the reason given; `docs_only`: no other rule would drop them;
    `shapley_docs`, `shapley_bytes`: its fair part of what all rules remove together, each document's loss shared
    evenly by the rules that hit it (the Shapley value of this game); the parts add up to the whole loss.
    """
    query = """
        SELECT source, rule, count(*) AS docs_hit, count(*) FILTER (rule = reason) AS docs_first,
               count(*) FILTER (len(rules_hit) = 1) AS docs_only,
               coalesce(sum(bytes_otherwise) FILTER (len(rules_hit) = 1), 0)::BIGINT AS bytes_only,
               sum(1.0 / len(rules_hit)) AS shapley_docs, sum(bytes_otherwise / len(rules_hit)) AS shapley_bytes
        FROM (SELECT *, unnest(rules_hit) AS rule FROM verdicts) GROUP BY source, rule
        ORDER BY source, docs_hit DESC, rule"""
    with verdicts(cleaned) as db:
        found: Any = db.execute(query).df()
    rates = {c.source: c.bytes_per_token for c in cleaned}
    of_source: pd.Series[Any] = found["source"].map(rates)
    rate = pd.to_numeric(of_source)
    return found.assign(tokens_only=found["bytes_only"] / rate, shapley_tokens=found["shapley_bytes"] / rate)


def overlap(cleaned: list[Cleaned]) -> pd.DataFrame:
    """Documents that two rules hit both: source, rule, other, docs, jaccard (of the two sets); rule < other."""
    query = """
        WITH hit AS (SELECT source, id, unnest(rules_hit) AS rule FROM verdicts),
             size AS (SELECT source, rule, count(*) AS n FROM hit GROUP BY ALL),
             pair AS (SELECT a.source, a.rule, b.rule AS other, count(*) AS docs FROM hit a
                      JOIN hit b ON a.source = b.source AND a.id = b.id AND a.rule < b.rule GROUP BY ALL)
        SELECT pair.*, docs / (x.n + y.n - docs) AS jaccard FROM pair
        JOIN size x ON x.source = pair.source AND x.rule = pair.rule
        JOIN size y ON y.source = pair.source AND y.rule = pair.other ORDER BY source, docs DESC, rule, other"""
    with verdicts(cleaned) as db:
        return db.execute(query).df()


def lines(cleaned: list[Cleaned]) -> pd.DataFrame:
    """Lines that went, by source and line rule: source, rule, lines, docs (with such a line)."""
    query = """
        SELECT source, entry.key AS rule, sum(entry.value)::BIGINT AS lines, count(*) AS docs
        FROM (SELECT source, unnest(map_entries(lines_dropped)) AS entry FROM verdicts) GROUP BY ALL
        ORDER BY source, lines DESC"""
    with verdicts(cleaned) as db:
        return db.execute(query).df()


@dataclass(frozen=True, slots=True)
class Change:
    """A question: this rule off (`threshold` None), or its threshold moved."""

    rule: str
    threshold: float | None


def change(text: str) -> Change:
    """The question in `rule=off` or `rule=number`; `min_sentences=1` stands for the rules with that parameter.

    >>> change("badword=off")
    Change(rule='badword', threshold=None)
    """
    rule, equals, value = text.partition("=")
    known = {*RULES, *(r.parameter for r in RULES.values() if r.parameter)}
    if rule not in known:
        raise ConfigError(f"--what-if {text}: there is no rule or threshold '{rule}'.{nearest(rule, known)}")
    if value == "off":
        return Change(rule, None)
    try:
        return Change(rule, float(value))
    except ValueError:
        asked = f"'{value}'" if equals else "nothing"
        raise ConfigError(f"--what-if {rule}=…: say `off` or a number for the threshold, not {asked}.") from None


def what_if(cleaned: list[Cleaned], asked: Change) -> pd.DataFrame:
    """What a change would do, a row per source that has the rule.

    Columns: source, rule, threshold (now), docs and bytes and tokens (now), docs_back, docs_gone, bytes_change,
    tokens_change, is_exact. Not exact: a later step of the profile compares documents, and more of them would take
    part; only cleaning again tells. Raises ConfigError if no profile here has the rule, or verdicts cannot tell.
    """
    moved: Any = moved_documents(cleaned, asked)
    rows = list[tuple[Any, ...]]()
    for told, rule, now in concerned(cleaned, asked):
        mine = moved[moved["source"] == told.source]
        back, gone = mine[mine["change"] == "back"], mine[mine["change"] == "gone"]
        facts = read_manifest(told.path)
        size = int(back["bytes"].sum() - gone["bytes"].sum())
        change_of = (len(back), len(gone), size, told.tokens(size))
        is_exact = not compares_later(told, rule)
        here = (told.source, rule.name, now, facts["docs"], facts["bytes"], told.tokens(facts["bytes"]))
        rows.append((*here, *change_of, is_exact))
    columns = ["source", "rule", "threshold", "docs", "bytes", "tokens"]
    return pd.DataFrame(rows, columns=[*columns, "docs_back", "docs_gone", "bytes_change", "tokens_change", "is_exact"])


def moved_documents(cleaned: list[Cleaned], asked: Change) -> pd.DataFrame:
    """The documents that a change brings back or drops: source, id, change (`back` or `gone`), measure, bytes."""
    frames = list[pd.DataFrame]()
    with verdicts(cleaned) as db:
        for told, rule, _ in concerned(cleaned, asked):
            strikes = "false" if asked.threshold is None else _strikes(told, rule, asked.threshold)
            query = f"""
                SELECT source, id, CASE WHEN kept THEN 'gone' ELSE 'back' END AS change,
                       map_extract(measures, $rule)[1] AS measure, bytes_otherwise AS bytes
                FROM (SELECT *, list_filter(rules_hit, lambda r: r <> $rule) = [] AS is_free,
                             coalesce({strikes}, list_contains(rules_hit, $rule)) AS is_hit FROM verdicts)
                WHERE source = $source AND is_free AND kept = is_hit ORDER BY id"""
            given = {"rule": rule.name, "source": told.source}
            frames.append(db.execute(query, given | ({"t": asked.threshold} if "$t" in query else {})).df())
    return pd.concat(frames, ignore_index=True)


def _strikes(told: Cleaned, rule: Rule, threshold: float) -> str:
    """SQL that tells whether the rule drops a document under another threshold; null where it measures nothing."""
    check_threshold(told, rule, threshold)
    return f"map_extract(measures, $rule)[1] {'<' if rule.sense == 'min' else '>'} $t"


def check_threshold(told: Cleaned, rule: Rule, threshold: float) -> None:
    """Raises ConfigError if the stored verdicts cannot tell what this threshold would do."""
    if rule.sense is None:
        raise ConfigError(f"rule '{rule.name}' has no threshold to move; ask for {rule.name}=off.")
    counts = [s for s in steps_of(told.profile) if isinstance(s, C4Lines | LineDedup)]
    is_count = rule.parameter in ("min_sentences", "min_dedup_sentences")
    stored = max([STORED_SENTENCES, *(int(threshold_of(s, rule) or 0) for s in counts if rule in rules_of((s,)))])
    if is_count and threshold > stored:
        raise ConfigError(
            f"{rule.name}={threshold:g}: sentences were counted up to {stored} only. Clean again with the profile "
            f"{told.profile}?{rule.parameter}={threshold:g} to know."
        )


def concerned(cleaned: list[Cleaned], asked: Change) -> Iterator[tuple[Cleaned, Rule, float | None]]:
    """The sources whose profile has the rule, with its threshold."""
    is_found = False
    for told in cleaned:
        found: set[str] = set()
        for step in steps_of(told.profile):
            for rule in rules_of((step,)):
                if asked.rule in (rule.name, rule.parameter) and rule.level == "document" and rule.name != "empty":
                    found.add(rule.name)
                    is_found = True
                    if len(found) > 1:
                        raise ConfigError(
                            f"'{asked.rule}' moves several rules, {' and '.join(sorted(found))}: name one."
                        )
                    yield told, rule, threshold_of(step, rule)
    if not is_found:
        known = sorted({r.name for c in cleaned for r in c.rules} - {"empty"})
        is_line = asked.rule in RULES and RULES[asked.rule].level == "line"
        why = " is a line rule: it changes texts, so only cleaning again tells" if is_line else " is in no profile here"
        raise ConfigError(f"what if {asked.rule}: that{why}.{nearest(asked.rule, known)}")


def compares_later(told: Cleaned, rule: Rule) -> bool:
    """True if a step after the rule's own compares documents."""
    steps = steps_of(told.profile)
    own = [i for i, step in enumerate(steps) if rule in rules_of((step,))]
    return any(isinstance(step, ACROSS) for step in steps[own[0] + 1 :])


@contextmanager
def verdicts(cleaned: list[Cleaned]) -> Generator[duckdb.DuckDBPyConnection]:
    """A connection with the view `verdicts`: those of all the sources, with the column `source`."""
    with duckdb.connect() as db:
        parts = list[str]()
        for told in cleaned:
            name, path = (text.replace("'", "''") for text in (told.source, str(told.path / "verdicts.parquet")))
            parts.append(f"SELECT '{name}' AS source, * FROM read_parquet('{path}')")
        db.execute(f"CREATE VIEW verdicts AS {' UNION ALL BY NAME '.join(parts)}")
        yield db
