"""Several changes of a rule set at once: what it would keep, as a profile's name; and where its measures lie.

Reads verdicts by SQL, as `atlas.py` does for one change; writes nothing.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from mixlab.data import atlas
from mixlab.data.atlas import Change
from mixlab.data.cleaned import Cleaned
from mixlab.data.lines import STORED_SENTENCES
from mixlab.data.profiles import CONTROL, check_profile, steps_of
from mixlab.data.rulebook import RULES, Rule, rules_of
from mixlab.errors import ConfigError

BINS = 40
TAIL = 0.005
"""Share of documents on either side that a histogram puts into its outermost bars."""


def answer(cleaned: list[Cleaned], changes: Sequence[Change]) -> pd.DataFrame:
    """What all the changes together would do, a row per source, also those that have none of the rules.

    Columns: source, docs, bytes, tokens (now), docs_then, bytes_then, tokens_then, docs_back, docs_gone, is_exact (see
    `atlas.what_if`). Before deduplication and hold-out, which would see the documents that come back.
    """
    rows = list[tuple[Any, ...]]()
    touched = {told.source: _touched([told], cleaned, changes) for told in cleaned}
    with atlas.verdicts(cleaned) as db:
        for told in cleaned:
            mine = touched[told.source]
            given: dict[str, Any] = {"source": told.source, "names": [rule.name for rule, _ in mine]}
            hits = list[str]()
            for i, (rule, threshold) in enumerate(mine):
                if threshold is not None:
                    atlas.check_threshold(told, rule, threshold)
                    given |= {f"r{i}": rule.name, f"t{i}": threshold}
                    side = "<" if rule.sense == "min" else ">"
                    stored = f"list_contains(rules_hit, $r{i})"
                    hits.append(f"coalesce(map_extract(measures, $r{i})[1] {side} $t{i}, {stored})")
            then = " AND ".join(
                ["len(list_filter(rules_hit, lambda r: NOT list_contains($names::VARCHAR[], r))) = 0"]
                + [f"NOT {hit}" for hit in hits]
            )
            query = f"""SELECT count(*) FILTER (kept), coalesce(sum(bytes_out), 0)::BIGINT, count(*) FILTER (is_then),
                coalesce(sum(bytes_otherwise) FILTER (is_then), 0)::BIGINT, count(*) FILTER (is_then AND NOT kept),
                count(*) FILTER (kept AND NOT is_then)
                FROM (SELECT *, {then} AS is_then FROM verdicts WHERE source = $source)"""
            docs, size, docs_then, size_then, back, gone = db.execute(query, given).fetchall()[0]
            is_exact = not any(atlas.compares_later(told, rule) for rule, _ in mine)
            now, later = (docs, size, told.tokens(size)), (docs_then, size_then, told.tokens(size_then))
            rows.append((told.source, *now, *later, back, gone, is_exact))
    columns = ["source", "docs", "bytes", "tokens", "docs_then", "bytes_then", "tokens_then", "docs_back", "docs_gone"]
    return pd.DataFrame(rows, columns=[*columns, "is_exact"])


def _touched(mine: list[Cleaned], all_: list[Cleaned], changes: Sequence[Change]) -> list[tuple[Rule, float | None]]:
    """The rules of one source that the changes touch, each with its new threshold; None: off."""
    found: dict[str, tuple[Rule, float | None]] = {}
    for change in changes:
        list(atlas.concerned(all_, change))  # a rule that no source has is told, whatever source is asked first
        try:
            for _, rule, _ in atlas.concerned(mine, change):
                found[rule.name] = (rule, change.threshold)
        except ConfigError:
            continue  # another source has it
    return list(found.values())


def histogram(told: Cleaned, rule: str, bins: int = BINS) -> pd.DataFrame:
    """Where the measures of a rule lie: low, high (edges of a bar), docs, dropped (those that the rule hits).

    Whole numbers get a bar each where that needs no more than `bins`; else the bars are even between the outermost
    0.5 % on either side. Sentences are counted up to a limit only: the last bar holds all that have more. Empty where
    the verdicts hold no such measure.
    """
    measure = "map_extract(measures, $rule)[1]"
    if RULES[rule].parameter in ("min_sentences", "min_dedup_sentences"):
        measure = f"least({measure}, {STORED_SENTENCES})"
    measured = f"(SELECT {measure} AS m, list_contains(rules_hit, $rule) AS hit FROM verdicts)"
    with atlas.verdicts([told]) as db:
        query = f"""SELECT count(m), count(DISTINCT m), coalesce(bool_and(m = floor(m)), false), min(m), max(m),
                    quantile_cont(m, {TAIL}), quantile_cont(m, {1 - TAIL}) FROM {measured}"""
        n, values, is_whole, least, most, low, high = db.execute(query, {"rule": rule}).fetchall()[0]
        if not n:
            return pd.DataFrame(columns=["low", "high", "docs", "dropped"])
        if is_whole and values <= bins and most - least < 4 * bins:
            low, wide, top = least, 1.0, int(most - least)
        else:
            wide = (high - low) / bins or 1.0
            top = bins - 1
        query = f"""SELECT least(greatest(floor((m - $low) / $wide), 0), $top)::INT AS bar, count(*) AS docs,
                    count(*) FILTER (hit) AS dropped FROM {measured} WHERE m IS NOT NULL GROUP BY bar ORDER BY bar"""
        found: Any = db.execute(query, {"rule": rule, "low": low, "wide": wide, "top": top}).df()
    edge = low + found["bar"] * wide
    return pd.DataFrame({"low": edge, "high": edge + wide, "docs": found["docs"], "dropped": found["dropped"]})


def profile_with(profile: str, changes: Sequence[Change]) -> str:
    """The name of the profile with these changes, those of other profiles left out; ConfigError if there is none.

    >>> profile_with("c4/nopunct+badwords/en", [Change("badword", None), Change("too_few_sentences", 2.0)])
    'c4/nopunct?min_sentences=2+badwords/en?without=badword'
    """
    if CONTROL.fullmatch(profile):
        raise ConfigError(f"'{profile}' drops at random: it has no rule that could be switched.")
    links = list[str]()
    for link in profile.split("+"):
        name, _, query = link.partition("?")
        asked: dict[str, str] = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        known = {r.name: r for r in rules_of(steps_of(name)) if r.level == "document" and r.name != "empty"}
        for change in changes:
            for rule in known.values():
                if change.rule not in (rule.name, rule.parameter):
                    continue
                if change.threshold is None:
                    off = [r for r in asked.get("without", "").split(",") if r]
                    asked["without"] = ",".join(dict.fromkeys([*off, rule.name]))
                elif rule.parameter:
                    asked[rule.parameter] = f"{change.threshold:.12g}"
        links.append(name + ("?" + "&".join(f"{k}={v}" for k, v in asked.items()) if asked else ""))
    changed = "+".join(links)
    check_profile(changed)
    return changed
