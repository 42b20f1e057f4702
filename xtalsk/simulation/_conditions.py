"""Conditions of a measurement: values, or distributions that are drawn anew for every pattern."""

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

PRESETS = ("ideal", "typical", "harsh")
_TINY, _HUGE = 1e-6, 1e5  # limits that only keep zero and infinity out


@dataclass(frozen=True)
class Sometimes:
    """A distribution that applies to a share of the patterns only.

    Parameters
    ----------
    probability : float
        Share of the patterns, 0 to 1.
    value : float, (low, high) or scipy.stats distribution
        What is drawn for them.
    otherwise : float
        What the other patterns get.

    Examples
    --------
    >>> from xtalsk.simulation import Sometimes
    >>> Sometimes(0.2, (0.05, 0.3))
    Sometimes(0.2, (0.05, 0.3), otherwise=0.0)
    """

    probability: float
    value: object
    otherwise: float = 0.0

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be from 0 to 1, got {self.probability!r}")

    def __repr__(self):
        return f"Sometimes({self.probability:g}, {describe(self.value)}, otherwise={self.otherwise!r})"


def draw(name, value, n, rng):
    """Draw ``n`` numbers from a value or distribution.

    Parameters
    ----------
    name : str
        Of the field, for messages.
    value : float, (low, high), Sometimes or scipy.stats distribution
        A number stands for itself, a pair for a uniform distribution.
    n : int
    rng : RandomState

    Returns
    -------
    ndarray of float, shape (n,)

    Raises
    ------
    ValueError
        If ``value`` is none of these or not finite.
    """
    if isinstance(value, Sometimes):
        chosen = rng.uniform(size=n) < value.probability
        return np.where(chosen, draw(name, value.value, n, rng), value.otherwise)
    if hasattr(value, "rvs"):
        drawn = np.asarray(value.rvs(size=n, random_state=rng), dtype=float)
        if not np.isfinite(drawn).all():
            raise ValueError(f"{name} drew numbers that are not finite from {describe(value)}")
        return drawn
    try:
        pair = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        pair = np.full(3, np.nan)
    if (
        pair.shape not in ((), (2,))
        or np.isnan(pair).any()
        or (pair.ndim and not pair[0] <= pair[1] < np.inf)
    ):
        raise ValueError(
            f"{name} must be a number, an ordered pair (low, high), Sometimes or a scipy.stats "
            f"distribution, got {value!r}"
        )
    low, high = np.broadcast_to(pair, 2)
    return rng.uniform(low, high, n) if high > low else np.full(n, low)


def describe(value):
    """Write a value or distribution as one would type it."""
    if not hasattr(value, "rvs") or not hasattr(value, "dist"):
        return repr(value)
    arguments = [f"{v:g}" for v in value.args] + [f"{k}={v:g}" for k, v in value.kwds.items()]
    return f"{value.dist.name}({', '.join(arguments)})"


class Conditions:
    """Base of the conditions of an instrument; subclasses are frozen dataclasses.

    Each field is a number, a pair (low, high) that is drawn uniformly, a scipy.stats distribution or
    `Sometimes`, except those that `_plain` names, which are the same for all patterns. `_limits` holds the
    lowest and highest number that a field may take.
    """

    _plain = ()
    _limits = {}

    def __repr__(self):
        lines = [f"    {field.name}={describe(getattr(self, field.name))}," for field in fields(self)]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])

    def __post_init__(self):
        self.draw(8, 0)

    def draw(self, n, random_state=None):
        """Draw the conditions of ``n`` patterns.

        Parameters
        ----------
        n : int
        random_state : int, RandomState or None

        Returns
        -------
        DataFrame of n rows, one column for each field that is drawn

        Raises
        ------
        ValueError
            If a number falls outside what its field may be; the message names the field.
        """
        rng = check_random_state(random_state)
        columns = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Conditions):
                columns |= value.draw(n, rng).to_dict("series")
            elif field.name not in self._plain:
                columns[field.name] = draw(field.name, value, n, rng)
        for name, (low, high) in self._limits.items():
            if not ((columns[name] >= low) & (columns[name] <= high)).all():
                least = "above 0" if 0 < low <= _TINY else f"at least {low:g}"
                bound = f"from {low:g} to {high:g}" if high < _HUGE else least
                if columns[name].max() > high >= _HUGE:
                    bound = f"at most {high:g}"
                raise ValueError(f"{name} must be {bound}, got {describe(getattr(self, name))}")
        return pd.DataFrame(columns)


def check_conditions(conditions, kind):
    """Return conditions of the class ``kind``, which may be given as the name of a preset.

    Raises
    ------
    ValueError
        If ``conditions`` is neither.
    """
    if isinstance(conditions, str) and conditions in PRESETS:
        return getattr(kind, conditions)()
    if not isinstance(conditions, kind):
        raise ValueError(f"conditions must be a {kind.__name__} or one of {PRESETS}, got {conditions!r}")
    return conditions
