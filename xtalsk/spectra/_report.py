"""Tables and plots of the results of `EDSComposition.analyse` and `EELSComposition.analyse`."""

import gemmi
import numpy as np
import pandas as pd

from xtalsk.utils._formula import SYMBOLS

_LABEL_HEIGHT = 1.02  # height of the labels in units of the height of the axes


def composition_table(fit, lines):
    """Return the elements of a fit as a table, the most abundant element first.

    Parameters
    ----------
    fit : EDSFit or EELSAnalysis
        Its ``fractions`` and ``uncertainty`` have the shape (98,), hydrogen first.
    lines : mapping of str to str
        Names of the lines or edges that were used, by symbol, such as ``{"Ti": "L23, K"}``.

    Returns
    -------
    DataFrame
        One row for each element found, with the columns ``element`` (symbol), ``atomic_percent``,
        ``weight_percent``, ``uncertainty`` (standard deviation of ``atomic_percent``) and ``lines``.
    """
    places = np.sort(np.asarray(fit.atomic_numbers, dtype=int)) - 1
    places = places[np.argsort(-fit.fractions[places], kind="stable")]
    symbols = [SYMBOLS[place] for place in places]
    masses = fit.fractions[places] * np.array([gemmi.Element(symbol).weight for symbol in symbols], float)
    return pd.DataFrame(
        {
            "element": pd.Series(symbols, dtype=object),
            "atomic_percent": 100 * fit.fractions[places],
            "weight_percent": 100 * masses / np.nansum(masses) if len(masses) else masses,
            "uncertainty": 100 * fit.uncertainty[places],
            "lines": pd.Series([lines.get(symbol, "") for symbol in symbols], dtype=object),
        }
    )


def plot_fit(fit, marks, xlabel, ax=None):
    """Draw the counts of a fit, the fitted curve and the background, with the names of lines or edges.

    Parameters
    ----------
    fit : EDSFit or EELSAnalysis
        With the curves ``energy`` (eV), ``counts``, ``curve`` and ``background``.
    marks : sequence of (str, float)
        Name and energy in eV of each line or edge.
    xlabel : str
        Label of the energy axis.
    ax : matplotlib Axes or None, default=None
        Axes to draw into. None makes a new figure.

    Returns
    -------
    matplotlib Axes
    """
    import matplotlib.pyplot as plt  # slow to import

    ax = plt.subplots(layout="constrained")[1] if ax is None else ax
    ax.plot(fit.energy, fit.counts, ".", ms=3, color="0.55", label="measured")
    ax.plot(fit.energy, fit.curve, lw=1, color="black", label="fit")
    ax.plot(fit.energy, fit.background, lw=1, ls="--", color="0.25", label="background")
    for name, energy in marks:
        ax.axvline(energy, lw=0.8, color="C0", alpha=0.6)
        ax.annotate(
            name, (energy, _LABEL_HEIGHT), xycoords=("data", "axes fraction"), rotation=90, ha="center",
            va="bottom", fontsize="x-small",
        )  # fmt: skip
    ax.set(xlabel=xlabel, ylabel="counts", yscale="log" if np.nanmin(fit.counts) > 0 else "symlog")
    ax.legend(frameon=False)
    return ax
