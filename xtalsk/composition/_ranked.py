from functools import cache
from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar

from xtalsk.composition._constants import EQUAL_DECIMALS
from xtalsk.composition._element_transformer import ElementTransformer
from xtalsk.utils import check_option
from xtalsk.utils._formula import FEATURE_NAMES, N_ELEMENTS, SYMBOLS, electronegativities

_PROPERTIES = ("z", "period", "group", "mendeleev", "electronegativity")


@cache
def _property_table():
    """Return the properties of the elements, shape (99, n_properties), NaN if an element has no value.

    The row is the atomic number. Row 0 stands for a rank without element and is zero.
    """
    from pymatgen.core import Element  # slow to import

    table = np.zeros((N_ELEMENTS + 1, len(_PROPERTIES)))
    for z, symbol in enumerate(SYMBOLS, start=1):
        element = Element(symbol)
        table[z, :-1] = z, element.row, element.group, element.mendeleev_no
    table[1:, -1] = electronegativities()
    return table


def rank_elements(fractions, n_ranks):
    """Return atomic numbers and fractions of the most abundant elements of each row.

    Parameters
    ----------
    fractions : ndarray of shape (n_rows, 98)
    n_ranks : int

    Returns
    -------
    numbers : ndarray of int, shape (n_rows, n_ranks)
        In the order of decreasing fraction. Fractions that are equal after rounding to 9 decimals are in
        the order of atomic number. 0 if a row has fewer elements than ranks.
    amounts : ndarray of shape (n_rows, n_ranks)
    """
    order = np.argsort(-np.round(fractions, EQUAL_DECIMALS), axis=1, kind="stable")[:, :n_ranks]
    amounts = np.take_along_axis(fractions, order, axis=1)
    return np.where(amounts > 0, order + 1, 0), amounts


class RankedElements(ElementTransformer):
    """The most abundant elements of each specimen, in the order of decreasing atomic fraction.

    Equally abundant elements are in the order of atomic number. Each rank has the fraction of the element and
    a description of the element. All features of a rank without element are zero. No element has atomic
    number, period or group zero, so a tree can separate such ranks, and a network sees the same zero as for
    an absent element in other blocks. An element that cannot be measured, a NaN in a row of a table of atomic
    fractions, is left out.

    Parameters
    ----------
    n_ranks : int, default=5
        Number of elements to describe, from 1 to 98.
    encoding : {"properties", "onehot"}, default="properties"
        Description of an element. "properties", for trees and networks: atomic number, period, group,
        Mendeleev number and Pauling electronegativity from pymatgen. There, lanthanides and actinides are in
        group 3, and the electronegativity of He, Ne and Ar is NaN. "onehot", for dense networks: one
        indicator for each of the 98 elements.
    exclude : sequence of str, default=()
        Symbols of elements that are in the measurement but not in the specimen, such as those of grid and
        film. They count as not known, and the fractions of the others are scaled to a sum of 1.
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

    Examples
    --------
    >>> from xtalsk.composition import RankedElements
    >>> ranked = RankedElements(n_ranks=2).set_output(transform="pandas")
    >>> ranked.fit_transform(["SiO2", "Fe"]).T.round(2)
                                 0      1
    rank1_fraction            0.67   1.00
    rank1_z                   8.00  26.00
    rank1_period              2.00   4.00
    rank1_group              16.00   8.00
    rank1_mendeleev         101.00  61.00
    rank1_electronegativity   3.44   1.83
    rank2_fraction            0.33   0.00
    rank2_z                  14.00   0.00
    rank2_period              3.00   0.00
    rank2_group              14.00   0.00
    rank2_mendeleev          85.00   0.00
    rank2_electronegativity   1.90   0.00
    """

    def __init__(self, n_ranks=5, encoding="properties", *, exclude=(), on_error="raise"):
        self.n_ranks = n_ranks
        self.encoding = encoding
        self.exclude = exclude
        self.on_error = on_error

    def _check_params(self):
        check_scalar(self.n_ranks, "n_ranks", Integral, min_val=1, max_val=N_ELEMENTS)
        check_option("encoding", self.encoding, ("properties", "onehot"))

    def _from_fractions(self, fractions):
        numbers, amounts = rank_elements(fractions, self.n_ranks)
        table = _property_table() if self.encoding == "properties" else np.eye(N_ELEMENTS + 1)[:, 1:]
        ranks = np.concatenate([amounts[..., np.newaxis], table[numbers]], axis=2)
        return ranks.reshape(len(fractions), -1)

    def _feature_names(self):
        names = ("fraction", *(_PROPERTIES if self.encoding == "properties" else FEATURE_NAMES))
        return [f"rank{rank}_{name}" for rank in range(1, self.n_ranks + 1) for name in names]
