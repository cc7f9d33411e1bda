"""Figures over seeds as people read them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import t


def across(values: pd.Series, form: str = ".2f") -> str:
    """Mean over seeds, and the smallest and largest where there are several."""
    mean = format(values.mean(), form)
    if len(values) < 2:
        return mean
    return f"{mean} ({format(values.min(), form)} to {format(values.max(), form)})"


def gap(first: pd.Series, second: pd.Series, form: str = ".2f") -> tuple[float, str]:
    """The lower end of the 95 % interval (Student's t) of the mean of `first` - `second`, and the mean in words.

    NaN where there are fewer than two.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    mean, count = float(differences.mean()), len(differences)
    if count < 2:
        return float("nan"), f"{format(mean, '+' + form)} (one seed: no error)"
    half = float(t.ppf(0.975, count - 1) * differences.std(ddof=1) / np.sqrt(count))
    return mean - half, f"{format(mean, '+' + form)} ± {format(half, form)}"


def reached(values: pd.Series, goal: float | None) -> str:
    """Whether the mean over seeds is at least the goal, if there is one."""
    if goal is None:
        return ""
    return "yes" if values.mean() >= goal else "no"
