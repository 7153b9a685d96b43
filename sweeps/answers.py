"""Draws sweeps/plots/NAME.svg for each sweep a lab has trained, and prints what came out: `python sweeps/answers.py`.

The lab is $MIXLAB_HOME, else ./lab. An arm of each sweep against its first, with 95 % intervals of both noises.
"""

from pathlib import Path

import pandas as pd

from mixlab.report import chosen
from mixlab.results.arms import Against, against_first, arms_of
from mixlab.results.charts_compare import differences
from mixlab.results.listing import list_runs
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
