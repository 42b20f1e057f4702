"""How spectra of X-rays are recorded in an electron microscope."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import lognorm, loguniform, norm

from xtalsk.simulation._conditions import Conditions, Sometimes


@dataclass(frozen=True, repr=False)
class EDSConditions(Conditions):
    """How a silicon drift detector on an electron microscope records X-rays.

    The first field is plain. Each of the others is a number, a pair (low, high) that is drawn uniformly for
    each spectrum, `Sometimes` or a scipy.stats distribution.

    Parameters
    ----------
    energy : (start, stop, step)
        Middle of the first and last channel and width of a channel, in eV.
    beam_energy : distribution
        In keV.
    takeoff_angle : distribution
        Of the detector above the surface of the specimen, in degrees.
    thickness_nm : distribution
        Of the specimen in nm; ``inf`` for bulk specimens, as which more than half the range of the electrons
        counts.
    counts : distribution
        Expected counts in the whole spectrum.
    resolution : distribution
        Full width at half maximum of Mn Kα in eV.
    window : distribution
        Thickness of the polymer window in units of the common one (0.3 µm), 0 for none.
    dead_layer : distribution
        Silicon in which charge is lost, in nm.
    tail : distribution
        Tails below lines, in units of those of common detectors.
    energy_shift, dispersion_error : distribution
        Errors of the energy axis, in eV and relative: a line of energy E is shown at
        (E - energy_shift) / (1 + dispersion_error).
    continuum : distribution
        Bremsstrahlung, in units of what theory expects.
    yield_error : distribution
        Standard deviation of the logarithm of each element's sensitivity, which stands for what is wrong with
        cross-sections and yields.
    copper, carbon, silicon : distribution
        Counts of the grid, of the support or the coat, and of the detector itself, relative to the lines of
        the specimen.
    pile_up : distribution
        Share of the counts in sum peaks.

    Raises
    ------
    ValueError
        If a field is out of range.

    See Also
    --------
    eds : Renders the spectra.

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
        """Make those of a thin film without grid, errors or pile-up, at high dose."""
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
        """Make those of thin specimens in a transmission electron microscope."""
        return cls()

    @classmethod
    def harsh(cls):
        """Make those of low doses, old calibrations and any voltage, grid and detector."""
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
        """Make those of polished or powdered bulk specimens in a scanning electron microscope."""
        return cls(
            beam_energy=(10.0, 25.0),
            takeoff_angle=(25.0, 45.0),
            thickness_nm=np.inf,
            window=(0.7, 1.3),
            copper=0.0,
        )

    def axis(self):
        """Middle of each channel in eV, as the microscope believes it; ndarray."""
        start, stop, step = self.energy
        return start + step * np.arange(int(np.floor((stop - start) / step + 1e-6)) + 1)
