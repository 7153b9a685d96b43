"""Which scores may be compared: those of one exam, which is a suite's task, its prompts and the tokenizer.

A run may have sat several exams of one task (of some items while it trained, of all at the end, again after the task
file changed). Takes rows, gives rows; reads and writes nothing.
"""

from collections.abc import Sequence
from typing import Any

from mixlab.results.statistics import same_exam

HASHES = ("suite_hash", "prompt_hash", "tokenizer_hash")


def common_exam(rows: Any, run_ids: Sequence[str]) -> Any:
    """Of a task's item rows those of the newest exam that all these runs sat; ConfigError where they share none.

    `rows`: frame with run_id, task, HASHES and time_utc. Another exam, of one run or of all, changes nothing then.
    """
    sat = rows.groupby(list(HASHES)).agg(runs=("run_id", "nunique"), newest=("time_utc", "max"))
    common = sat[sat["runs"] == len(set(run_ids))]
    if common.empty:
        same_exam(rows.drop_duplicates(["run_id", *HASHES]).to_dict("records"))
        return rows
    chosen = common["newest"].idxmax()
    return rows[(rows[list(HASHES)] == list(chosen)).all(axis=1)]


def evals_key(row: Any) -> str:
    """The key under which scores.jsonl has this exam, from one of its item rows."""
    return "-".join(row[name] for name in HASHES)
