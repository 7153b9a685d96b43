"""What every fitting method returns: how to predict a metric from weights, before the error is calibrated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Contrast = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class Surrogate:
    """A fitted surface over weights whose rows sum to one; lower is better."""

    predict: Predict
    """Weights (n, m) -> mean (n,), sd (n,) of one run's value, as the method itself believes it."""
    contrast: Contrast | None = None
    """Weights (n, m), one reference (m,) -> sd (n,) of the difference to the reference, run noise not included;
    None: the method has no joint posterior."""
    left_out: tuple[np.ndarray, np.ndarray] | None = None
    """Mean and sd of each training row given the others, with what was learned held fixed; None: no closed form."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What was learned, for `explain`."""
