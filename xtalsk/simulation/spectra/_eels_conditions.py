"""Conditions of the simulation of energy-loss spectra."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import loguniform, norm

from xtalsk.simulation._conditions import Conditions, Sometimes


@dataclass(frozen=True, repr=False)
class EELSConditions(Conditions):
    """Conditions under which a spectrometer on a transmission electron microscope records core losses.

    ``energy`` is the same for all spectra. Each other field is a number, a pair (low, high) for a uniform
    distribution, `Sometimes` or a scipy.stats distribution; a value is drawn for each spectrum.

    Parameters
    ----------
    energy : (start, stop, step)
        Energy axis in eV. ``stop`` is included if it is a whole number of steps from ``start``. Spectra that
        begin below 30 eV hold low losses; those that begin below 0 eV hold the whole zero-loss peak.
    beam_energy : distribution
        In keV.
    convergence_angle, collection_angle : distribution
        Half angles in mrad.
    resolution : distribution
        Full width at half maximum of the zero-loss peak in eV.
    relative_thickness : distribution
        Thickness of the specimen in units of the mean free path of inelastic scattering.
    plasmon_energy : distribution
        Energy of the maximum of single low losses in eV.
    plasmon_width : distribution
        Full width at half maximum of single low losses in eV.
    jump_ratio : distribution
        Height of the most prominent edge relative to the background, without unit. The height is the rise of
        the spectrum, averaged over 40 eV, at the onset.
    exponent : distribution
        Exponent r of the background E^-r, without unit.
    curvature : distribution
        Change of r when the energy rises by a factor e, without unit.
    energy_shift : distribution
        Nominal minus true energy in the middle of the axis in eV.
    dispersion_error : distribution
        Relative error of the width of a channel, without unit: a true width is (1 + dispersion_error) times
        the nominal one. The energy in the middle of the axis stays the same.
    chemical_shift : distribution
        Standard deviation of the shift of the onset of each family of edges in eV.
    cross_section_error : distribution
        Standard deviation of the logarithm of the cross-section of each family of edges, without unit.
    fine_structure : distribution
        Amplitude of the oscillations above an edge, relative to the edge.
    white_lines : distribution
        Strength of white lines, relative to the tabulated one.
    counts : distribution
        Expected number of electrons in the whole spectrum.
    gain : distribution
        Counts per electron.
    spread : distribution
        Standard deviation of the detector's response to one electron, in channels. It correlates the noise of
        neighbouring channels.
    fixed_pattern : distribution
        Standard deviation of the gains of the channels, relative to their mean.
    read_noise : distribution
        Standard deviation of the read-out noise in counts. The dark level that is left in the spectrum is
        three times as high.

    Raises
    ------
    ValueError
        If a field is out of range; the message names the field.

    See Also
    --------
    simulate_eels : Simulates the spectra.

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
        """Nominal energy of each channel in eV, ndarray of shape (n_channels,)."""
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
        """Return conditions with thin specimens, theoretical edges, an exact energy axis and little noise."""
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
        """Return conditions of good spectra of thin specimens."""
        return cls()

    @classmethod
    def harsh(cls):
        """Return conditions with thick specimens, few electrons and poor calibrations."""
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
