"""Compiled loop over the pieces of the background."""

import numpy as np

from xtalsk.spectra.eds._constants import LEAST_BACKGROUND
from xtalsk.spectra.eds._row_kernels import multiply
from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def fill_background(widths, hats, n_soft, efficiency, blur, emitted, unabsorbed, out):
    """Write the pieces of the background into ``out``; see `background_columns`.

    ``efficiency``, ``emitted`` and ``unabsorbed`` (n_bins,) are the detection efficiency and the
    bremsstrahlung with and without the absorption by the specimen.
    """
    counted, row = np.empty(len(widths)), 0
    for kind in range(3):
        density = emitted * efficiency if kind == 0 else emitted if kind == 1 else unabsorbed
        multiply(blur, density, counted)
        counted *= widths / counted.max()
        for b in range(len(counted)):
            counted[b] = max(counted[b], LEAST_BACKGROUND)
        for i in range(len(hats) if kind == 0 else n_soft):
            out[row] = hats[i] * counted
            row += 1
