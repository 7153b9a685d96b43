"""Draws sweeps/plots/NAME.svg for each sweep a lab has trained, and prints what came out: `python sweeps/answers.py`.

The lab is $MIXLAB_HOME, else ./lab. An arm of each sweep against its first, with 95 % intervals of both noises; of
runs that are all alike (`seeds`, an A/A test) how often a comparison names a winner, who can only be a false one.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pandas as pd

from mixlab.report import chosen
from mixlab.results.arms import Against, Row, against_first, arms_of
from mixlab.results.charts_compare import differences
from mixlab.results.listing import list_runs
from mixlab.results.mixes import Evidence, compare_mixes, documents_of
from mixlab.results.pictures import save
from mixlab.workspace import Workspace

SHOWN = 16  # lines drawn at most: the furthest from zero
READ = {
    "repetition": ["books"],
    "code_fraction": ["code", "books", "wiki"],
    "annealing": ["books", "code", "docs", "wiki"],
}
"""Sweep -> the scores that answer its question, where it is not the mean of the shared sources."""
HERE = Path(__file__).parent


def main() -> None:
    """One picture and one table a sweep."""
    ws = Workspace.open()
    rows = list_runs(ws)
    (HERE / "plots").mkdir(exist_ok=True)
    for path in sorted(HERE.glob("*.yaml")):
        if not (ws.sweeps / f"{path.stem}.json").exists():
            continue
        arms, shared = arms_of(chosen(rows, ws, path.stem)[0], ws)
        told, notes = against_first(rows, arms, shared, ws)
        print(f"\n{path.stem}: bits per byte against {arms[0].name}, mean of {', '.join(shared)}")
        print("\n".join(f"  {a.name}: {a.bpb(shared)} ({len(a.rows)} seeds)" for a in arms))
        print("\n".join([f"  {n}" for n in notes]))
        if len(arms) == 1:
            print("\n".join(false_winners(arms[0].rows, ws)))
        for a in told:
            d = a.difference
            print(f"  {a.score:9s} {a.arm}: {d.mean:+.4f} ({d.lo:+.4f} to {d.hi:+.4f}), {a.words}; {d.method}")
        asked = READ.get(path.stem, ["shared"])
        drawn = [a for score in asked for a in told if a.score == score]
        if len(drawn) > SHOWN and asked == ["shared"]:
            drawn = sorted(drawn, key=lambda a: a.difference.mean or 0)[:SHOWN]
        if drawn:
            frame = pd.DataFrame([_line(a, len(asked) > 1) for a in drawn])
            title = f"bits per byte against {arms[0].name}" + (
                "" if len(asked) > 1 else f", {told_of(asked[0], shared)}"
            )
            save(differences(frame).properties(width=420, title=title), HERE / "plots" / f"{path.stem}.svg")


def false_winners(alike: Sequence[Row], ws: Workspace) -> list[str]:
    """How often comparisons of runs that differ in the seed alone name a winner, per score: halves, and single runs.

    Both as users compare: half the runs against the other half as if they were two mixes, and one run against another
    with the noise that all runs show.
    """
    seen = Evidence(documents=documents_of(ws.root / "runs", [r["run_id"] for r in alike]))
    first, *others = alike
    halves = [{first["run_id"], *(r["run_id"] for r in rest)} for rest in combinations(others, len(alike) // 2 - 1)]
    told = []
    for what, pairs in (
        ("halves", [[{**r, "recipe": str(r["run_id"] in half)} for r in alike] for half in halves]),
        ("single runs", [[*pair, *(r for r in alike if r not in pair)] for pair in combinations(alike, 2)]),
    ):
        won: dict[str, int] = {}
        for rows in pairs:
            other = next((r for r in rows if r["recipe"] != rows[0]["recipe"]), rows[1])
            for line in compare_mixes(rows, rows[0]["run_id"], other["run_id"], seen)["scores"]:
                won[line["task"]] = won.get(line["task"], 0) + line["distinguishable"]
        counts = ", ".join(f"{task} {n}" for task, n in won.items())
        told.append(f"  A/A, winners in {len(pairs)} comparisons of {what}: {counts}")
    return told


def told_of(score: str, shared: list[str]) -> str:
    """A score in words."""
    return f"mean of {', '.join(shared)}" if score == "shared" else score


def _line(a: Against, is_named: bool) -> dict[str, object]:
    d, arm = a.difference, a.arm.replace("c4/tfds-3.1.0", "c4")
    return {
        "task": f"{a.score}: {arm}" if is_named else arm,
        "difference": d.mean,
        "lo": d.lo,
        "hi": d.hi,
        "distinguishable": d.distinguishable,
    }


if __name__ == "__main__":
    main()
