"""The part of the filters page that asks "what if": switches, thresholds, what comes of them, and saving a rule set.

Draws; the answers come from mixlab.data by way of app/corpora.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from mixlab.app import corpora, parts, recipes
from mixlab.app.weights import short
from mixlab.data.atlas import change
from mixlab.data.cleaned import Cleaned
from mixlab.data.switches import profile_with
from mixlab.errors import ConfigError
from mixlab.results import charts_data
from mixlab.types import Cleaning

KILL_COLUMNS = {
    "docs_hit": st.column_config.NumberColumn("Hits", format="localized"),
    "docs_first": st.column_config.NumberColumn("Is the reason", format="localized"),
    "docs_only": st.column_config.NumberColumn("Only this rule", format="localized", help="Would come back without it"),
    "bytes_only": st.column_config.NumberColumn("Bytes only", format="bytes"),
    "tokens_only": st.column_config.NumberColumn("Tokens only", format="localized"),
    "shapley_docs": st.column_config.NumberColumn("Shapley share", format="%.1f"),
    "shapley_bytes": None,
    "shapley_tokens": None,
}


def counted(*names: str) -> dict[str, Any]:
    """Columns of whole numbers, their digits grouped."""
    return {name: st.column_config.NumberColumn(name, format="localized") for name in names}


def switches(rules: pd.DataFrame) -> list[str]:
    """A switch for each rule, and a number for its threshold; the changes that are asked for, `rule=off`, `rule=2`."""
    asked = list[str]()
    hit, idle = (rules.loc[rules["docs"] > 0], rules.loc[rules["docs"] == 0])
    asked += _switches(hit)
    if len(idle):
        with st.expander(f"{len(idle)} rules that hit nothing", key="idle_rules"):
            asked += _switches(idle)
    return asked


def _switches(rules: pd.DataFrame) -> list[str]:
    asked = list[str]()
    grid = st.grid(3, min_column_width=250)
    for row in rules.to_dict("records"):
        name, limits = row["rule"], row["limits"]
        with grid.container(border=True, height="stretch", key=f"switch-{name}"):
            help_ = parts.plain(f"In {', '.join(row['sources'])}.")
            label = parts.plain(f"{name}: hits {row['docs']:,}")
            if not st.toggle(label, True, key=f"on-{name}", bind="query-params", help=help_, width="stretch"):
                asked.append(f"{name}=off")
            elif limits:
                least = "At least" if row["sense"] == "min" else "At most"
                value = st.number_input(least, 0.0, 1e12, None, key=f"limit-{name}", bind="query-params",
                                        placeholder=now_of(limits), **step_of(limits.values()))  # fmt: skip
                if value is not None and set(limits.values()) != {value}:
                    asked.append(f"{name}={value:.12g}")
    return asked


def now_of(limits: Mapping[str, float]) -> str:
    """The threshold, or those of each source where they differ.

    >>> now_of({"wiki": 1.0, "books": 3.0}), now_of({"wiki": 3.0, "books": 3.0})
    ('1 wiki, 3 books', '3')
    """
    if len(set(limits.values())) == 1:
        return f"{next(iter(limits.values())):g}"
    return ", ".join(f"{limit:g} {source}" for source, limit in limits.items())


def step_of(limits: Iterable[float]) -> dict[str, Any]:
    """Whole steps for thresholds that count, hundredths for shares."""
    is_count = all(float(limit).is_integer() and limit >= 1 for limit in limits)
    return {"step": 1.0, "format": "%.12g"} if is_count else {"step": 0.01, "format": "%.3f"}


def outcome(told: pd.DataFrame) -> None:
    """What the changes would keep, over all sources and by source."""
    is_tokenised = not any(told["tokens"].isna())
    names = ("tokens", "docs", "bytes") if is_tokenised else ("docs", "bytes")
    with st.container(horizontal=True, key="outcome"):
        for name in names:
            now, then = sum(told[name]), sum(told[f"{name}_then"])
            change_ = f"{'+' if then >= now else '−'}{short(abs(then - now))}"
            label = charts_data.UNITS[name].capitalize()
            st.metric(label, short(then), change_ if then != now else "no change", border=True, width=160,
                      delta_color="normal" if then != now else "off",
                      help=f"Now {now:,.0f}; then {then:,.0f}.", height="stretch")  # fmt: skip
        st.metric("Come back", f"{sum(told['docs_back']):,}", border=True, width=150, height="stretch")
        st.metric("Go", f"{sum(told['docs_gone']):,}", border=True, width=110, height="stretch")
    parts.table(told, key="answer", placeholder="–", alt="What the changes do, a row a source",
                column_config={c: st.column_config.NumberColumn(c.replace("_", " "), format="localized")
                               for c in told.columns if c not in ("source", "is_exact")}
                | {"is_exact": st.column_config.CheckboxColumn("exact")})  # fmt: skip
    if not all(told["is_exact"]):
        st.warning("Not exact: a later step of a profile compares documents, and those that come back would take part.")
    st.caption("Counted before deduplication and hold-out, which would look at the documents that come back.")


def save(cleaned: Sequence[Cleaned], asked: Sequence[str]) -> None:
    """The changed rule set as a cleaning of this project: its exact YAML, and the command that applies it."""
    st.subheader("Save this rule set")
    profiles = {told.source: profile_with(told.profile, [change(a) for a in asked]) for told in cleaned}
    tree = recipes.cleaning_tree(profiles, Cleaning().profile)
    content = recipes.cleaning_yaml(tree)
    st.code(content, language=None, wrap_lines=True)
    name = st.text_input("Name", key="rule_set", placeholder="looser", width=260) or ""
    if not name:
        return
    recipes.check_cleaning(name, tree)
    path = recipes.path_of("cleaning", name)
    replace = path.exists() and st.checkbox("Replace the file that has this name", key=f"replace-{name}")
    if st.button("Save", key="save_rules", type="primary", icon=":material/save:"):
        recipes.write(path, content, overwrite=replace)
        st.success("Saved.")
    parts.command(recipes.as_command(path, content), "The same in a shell:")
    parts.command(["data", "prepare", f"cleaning={name}"], "This cleans with it; a run takes it as cleaning=… too:")


def thresholds(measured: pd.DataFrame, keys: Mapping[str, str]) -> None:
    """Where the measures of one rule lie in one source, the threshold as a line that can be moved."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        rule = str(st.selectbox("Rule", list(measured["rule"]), key="measured", bind="query-params", width=280))
        row = measured.loc[measured["rule"] == rule].iloc[0]
        source = st.selectbox("Source", row["sources"], key="measured_in", bind="query-params", width=180)
        now = row["limits"][source]
        moved = st.number_input("Move the threshold to", 0.0, 1e12, float(now), width=200,
                                key=f"moved-{source}-{rule}", **step_of([now]))  # fmt: skip
    bars = corpora.histogram(keys[source], rule)
    if bars.empty:
        st.write("The verdicts hold no measure of this rule.")
        return
    parts.chart(charts_data.measures(bars, rule, now, moved, row["sense"]), key="measures", height=340)
    st.caption("All documents of the source; a document that has no text left is not measured.")
    if moved != now:
        try:
            outcome(corpora.answer([keys[source]], [f"{rule}={moved:.12g}"]))
        except ConfigError as e:
            parts.problem(e, "The stored verdicts cannot tell")
    parts.command(["data", "atlas", source, "--what-if", f"{rule}={moved:.12g}"], "The same in a shell:")
