"""Conditions of a measurement: numbers, or distributions from which each pattern gets its own number."""

from dataclasses import dataclass, fields
from numbers import Real
from textwrap import indent

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

PRESETS = ("ideal", "typical", "harsh", "measured")
_TINY, _HUGE = 1e-6, 1e5  # limits below and above these only exclude zero and infinity


@dataclass(frozen=True)
class Sometimes:
    """A distribution for a share of the patterns, and a number for the others.

    Parameters
    ----------
    probability : float
        Share of the patterns, 0 to 1.
    value : float, (low, high) or scipy.stats distribution
        Number or distribution for these patterns; a pair stands for a uniform distribution.
    otherwise : float
        Number for the other patterns.

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
        if not (isinstance(self.probability, Real) and 0 <= self.probability <= 1):
            raise ValueError(f"probability must be from 0 to 1, got {self.probability!r}")
        if not isinstance(self.otherwise, Real):
            raise ValueError(f"otherwise must be a number, got {self.otherwise!r}")

    def __repr__(self):
        return f"Sometimes({self.probability:g}, {describe(self.value)}, otherwise={self.otherwise!r})"


def draw(name, value, n, rng):
    """Draw ``n`` numbers from a value or distribution.

    Parameters
    ----------
    name : str
        Name of the field, for messages.
    value : float, (low, high), Sometimes or scipy.stats distribution
        A number is the same in all draws; a pair stands for a uniform distribution.
    n : int
    rng : RandomState

    Returns
    -------
    ndarray of float, shape (n,)

    Raises
    ------
    ValueError
        If ``value`` is none of these, or numbers drawn from it are not finite.
    """
    if isinstance(value, Sometimes):
        applies = rng.uniform(size=n) < value.probability
        return np.where(applies, draw(name, value.value, n, rng), value.otherwise)
    if hasattr(value, "rvs"):
        variates = np.asarray(value.rvs(size=n, random_state=rng), dtype=float)
        if not np.isfinite(variates).all():
            raise ValueError(f"numbers of {name} drawn from {describe(value)} are not finite")
        return variates
    low, high = _bounds(name, value)
    return rng.uniform(low, high, n) if high > low else np.full(n, low)


def _bounds(name, value):
    """Lowest and highest value of a number or pair, ndarray of shape (2,)."""
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
    return np.broadcast_to(pair, 2)


def describe(value):
    """Python expression of a number or distribution, str."""
    if not hasattr(value, "rvs") or not hasattr(value, "dist"):
        return repr(value)
    arguments = [f"{v:g}" for v in value.args] + [f"{k}={v:g}" for k, v in value.kwds.items()]
    return f"{value.dist.name}({', '.join(arguments)})"


class Conditions:
    """Base class of the conditions of an instrument; subclasses are frozen dataclasses.

    A field is a number, a pair (low, high) for a uniform distribution, a scipy.stats distribution or
    `Sometimes`. Fields named in `_plain` are fixed: they are the same for all patterns. `_limits` holds the
    lowest and highest number that a field may take, `_presets` the names of the class methods that return
    ready conditions.
    """

    _presets = PRESETS
    _plain = ()
    _limits = {}

    def __repr__(self):
        values = [f"{field.name}={describe(getattr(self, field.name))}," for field in fields(self)]
        return f"{type(self).__name__}(\n{indent(chr(10).join(values), '    ')}\n)"

    def __post_init__(self):
        self.draw(8, 0)

    @classmethod
    def measured(cls):
        """Make conditions of data that laboratories share: the harsh ones, unless the class has its own."""
        return cls.harsh()

    def draw(self, n, random_state=None):
        """Draw the conditions of ``n`` patterns.

        Parameters
        ----------
        n : int
            Number of patterns.
        random_state : int, RandomState or None

        Returns
        -------
        DataFrame of n rows
            One column for each field that is not fixed.

        Raises
        ------
        ValueError
            If a number is outside the limits of its field; the message names the field.
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
                bounds = _describe_limits(low, high, columns[name].max())
                raise ValueError(f"{name} must be {bounds}, got {describe(getattr(self, name))}")
        return pd.DataFrame(columns)


def _describe_limits(low, high, largest):
    """Limits of a field in words, for a message; ``largest`` is the largest number drawn."""
    if high < _HUGE:
        return f"from {low:g} to {high:g}"
    if largest > high:
        return f"at most {high:g}"
    return "above 0" if 0 < low <= _TINY else f"at least {low:g}"


def check_conditions(conditions, kind, name="conditions"):
    """Check conditions, or make them from the name of a preset.

    Parameters
    ----------
    conditions : Conditions or str
        A string is the name of a preset of the class.
    kind : type
        The class that the conditions must have.
    name : str
        Name of the argument, for the message.

    Returns
    -------
    Conditions
        Of the class ``kind``.

    Raises
    ------
    ValueError
        If ``conditions`` is neither of the class ``kind`` nor a preset; the message names the class.
    """
    if isinstance(conditions, str) and conditions in kind._presets:
        return getattr(kind, conditions)()
    if not isinstance(conditions, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        received = type(conditions).__name__ if isinstance(conditions, Conditions) else repr(conditions)
        if isinstance(conditions, type):
            received = f"the class {conditions.__name__} itself, which must be called"
        raise ValueError(
            f"{name} must be {article} {kind.__name__} or one of {kind._presets}, got {received}"
        )
    return conditions
