from xtalsk.composition._element_transformer import ElementTransformer
from xtalsk.utils._formula import FEATURE_NAMES


class ElementFractions(ElementTransformer):
    """Atomic fraction of each element from hydrogen to californium.

    An element that cannot be measured, a NaN in a row of a table of atomic fractions, stays NaN.

    Parameters
    ----------
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
    ElementPresence : Which elements are present, without their amounts.
    RankedElements : The most abundant elements, in order.

    Notes
    -----
    Formulas are strings such as ``"Fe0.94O"``, ``"Ca(OH)2"`` or ``"CuSO4·5H2O"``. Hydrates may have a full
    stop or a blank instead of the dot (``"CaSO4.2H2O"``, ``"CuSO4 5H2O"``). Other blanks are ignored.
    Subscripts and full-width characters are read as plain ones. Deuterium (D) and tritium (T) count as
    hydrogen. Amounts are numbers of atoms and need not sum to one, as in ``"Fe 50 Ni 50"``; ``at%`` may stand
    beside them. Weight per cent, charges, mass numbers, names of minerals, vacancies and dummy species raise
    an error. So does a list of elements without amounts, such as ``"Ba, Ti, O"``, which only
    `ElementPresence` can use.

    Examples
    --------
    >>> from xtalsk.composition import ElementFractions
    >>> fractions = ElementFractions().set_output(transform="pandas")
    >>> fractions.fit_transform(["SiO2", "Ca(OD)2", None])[["h", "o", "si", "ca"]].round(2)
          h     o    si   ca
    0   0.0  0.67  0.33  0.0
    1   0.4  0.40  0.00  0.2
    2   NaN   NaN   NaN  NaN
    """

    _keeps_unmeasured = True

    def __init__(self, *, exclude=(), on_error="raise"):
        self.exclude = exclude
        self.on_error = on_error

    def _from_fractions(self, fractions):
        return fractions

    def _feature_names(self):
        return list(FEATURE_NAMES)
