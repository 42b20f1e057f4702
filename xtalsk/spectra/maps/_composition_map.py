"""Result of `map_compositions`."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from xtalsk.utils._formula import FEATURE_NAMES, SYMBOLS

STATUS = ("mapped", "no counts", "NaN channels", "no element")
"""What the numbers in `CompositionMap.status` mean."""


@dataclass(frozen=True, eq=False, repr=False)
class CompositionMap:
    """Atomic fractions of each pixel of a spectrum image.

    Parameters
    ----------
    fractions : ndarray of float32, shape (rows, columns, n_found) or (n, n_found)
        Atomic fraction of each element of ``elements``. Pixels without a composition are NaN.
    uncertainty : ndarray of float32, same shape
        Standard deviation of each fraction by counting statistics, overlaps of lines and background included.
    elements : list of str
        Symbols of the elements that were found, by atomic number.
    evidence : DataFrame
        Where each element was found: ``element``, ``found_in`` ("whole map", "region 0", "excess 0"),
        ``n_pixels``, ``fraction`` and ``significance`` in the sum of these pixels.
    counts : ndarray of float32, shape (rows, columns) or (n,)
        Counts of each pixel.
    regions : ndarray of int, same shape
        Region of each pixel; -1 for pixels without one.
    status : ndarray of uint8, same shape
        Number in `STATUS`: 0 mapped, 1 no counts, 2 NaN channels, 3 no element.
    absent : ndarray of float32, shape (98,)
        Fraction of the elements that were not found, hydrogen first: 0, or NaN for those that the spectra
        cannot show.
    systematic : ndarray of shape (n_found,)
        Relative error of the sensitivity for each element. It is the same in all pixels.
    axes : tuple of dict
        ``name``, ``scale``, ``offset`` and ``units`` of the axes of the map, if they are known.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from xtalsk.spectra import CompositionMap
    >>> magnesia = CompositionMap(
    ...     fractions=np.full((2, 3, 2), 0.5, np.float32), uncertainty=np.full((2, 3, 2), 0.1, np.float32),
    ...     elements=["O", "Mg"], evidence=pd.DataFrame(), counts=np.full((2, 3), 50, np.float32),
    ...     regions=np.zeros((2, 3), int), status=np.zeros((2, 3), np.uint8),
    ...     absent=np.zeros(98, np.float32), systematic=np.zeros(2),
    ... )
    >>> magnesia, magnesia.element("Mg").tolist(), magnesia.all_fractions().shape
    (CompositionMap(2 x 3 pixels: O, Mg; 6 mapped), [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]], (6, 98))
    """

    fractions: np.ndarray
    uncertainty: np.ndarray
    elements: list
    evidence: pd.DataFrame
    counts: np.ndarray
    regions: np.ndarray
    status: np.ndarray
    absent: np.ndarray
    systematic: np.ndarray
    axes: tuple = field(default=())

    @property
    def shape(self):
        """Shape of the map, (rows, columns) or (n,)."""
        return self.status.shape

    def element(self, symbol):
        """Return the map of the fractions of one element, ndarray of the shape of the map.

        Raises
        ------
        ValueError
            If the element was not found.
        """
        if symbol not in self.elements:
            raise ValueError(f"expected one of the elements found, {self.elements}, got {symbol!r}")
        return self.fractions[..., self.elements.index(symbol)]

    def all_fractions(self, pixels=slice(None)):
        """Return the fractions of all elements, with the columns of `ElementFractions`.

        Parameters
        ----------
        pixels : slice or ndarray of int
            Pixels, counted in the order of rows; all by default.

        Returns
        -------
        ndarray of float32, shape (n_pixels, 98)
            Hydrogen first. Elements that were not found are 0, those that the spectra cannot show NaN. Pixels
            without a composition are rows of NaN.
        """
        fractions = self.fractions.reshape(self.status.size, len(self.elements))[pixels]
        table = np.repeat(self.absent[None], len(fractions), 0)
        table[:, [SYMBOLS.index(symbol) for symbol in self.elements]] = fractions
        table[self.status.reshape(-1)[pixels] != 0] = np.nan
        return table

    def total_uncertainty(self):
        """Return the standard deviation of each fraction, errors of the sensitivities included.

        Returns
        -------
        ndarray of float32, shape of ``fractions``
        """
        squares = (self.fractions * self.systematic) ** 2
        others = squares.sum(-1, keepdims=True)
        shared = squares * (1 - 2 * self.fractions) + self.fractions**2 * others
        return np.sqrt(self.uncertainty**2 + shared)

    def to_frame(self):
        """Return the fractions of all elements as a table with one row for each pixel.

        Returns
        -------
        DataFrame of float32
            The columns are those of `ElementFractions` (``h`` to ``cf``), the index is the position in the
            map. See `all_fractions`.
        """
        names = ["row", "column"] if len(self.shape) == 2 else ["pixel"]
        positions = [np.arange(n) for n in self.shape]
        index = pd.MultiIndex.from_product(positions, names=names)
        if len(names) == 1:
            index = pd.Index(positions[0], name=names[0])
        return pd.DataFrame(self.all_fractions(), index=index, columns=list(FEATURE_NAMES))

    def to_hyperspy(self):
        """Return the fractions as a HyperSpy signal with the axes of the map.

        Returns
        -------
        hyperspy.signals.BaseSignal
            Each element is one position along the first navigation axis; ``metadata.Sample.elements`` names
            them.

        Raises
        ------
        ImportError
            If HyperSpy is not installed.
        """
        try:
            import hyperspy.api as hs
        except ImportError as error:
            raise ImportError(
                "to_hyperspy needs HyperSpy; install it with pip install xtalsk[microscopy]"
            ) from error
        data = np.moveaxis(self.fractions, -1, 0)
        signal = (hs.signals.Signal2D if len(self.shape) == 2 else hs.signals.Signal1D)(data)
        for axis, known in zip(signal.axes_manager.signal_axes[::-1], self.axes, strict=False):
            for name, value in known.items():
                setattr(axis, name, value)
        signal.metadata.set_item("General.title", "atomic fractions")
        signal.metadata.set_item("Sample.elements", list(self.elements))
        return signal

    def save(self, path):
        """Save the map as a ``.npz`` file."""
        evidence = {f"evidence_{name}": column.to_numpy() for name, column in self.evidence.items()}
        for name in ("evidence_element", "evidence_found_in"):
            evidence[name] = evidence[name].astype(str)
        axes = {
            f"axes_{name}": np.array([axis[name] for axis in self.axes])
            for name in (self.axes[0] if self.axes else ())
        }
        np.savez_compressed(
            path,
            **{name: getattr(self, name) for name in _ARRAYS},
            elements=np.array(self.elements, dtype=str),
            **evidence,
            **axes,
        )

    @classmethod
    def load(cls, path):
        """Load a map that `save` has written.

        Raises
        ------
        ValueError
            If the file is no such map.
        """
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in (*_ARRAYS, "elements") if name not in file]
            if missing:
                raise ValueError(f"{path} is not a map of compositions: it has no array {missing[0]!r}")
            arrays = {name: file[name] for name in file.files}
        parts = {"evidence_": {}, "axes_": {}}
        for name, values in arrays.items():
            for prefix, part in parts.items():
                if name.startswith(prefix):
                    part[name.removeprefix(prefix)] = values.tolist()
        axes = parts["axes_"]
        return cls(
            **{name: arrays[name] for name in _ARRAYS},
            elements=arrays["elements"].tolist(),
            evidence=pd.DataFrame(parts["evidence_"]),
            axes=tuple(dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True)),
        )

    def __repr__(self):
        shape = " x ".join(map(str, self.shape))
        found = ", ".join(self.elements) or "no element"
        return f"CompositionMap({shape} pixels: {found}; {(self.status == 0).sum()} mapped)"


_ARRAYS = ("fractions", "uncertainty", "counts", "regions", "status", "absent", "systematic")
