from numbers import Real

import numpy as np
from sklearn.utils import check_scalar

from xtalsk.composition._fractions import _ElementTransformer
from xtalsk.utils._formula import FEATURE_NAMES


class ElementPresence(_ElementTransformer):
    """One for each element that is there, zero for the others, from hydrogen to californium.

    Amounts from a microscope carry errors of several per cent; which elements are there is known better.
    Elements that could not be measured, single NaN in a table of atomic fractions, stay NaN.

    Parameters
    ----------
    threshold : float, default=0.01
        Smallest atomic fraction that counts as present, in (0, 1].
    on_error : {"raise", "warn"}, default="raise"
        Whether a composition that cannot be used is an error, or a warning after which it counts as not
        measured.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Their names, where they have names.

    See Also
    --------
    ElementFractions : The amounts, and which compositions are understood.

    Examples
    --------
    >>> from xtalsk.composition import ElementPresence
    >>> presence = ElementPresence().set_output(transform="pandas")
    >>> presence.fit_transform(["SiO2", "Fe0.998Mn0.002O"])[["o", "si", "mn", "fe"]]
         o   si   mn   fe
    0  1.0  1.0  0.0  0.0
    1  1.0  0.0  0.0  1.0
    """

    _keeps_unmeasured = True

    def __init__(self, threshold=0.01, *, on_error="raise"):
        self.threshold = threshold
        self.on_error = on_error

    def _check_params(self):
        check_scalar(self.threshold, "threshold", Real, min_val=0, max_val=1, include_boundaries="right")

    def _from_fractions(self, fractions):
        return np.where(np.isnan(fractions), np.nan, fractions >= self.threshold)

    def _feature_names(self):
        return list(FEATURE_NAMES)
