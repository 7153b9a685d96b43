"""What is behind the advice, as frames for tables and charts: effects of a point of each source, left-out predictions.

Reads fits, writes nothing. What `mixlab advise sensitivity` prints and the app's Explore page draws.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mixlab.advise.objective import Objective
from mixlab.advise.sensitivity import attribution, effects

LEVEL = 0.95


def effects_at(objective: Objective, mix: Mapping[str, float]) -> pd.DataFrame:
    """One point more of each source, at this mix, long: source, metric, change, lo, hi (95 %), lower is better.

    `said`: the change in words, "not distinguishable" where its interval includes zero or is not known.
    """
    told = pd.DataFrame([{f: getattr(e, f) for f in e.__slots__} for e in effects(objective, mix)])
    clear = [
        lo is not None and hi is not None and (lo > 0 or hi < 0) for lo, hi in zip(told["lo"], told["hi"], strict=True)
    ]
    told["said"] = [
        ("worse" if change > 0 else "better") if is_clear else "not distinguishable"
        for change, is_clear in zip(told["change"], clear, strict=True)
    ]
    return told


def attributed(objective: Objective, start: Mapping[str, float], end: Mapping[str, float]) -> pd.DataFrame:
    """Which source the predicted change from one mix to another is due to, long: metric, source, part."""
    return pd.DataFrame(
        [
            {"metric": f.metric, "source": s, "part": v}
            for f in objective.fits
            for s, v in attribution(f, start, end).items()
        ]
    )


def left_out(objective: Objective, names: Sequence[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The mean of the metrics of each run as fits that had not seen it or its mix foretold, and what came out.

    Frame: name, predicted, lo, hi (95 %, as wide as the left-out errors call for), realised; figures: scheme, n,
    spearman, r2 (1 - squared error / variance), mae. `names`: of the runs, in the order of the fit's rows.
    """
    cv, told = objective.cv(), objective.unseen
    half = told.sd * objective.calibration.widths[LEVEL]
    frame = pd.DataFrame(
        {"name": list(names), "predicted": told.mean, "lo": told.mean - half, "hi": told.mean + half}
    ).assign(realised=objective.observed)
    figures = {"scheme": cv.scheme, "n": cv.n, "spearman": cv.spearman, "r2": cv.q2, "mae": cv.mae}
    return frame, figures
