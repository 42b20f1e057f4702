"""The `Spectrum` that one cell of a column of spectra holds."""

from dataclasses import dataclass

import numpy as np

from xtalsk.io._cells import check_axis, check_numeric, check_values

_UPPER_LIMITS = {
    "beam_energy": (5000.0, "keV"),
    "takeoff_angle": (90.0, "degrees"),
    "live_time": (np.inf, "s"),
    "energy_resolution": (np.inf, "eV"),
    "convergence_angle": (np.inf, "mrad"),
    "collection_angle": (np.inf, "mrad"),
}


def _check_positive(name, value):
    """Return a value as a positive float within its upper limit, or raise ValueError that names it."""
    limit, unit = _UPPER_LIMITS[name]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (0 < number <= limit and np.isfinite(number)):
        bound = f" of at most {limit:g} {unit}" if np.isfinite(limit) else f" of {unit}"
        raise ValueError(f"{name} must be a positive number{bound}, got {value!r}")
    return number


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Counts against energy: an X-ray spectrum (EDS), or an electron energy-loss spectrum (EELS).

    Parameters
    ----------
    counts : array-like of shape (n_channels,)
        NaN marks a channel that was not measured.
    energy : array-like of shape (n_channels,)
        Middle of each channel in eV, increasing. Negative energies are allowed, because the zero-loss peak
        and the strobe peak reach below zero.
    beam_energy : float or None
        Energy of the electrons in keV.
    takeoff_angle : float or None
        Angle of the X-ray detector above the surface of the specimen, in degrees. EDS only.
    live_time : float or None
        In seconds.
    energy_resolution : float or None
        Full width at half maximum in eV: of the Mn Kα line (EDS), or of the zero-loss peak (EELS).
    convergence_angle, collection_angle : float or None
        Half angles of the beam and of the spectrometer entrance, in mrad. EELS only.

    Raises
    ------
    ValueError
        If energy and counts differ in length, if the energies are not finite and increasing, if the counts
        contain infinities or only NaN, or if another argument is not a positive number.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.io import Spectrum
    >>> Spectrum(np.ones(2048), energy=np.arange(2048) * 10.0 + 5, beam_energy=20)
    Spectrum(2048 channels, 5 to 20475 eV, beam_energy=20 keV)
    """

    counts: np.ndarray
    energy: np.ndarray
    beam_energy: float | None = None
    takeoff_angle: float | None = None
    live_time: float | None = None
    energy_resolution: float | None = None
    convergence_angle: float | None = None
    collection_angle: float | None = None

    def __post_init__(self):
        counts = check_numeric("counts", self.counts, 1)
        energy = check_numeric("energy", self.energy, 1)
        check_values("counts", counts)
        check_axis("energy", energy, "counts", counts)
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "energy", energy)
        for name in _UPPER_LIMITS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _check_positive(name, getattr(self, name)))

    def __repr__(self):
        beam = "None" if self.beam_energy is None else f"{self.beam_energy:g} keV"
        ends = f"{self.energy[0]:g} to {self.energy[-1]:g} eV"
        return f"Spectrum({self.energy.size} channels, {ends}, beam_energy={beam})"
