from numbers import Real

import numpy as np
from sklearn.utils import check_scalar

from xtalsk.composition._element_transformer import ElementTransformer
from xtalsk.utils._formula import FEATURE_NAMES, check_listed_elements


class ElementPresence(ElementTransformer):
    """Presence of each element from hydrogen to californium: 1 if it is present, 0 if it is absent.

    Amounts measured in a microscope have errors of several per cent. The presence of an element is more
    certain than its amount. An element that cannot be measured, a NaN in a row of a table of atomic
    fractions, stays NaN.

    Parameters
    ----------
    threshold : float, default=0.01
        Smallest atomic fraction that counts as present, in (0, 1].
    exclude : sequence of str, default=()
        Symbols of elements that are in the measurement but not in the specimen, such as those of grid and
        film. They count as not known: NaN, and the fractions of the others are scaled to a sum of 1.
    on_error : {"raise", "warn"}, default="raise"
        What to do with a composition that cannot be used: raise an error, or warn and treat it as not
        measured.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Names of the input columns, if they have names.

    See Also
    --------
    ElementFractions : The amounts, and the accepted forms of compositions.

    Notes
    -----
    A cell may also list elements without amounts: text such as ``"Ba, Ti, O"`` or ``"Ba-Ti-O"``, or a list of
    symbols. Other transformers of compositions need amounts; for them such a cell is an error.

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

    def __init__(self, threshold=0.01, *, exclude=(), on_error="raise"):
        self.threshold = threshold
        self.exclude = exclude
        self.on_error = on_error

    def _check_params(self):
        check_scalar(self.threshold, "threshold", Real, min_val=0, max_val=1, include_boundaries="right")

    def _check_cell(self, cell):
        listed = check_listed_elements(cell)
        return super()._check_cell(cell) if listed is None else listed

    def _from_fractions(self, fractions):
        return np.where(np.isnan(fractions), np.nan, fractions >= self.threshold)

    def _feature_names(self):
        return list(FEATURE_NAMES)
