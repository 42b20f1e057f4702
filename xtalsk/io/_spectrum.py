"""What a cell of a column of spectra holds."""

from dataclasses import dataclass

import numpy as np

from xtalsk.io._cells import _check_numeric


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Counts against energy: X-rays (EDS), or losses of transmitted electrons (EELS).

    Parameters
    ----------
    counts : array-like of shape (n_channels,)
        NaN marks a channel that was not measured.
    energy : array-like of shape (n_channels,)
        Middle of each channel in eV, increasing. Below zero is allowed: the zero peak lies there.
    beam_energy : float or None
        Of the electrons, in keV.
    takeoff_angle : float or None
        Angle of the X-ray detector above the surface of the specimen, in degrees. EDS only.
    live_time : float or None
        In seconds.
    energy_resolution : float or None
        Full width at half maximum in eV: of the Mn Kα line (EDS), or of the zero-loss peak (EELS).
    convergence_angle, collection_angle : float or None
        Half angles of the beam and of the spectrometer's entrance, in mrad. EELS only.

    Raises
    ------
    ValueError
        If the axis does not fit the counts, is not finite or does not increase, if the counts hold
        infinities or nothing but NaN, or if another argument is not a positive number.

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
        counts = _check_numeric("counts", self.counts, 1)
        energy = _check_numeric("energy", self.energy, 1)
        if np.isinf(counts).any() or np.isnan(counts).all():
            raise ValueError("counts must be finite, or NaN in channels that were not measured")
        if energy.shape != counts.shape or energy.size < 2:
            raise ValueError(
                f"energy has {energy.size} channels and counts {counts.size}; both need the same, 2 or more"
            )
        if not np.isfinite(energy).all() or not (np.diff(energy) > 0).all():
            raise ValueError("energy must be finite and increasing, in eV")
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "energy", energy)
        for name, (highest, unit) in _POSITIVE.items():
            value = getattr(self, name)
            if value is None:
                continue
            try:
                number = float(value)
            except (TypeError, ValueError):
                number = np.nan
            if not (0 < number <= highest and np.isfinite(number)):
                bound = f" of at most {highest:g} {unit}" if np.isfinite(highest) else ""
                raise ValueError(f"{name} must be a positive number{bound}, got {value!r}")
            object.__setattr__(self, name, number)

    def __repr__(self):
        beam = "None" if self.beam_energy is None else f"{self.beam_energy:g} keV"
        ends = f"{self.energy[0]:g} to {self.energy[-1]:g} eV"
        return f"Spectrum({self.energy.size} channels, {ends}, beam_energy={beam})"


_POSITIVE = {
    "beam_energy": (5000.0, "keV"),
    "takeoff_angle": (90.0, "degrees"),
    "live_time": (np.inf, ""),
    "energy_resolution": (np.inf, ""),
    "convergence_angle": (np.inf, ""),
    "collection_angle": (np.inf, ""),
}
