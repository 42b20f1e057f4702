"""How spectra of electron energy losses are recorded."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import loguniform, norm

from xtalsk.simulation._conditions import Conditions, Sometimes


@dataclass(frozen=True, repr=False)
class EELSConditions(Conditions):
    """How a spectrometer behind a transmission electron microscope records core losses.

    The first field is plain. Each of the others is a number, a pair (low, high) that is drawn uniformly for
    each spectrum, `Sometimes` or a scipy.stats distribution.

    Parameters
    ----------
    energy : (start, stop, step)
        Axis in eV; the stop is included where it falls on a step. From a start below zero the spectrum holds
        the zero-loss peak.
    beam_energy : distribution
        In keV.
    convergence_angle, collection_angle : distribution
        Half angles in mrad.
    resolution : distribution
        Full width at half maximum of the zero-loss peak, in eV.
    relative_thickness : distribution
        Of the specimen in mean free paths of inelastic scattering.
    plasmon_energy, plasmon_width : distribution
        Peak and full width of single low losses, in eV.
    jump_ratio : distribution
        Of the most prominent edge: how much the mean over 40 eV rises at its onset, relative to the
        background E^-r there.
    exponent : distribution
        r of the background E^-r.
    curvature : distribution
        Change of r over a factor e in energy.
    energy_shift : distribution
        Error of the energy axis in eV.
    dispersion_error : distribution
        Relative error of the width of a channel; the axis is right, but for the shift, in its middle.
    chemical_shift : distribution
        Standard deviation of the displacement of single edges, in eV.
    cross_section_error : distribution
        Standard deviation of the logarithm of single edges' strengths, as theory has it.
    fine_structure : distribution
        Amplitude of the oscillations above an edge, relative to the edge.
    white_lines : distribution
        Factor to the usual strength of white lines.
    counts : distribution
        Expected electrons in the whole spectrum.
    gain : distribution
        Counts for an electron.
    spread : distribution
        Standard deviation, in channels, of what one electron makes on the detector; it correlates the noise.
    fixed_pattern : distribution
        Standard deviation of the channels' gains.
    read_noise : distribution
        Standard deviation in counts; three times as much is left of the dark level.

    Raises
    ------
    ValueError
        If a field is out of range.

    Examples
    --------
    >>> from xtalsk.simulation import EELSConditions
    >>> oxygen = EELSConditions(energy=(400, 800, 0.5), counts=1e7)
    >>> oxygen.axis().shape, oxygen.draw(1, random_state=0)["counts"].tolist()
    ((801,), [10000000.0])
    """

    energy: tuple = (60.0, 2107.0, 1.0)
    beam_energy: object = (80.0, 300.0)
    convergence_angle: object = (2.0, 25.0)
    collection_angle: object = (8.0, 50.0)
    resolution: object = (0.8, 2.0)
    relative_thickness: object = (0.1, 0.8)
    plasmon_energy: object = (15.0, 27.0)
    plasmon_width: object = (5.0, 15.0)
    jump_ratio: object = loguniform(0.3, 3.0)
    exponent: object = (2.4, 3.8)
    curvature: object = (-0.2, 0.2)
    energy_shift: object = norm(0.0, 1.5)
    dispersion_error: object = 0.0
    chemical_shift: object = (0.0, 1.5)
    cross_section_error: object = 0.08
    fine_structure: object = (0.1, 0.4)
    white_lines: object = (0.7, 1.4)
    counts: object = loguniform(1e7, 1e9)
    gain: object = 1.0
    spread: object = (0.0, 1.0)
    fixed_pattern: object = (0.0, 0.003)
    read_noise: object = (0.0, 3.0)

    _plain = ("energy",)
    _limits = {
        "beam_energy": (10, 1000),
        "convergence_angle": (0, 200),
        "collection_angle": (0.01, 200),
        "resolution": (0, 50),
        "relative_thickness": (0, 5),
        "plasmon_energy": (3, 60),
        "plasmon_width": (0.5, 60),
        "jump_ratio": (1e-6, np.inf),
        "exponent": (0, 8),
        "curvature": (-3, 3),
        "energy_shift": (-50, 50),
        "dispersion_error": (-0.3, 0.3),
        "chemical_shift": (0, 10),
        "cross_section_error": (0, 2),
        "fine_structure": (0, 1),
        "white_lines": (0, 10),
        "counts": (1e-6, np.inf),
        "gain": (1e-6, np.inf),
        "spread": (0, 20),
        "fixed_pattern": (0, 0.3),
        "read_noise": (0, np.inf),
    }

    def __post_init__(self):
        self.axis()
        super().__post_init__()

    def axis(self):
        """Energy losses in eV, shape (n_channels,)."""
        try:
            start, stop, step = (float(value) for value in self.energy)
        except (TypeError, ValueError):
            start, stop, step = (np.nan,) * 3
        if not (-1e4 <= start < stop <= 1e4 and 0.01 <= step < stop - start):
            raise ValueError(
                "energy must be (start, stop, step) within -10,000 to 10,000 eV, the step at least 0.01, "
                f"got {self.energy!r}"
            )
        return start + step * np.arange(int((stop - start) / step + 1e-9) + 1)

    @classmethod
    def ideal(cls):
        """Make those of thin specimens, theoretical edges, a right axis and nearly no noise."""
        return cls(
            beam_energy=200.0,
            convergence_angle=5.0,
            collection_angle=20.0,
            resolution=1.0,
            relative_thickness=0.05,
            plasmon_energy=20.0,
            plasmon_width=8.0,
            jump_ratio=2.0,
            exponent=3.0,
            curvature=0.0,
            energy_shift=0.0,
            chemical_shift=0.0,
            cross_section_error=0.0,
            fine_structure=0.0,
            white_lines=1.0,
            counts=1e10,
            spread=0.0,
            fixed_pattern=0.0,
            read_noise=0.0,
        )

    @classmethod
    def typical(cls):
        """Make those of good spectra of thin specimens."""
        return cls()

    @classmethod
    def harsh(cls):
        """Make those of thick specimens, few electrons, strong fine structure and badly set spectrometers."""
        return cls(
            beam_energy=(60.0, 300.0),
            convergence_angle=(0.5, 35.0),
            collection_angle=(3.0, 60.0),
            resolution=(0.5, 3.0),
            relative_thickness=(0.2, 1.5),
            jump_ratio=loguniform(0.05, 1.0),
            exponent=(2.0, 4.5),
            curvature=(-0.5, 0.5),
            energy_shift=norm(0.0, 3.0),
            dispersion_error=Sometimes(0.3, norm(0.0, 0.01)),
            chemical_shift=(0.0, 3.0),
            cross_section_error=0.15,
            fine_structure=(0.2, 0.7),
            white_lines=(0.4, 2.0),
            counts=loguniform(1e6, 1e8),
            gain=loguniform(1.0, 15.0),
            spread=(0.0, 2.0),
            fixed_pattern=(0.0, 0.01),
            read_noise=(0.0, 5.0),
        )
