"""Conditions of the simulation of X-ray spectra."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import lognorm, loguniform, norm

from xtalsk.simulation._conditions import Conditions, Sometimes


@dataclass(frozen=True, repr=False)
class EDSConditions(Conditions):
    """Conditions under which a silicon drift detector on an electron microscope records X-rays.

    ``energy`` is the same for all spectra. Each other field is a number, a pair (low, high) for a uniform
    distribution, `Sometimes` or a scipy.stats distribution; a value is drawn for each spectrum.

    Parameters
    ----------
    energy : (start, stop, step)
        Middle of the first channel, middle of the last channel, and width of a channel, in eV.
    beam_energy : distribution
        In keV.
    takeoff_angle : distribution
        Take-off angle of the detector above the surface of the specimen in degrees.
    thickness_nm : distribution
        Thickness of the specimen in nm; ``inf`` for bulk specimens. A specimen thicker than half the range of
        the electrons is simulated as bulk.
    counts : distribution
        Expected number of counts in the whole spectrum.
    resolution : distribution
        Full width at half maximum of Mn Kα in eV.
    window : distribution
        Thickness of the polymer window in units of 0.3 µm, the common one; 0 for no window.
    dead_layer : distribution
        Thickness of the silicon dead layer in nm.
    tail : distribution
        Low-energy tails of lines, relative to those of common detectors.
    energy_shift : distribution
        Error of the zero of the energy axis in eV: a line of energy E appears at
        (E - energy_shift) / (1 + dispersion_error).
    dispersion_error : distribution
        Relative error of the width of a channel, without unit.
    continuum : distribution
        Bremsstrahlung, relative to the theoretical one.
    yield_error : distribution
        Standard deviation of the logarithm of the sensitivity for each element, without unit. It stands for
        errors of cross-sections and fluorescence yields.
    copper, carbon, silicon : distribution
        Counts in the lines of the grid (copper), of the support film or coating (carbon) and of the detector
        (silicon), relative to the counts in the lines of the specimen.
    pile_up : distribution
        Share of the counts in sum peaks, from 0 to 0.3.

    Raises
    ------
    ValueError
        If a field is out of range; the message names the field.

    See Also
    --------
    simulate_eds : Simulates the spectra.

    Examples
    --------
    >>> from xtalsk.simulation import EDSConditions
    >>> film = EDSConditions(beam_energy=300, thickness_nm=(20, 80), counts=1e4)
    >>> film.draw(2, random_state=0)["thickness_nm"].round(1).tolist()
    [56.2, 52.7]
    >>> bool(EDSConditions.scanning().draw(1, random_state=0)["thickness_nm"][0] == float("inf"))
    True
    """

    energy: tuple = (5.0, 20475.0, 10.0)
    beam_energy: object = 200.0
    takeoff_angle: object = (15.0, 25.0)
    thickness_nm: object = (20.0, 150.0)
    counts: object = loguniform(1e4, 1e6)
    resolution: object = (124.0, 138.0)
    window: object = 0.0
    dead_layer: object = (20.0, 60.0)
    tail: object = (0.5, 1.5)
    energy_shift: object = norm(0, 3)
    dispersion_error: object = norm(0, 0.0005)
    continuum: object = lognorm(0.3)
    yield_error: object = 0.05
    copper: object = Sometimes(0.5, loguniform(0.02, 1.0))
    carbon: object = Sometimes(0.5, loguniform(0.01, 0.3))
    silicon: object = Sometimes(0.3, loguniform(0.002, 0.02))
    pile_up: object = Sometimes(0.5, loguniform(1e-4, 1e-2))

    _plain = ("energy",)
    _limits = {
        "beam_energy": (1, 1000),
        "takeoff_angle": (1, 90),
        "thickness_nm": (1e-6, np.inf),
        "counts": (1e-6, np.inf),
        "resolution": (110, 300),
        "window": (0, 10),
        "dead_layer": (0, 1000),
        "tail": (0, 10),
        "energy_shift": (-200, 200),
        "dispersion_error": (-0.05, 0.05),
        "continuum": (1e-6, np.inf),
        "yield_error": (0, 1),
        "copper": (0, 100),
        "carbon": (0, 100),
        "silicon": (0, 100),
        "pile_up": (0, 0.3),
    }

    def __post_init__(self):
        start, stop, step = self.energy
        if not (np.isfinite(self.energy).all() and step > 0 and stop - start >= 100 * step):
            raise ValueError(
                f"energy must be (start, stop, step) of 100 channels or more, got {self.energy!r}"
            )
        super().__post_init__()

    @classmethod
    def ideal(cls):
        """Return conditions of a thin film without grid, errors or pile-up, with many counts."""
        return cls(
            takeoff_angle=20.0,
            thickness_nm=50.0,
            counts=1e6,
            resolution=130.0,
            dead_layer=30.0,
            tail=1.0,
            energy_shift=0.0,
            dispersion_error=0.0,
            continuum=1.0,
            yield_error=0.0,
            copper=0.0,
            carbon=0.0,
            silicon=0.0,
            pile_up=0.0,
        )

    @classmethod
    def typical(cls):
        """Return conditions of thin specimens in a transmission electron microscope."""
        return cls()

    @classmethod
    def harsh(cls):
        """Return conditions with few counts, poor calibrations, and any beam energy, grid and detector."""
        return cls(
            beam_energy=(80.0, 300.0),
            takeoff_angle=(10.0, 70.0),
            thickness_nm=loguniform(10, 500),
            counts=loguniform(300, 1e5),
            resolution=(122.0, 150.0),
            window=Sometimes(0.3, (0.7, 1.3)),
            dead_layer=(20.0, 120.0),
            tail=(0.0, 3.0),
            energy_shift=norm(0, 8),
            dispersion_error=norm(0, 0.0015),
            continuum=lognorm(0.6),
            yield_error=0.12,
            copper=Sometimes(0.8, loguniform(0.02, 5.0)),
            carbon=Sometimes(0.8, loguniform(0.01, 1.0)),
            silicon=Sometimes(0.5, loguniform(0.002, 0.05)),
            pile_up=Sometimes(0.5, loguniform(1e-4, 3e-2)),
        )

    @classmethod
    def scanning(cls):
        """Return conditions of polished or powdered bulk specimens in a scanning electron microscope."""
        return cls(
            beam_energy=(10.0, 25.0),
            takeoff_angle=(25.0, 45.0),
            thickness_nm=np.inf,
            window=(0.7, 1.3),
            copper=0.0,
        )

    def axis(self):
        """Nominal middle of each channel in eV, ndarray of shape (n_channels,)."""
        start, stop, step = self.energy
        return start + step * np.arange(int(np.floor((stop - start) / step + 1e-6)) + 1)
