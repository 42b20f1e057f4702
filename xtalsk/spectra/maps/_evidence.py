"""Elements that sums of pixels hold, and where they were found."""

import numpy as np
import pandas as pd

from xtalsk.spectra.maps._constants import MORE_SIGMAS
from xtalsk.spectra.maps._models import WHOLE_MAP
from xtalsk.utils._formula import SYMBOLS

_COLUMNS = ("element", "found_in", "n_pixels", "fraction", "significance")


def found_elements(analyses, shapes):
    """Return the elements to fit to each pixel.

    Parameters
    ----------
    analyses : list of SumAnalysis
    shapes : EDSShapes or EELSShapes

    Returns
    -------
    own, others : ndarray of int
        Atomic numbers of the elements that are part of the composition in any sum, and of the others that
        were found. An element that the whole map does not show needs a higher significance, because many
        sums are analysed.
    """
    own, others = set(), set()
    for analysis in analyses:
        result = analysis.result
        least = 0.0 if analysis.name == WHOLE_MAP else shapes.n_sigma + MORE_SIGMAS
        for z in np.asarray(result.atomic_numbers).tolist():
            if result.significance[z - 1] < least:
                continue
            if z in shapes.excluded:
                others.add(z)
            elif result.fractions[z - 1] > 0:
                own.add(z)
    return np.array(sorted(own), int), np.array(sorted(others), int)


def evidence_of(analyses, numbers):
    """Return where each element was found; see `CompositionMap`, DataFrame."""
    rows = [
        (SYMBOLS[z - 1], a.name, a.n_pixels, a.result.fractions[z - 1], a.result.significance[z - 1])
        for z in numbers
        for a in analyses
        if a.result.fractions[z - 1] > 0
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))
