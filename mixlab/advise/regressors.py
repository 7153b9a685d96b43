"""Ridge and LightGBM as fits of one metric in the weights: the field's baselines, for comparison.

Neither knows an error of its own: the sd is that of the training residuals, which calibration corrects.
"""

from typing import Any

import lightgbm
import numpy as np
from sklearn.linear_model import RidgeCV  # pyright: ignore[reportMissingTypeStubs]  # it has none

from mixlab.advise.surrogate import Surrogate


def train_ridge(weights: np.ndarray, y: np.ndarray) -> Surrogate:
    """Ridge on standardised weights, 25 penalties, chosen by leave-one-out."""
    centre, spread = weights.mean(0), np.maximum(weights.std(0), 1e-12)
    model = ridge_cv(np.logspace(-4, 4, 25)).fit((weights - centre) / spread, y)
    coef = np.asarray(model.coef_)
    sd = max(float(np.std(y - model.predict((weights - centre) / spread))), 1e-9 * float(y.std()))

    def predict(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return ((w - centre) / spread) @ coef + model.intercept_, np.full(len(w), sd)

    return Surrogate(predict=predict, facts={"per_unit_weight": coef / spread, "alpha": float(model.alpha_ or 0.0)})


def ridge_cv(alphas: np.ndarray, *, fit_intercept: bool = True) -> Any:
    """scikit-learn's ridge, not fitted yet: it chooses among these penalties by leave-one-out."""
    return RidgeCV(alphas=alphas, fit_intercept=fit_intercept)


def train_lightgbm(weights: np.ndarray, y: np.ndarray) -> Surrogate:
    """LightGBM with RegMix's settings (2407.01492), early-stopped on a tenth of the training rows."""
    n = len(y)
    params = {
        "objective": "regression",
        "learning_rate": 0.01,
        "min_child_samples": min(20, max(3, n // 12)),
        "seed": 42,
        "num_threads": 1,
        "deterministic": True,
        "verbose": -1,
    }
    order = np.random.RandomState(0).permutation(n)
    held = max(4, n // 10) if n >= 12 else 0
    kept = lightgbm.Dataset(weights[order[held:]], y[order[held:]])
    stop = [kept.create_valid(weights[order[:held]], y[order[:held]])] if held else None
    callbacks = [lightgbm.early_stopping(20, verbose=False)] if held else None
    model = lightgbm.train(params, kept, num_boost_round=1000, valid_sets=stop, callbacks=callbacks)  # pyright: ignore[reportUnknownMemberType]  # a callback is a bare Callable to it

    def mean(w: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict(w), dtype=float)

    sd = max(float(np.std(y - mean(weights))), 1e-9 * float(y.std()))
    facts = {"trees": model.num_trees(), "splits": np.asarray(model.feature_importance())}
    return Surrogate(predict=lambda w: (mean(w), np.full(len(w), sd)), facts=facts)
