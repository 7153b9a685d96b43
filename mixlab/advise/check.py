"""How well each method foretells the runs at hand that it has not seen: every figure of the cross-validation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mixlab.advise.fits import DEFAULT, METHODS, fit
from mixlab.advise.objective import objective_of
from mixlab.advise.replay import paired_bootstrap
from mixlab.advise.validation import CV, groups_of
from mixlab.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """One method on the runs at hand."""

    method: str
    cv: CV
    """Of the mean of the metrics, each fitted alone."""
    behind: tuple[float, float] | None
    """95 % interval of the default's Spearman minus this one's (paired bootstrap over mixes); None: the default."""


def check(table: pd.DataFrame, metrics: Sequence[str], methods: Sequence[str]) -> list[Checked]:
    """The default method, then the others, on the same folds. ConfigError: an unknown method, and as `fit`."""
    for m in methods:
        if m not in METHODS:
            raise ConfigError(f"there is no fitting method '{m}'.{nearest(m, METHODS)}")
    fitted = {k: objective_of([fit(table, m, k) for m in metrics]) for k in dict.fromkeys([DEFAULT, *methods])}
    told = {method: objective.cv() for method, objective in fitted.items()}
    groups = groups_of(fitted[DEFAULT].fits[0].weights)
    truth, best = (_by_mix(x, groups) for x in (told[DEFAULT].observed, told[DEFAULT].predicted))
    return [
        Checked(
            method=method,
            cv=cv,
            behind=None if method == DEFAULT else paired_bootstrap(truth, [best], [_by_mix(cv.predicted, groups)]),
        )
        for method, cv in told.items()
    ]


def _by_mix(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return np.bincount(groups, values) / np.bincount(groups)
