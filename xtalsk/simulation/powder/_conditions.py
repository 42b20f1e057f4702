"""Conditions under which powder patterns are recorded."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import loguniform

from xtalsk.simulation._conditions import Conditions
from xtalsk.simulation.powder._constants import HARSH


@dataclass(frozen=True, repr=False)
class PowderConditions(Conditions):
    """Conditions under which a flat-plate diffractometer records powder patterns.

    The first four fields are fixed values, the same for all patterns. Each of the others is a number, a pair
    (low, high) for a uniform distribution, `Sometimes` or a scipy.stats distribution; each pattern gets its
    own number.

    Parameters
    ----------
    two_theta : (start, stop, step)
        Axis 2θ in degrees; the stop is included where it falls on a step.
    wavelength, ka2_wavelength : float
        Wavelengths of the Kα1 and Kα2 lines in Å; by default those of copper [1]_.
    radius : float
        Radius of the goniometer in mm.
    ka2 : distribution
        Intensity of Kα2 relative to Kα1, 0 to 1; 0 for monochromatic radiation.
    monochromator : distribution
        Bragg angle 2θ of a crystal monochromator in degrees, 0 for none (graphite and Cu Kα: 26.6).
    u, v, w : distribution
        Caglioti parameters of the Gaussian width of the instrument in square degrees [2]_:
        FWHM² = u tan²θ + v tanθ + w.
    crystallite_size : distribution
        Size of the crystallites in Å (Scherrer's volume-weighted size, K = 0.9), ``inf`` for no broadening.
    microstrain : distribution
        Microstrain e, a fraction; it broadens lines by 4 e tanθ.
    asymmetry : distribution
        Mean length of the tail towards low angles, from axial divergence, in degrees times tan 2θ.
    zero_shift : distribution
        Error of all angles 2θ in degrees.
    displacement : distribution
        Distance s of the sample from the axis in mm; it moves lines by -2 s cosθ / radius.
    strain : distribution
        Standard deviation of the components of a lattice strain that keeps the symmetry, a fraction.
    zoning : distribution
        Standard deviation of the strain between the two parts of zoned crystals, a fraction. The smaller part
        is a tenth to a half of the crystal. Zoning splits or broadens lines.
    b_shift : distribution
        Change of the Debye-Waller factors B = 8π²U, in Å².
    march_parameter : distribution
        March parameter of the preferred orientation of a low-index plane: 1 for none, below 1 for plates,
        above 1 for needles.
    line_scatter : distribution
        Standard deviation of the natural logarithm of the intensity of single lines, from too few grains.
    impurity : distribution
        Strongest line of a second phase relative to that of the first, 0 to 1. The second phase is another
        crystal of the same reflections; with one crystal there is none.
    peak_counts : distribution
        Expected counts above background at the strongest point.
    line_counts : distribution
        Expected counts above background, summed over all points. Above 0 it replaces ``peak_counts``. A fixed
        measuring time corresponds to this: patterns with many or broad lines then have low peaks.
    background : distribution
        Mean background in counts.
    air : distribution
        Share of the background from scattering by air, which decreases with the angle, 0 to 1.
    hump : distribution
        Share of the background in the broad peak of amorphous material, 0 to 1.
    hump_position, hump_width : distribution
        Position 2θ and full width at half maximum of that peak, in degrees.
    low_angle_scatter : distribution
        Scattering near the direct beam, below 7.5 degrees of 2θ, relative to the mean background. A part of
        it remains where the background is removed.
    waviness : distribution
        Standard deviation of the natural logarithm of the background, as a random polynomial of order 4.
    background_removed : distribution
        Probability that the background is subtracted from the published pattern, 0 to 1.
    full_scale : distribution
        Height to which the strongest point of the published pattern is scaled before fractions are cut off;
        0 keeps counts.

    Raises
    ------
    ValueError
        If a field is out of range.

    References
    ----------
    .. [1] G. Hölzer et al., Phys. Rev. A 56 (1997) 4554, table V.
    .. [2] G. Caglioti, A. Paoletti and F. P. Ricci, Nucl. Instrum. 3 (1958) 223.

    Examples
    --------
    >>> from xtalsk.simulation import PowderConditions
    >>> lab = PowderConditions(two_theta=(10, 80, 0.02), march_parameter=(0.6, 1.0), peak_counts=1e4)
    >>> lab.draw(2, random_state=0)["march_parameter"].round(3).tolist()
    [0.608, 0.933]
    """

    two_theta: tuple = (5.0, 90.0, 0.02)
    wavelength: float = 1.540593
    ka2_wavelength: float = 1.544427
    radius: float = 185.0
    ka2: object = 0.5
    monochromator: object = 0.0
    u: object = (0.0, 0.01)
    v: object = (-0.005, 0.0)
    w: object = (0.004, 0.01)
    crystallite_size: object = loguniform(400, 5000)
    microstrain: object = (0.0, 1e-3)
    asymmetry: object = (0.0, 0.005)
    zero_shift: object = (-0.05, 0.05)
    displacement: object = (-0.05, 0.05)
    strain: object = 0.0
    zoning: object = 0.0
    b_shift: object = 0.0
    march_parameter: object = 1.0
    line_scatter: object = (0.0, 0.1)
    impurity: object = 0.0
    peak_counts: object = loguniform(1e3, 1e5)
    line_counts: object = 0.0
    background: object = loguniform(20, 500)
    air: object = (0.0, 0.6)
    hump: object = (0.0, 0.4)
    hump_position: object = (15.0, 35.0)
    hump_width: object = (6.0, 20.0)
    low_angle_scatter: object = 0.0
    waviness: object = (0.0, 0.2)
    background_removed: object = 0.0
    full_scale: object = 0.0

    _plain = ("two_theta", "wavelength", "ka2_wavelength", "radius")
    _limits = {
        "ka2": (0, 1),
        "monochromator": (0, 180),
        "crystallite_size": (5, np.inf),
        "microstrain": (0, 0.1),
        "asymmetry": (0, 1),
        "zero_shift": (-2, 2),
        "displacement": (-5, 5),
        "strain": (0, 0.2),
        "zoning": (0, 0.2),
        "march_parameter": (0.1, 5),
        "line_scatter": (0, 3),
        "impurity": (0, 1),
        "peak_counts": (1e-9, np.inf),
        "line_counts": (0, np.inf),
        "background": (0, np.inf),
        "air": (0, 1),
        "hump": (0, 1),
        "hump_width": (0.1, np.inf),
        "low_angle_scatter": (0, np.inf),
        "waviness": (0, 3),
        "background_removed": (0, 1),
        "full_scale": (0, np.inf),
    }

    def __post_init__(self):
        self.axis()
        for name in ("wavelength", "ka2_wavelength", "radius"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        super().__post_init__()

    def axis(self):
        """Return the angles 2θ in degrees, shape (n_points,)."""
        try:
            start, stop, step = (float(value) for value in self.two_theta)
        except (TypeError, ValueError):
            start, stop, step = (np.nan,) * 3
        if not (0 <= start < stop < 180 and 0 < step < stop - start):
            raise ValueError(
                f"two_theta must be (start, stop, step) within 0 to 180 degrees, got {self.two_theta!r}"
            )
        return start + step * np.arange(int((stop - start) / step + 1e-9) + 1)

    def d_min(self):
        """Return the smallest spacing in Å that the axis reaches."""
        return min(self.wavelength, self.ka2_wavelength) / (2 * np.sin(np.radians(self.axis()[-1] / 2)))

    @classmethod
    def ideal(cls):
        """Make conditions of monochromatic radiation, one narrow Gaussian width, no background."""
        return cls(
            ka2=0.0,
            u=0.0,
            v=0.0,
            w=0.01,
            crystallite_size=np.inf,
            microstrain=0.0,
            asymmetry=0.0,
            zero_shift=0.0,
            displacement=0.0,
            line_scatter=0.0,
            peak_counts=1e6,
            background=0.0,
            air=0.0,
            hump=0.0,
            waviness=0.0,
        )

    @classmethod
    def typical(cls):
        """Make conditions of raw counts from a good sample on a laboratory diffractometer."""
        return cls()

    @classmethod
    def harsh(cls):
        """Make conditions of quick scans of natural samples, as databases publish them.

        Patterns have few counts, texture, strain and lines of a second phase. The background is removed and
        the strongest point is scaled to 1000. The distributions follow the widths, counts, shifts and scatter
        of 301 minerals that the RRUFF project measured.
        """
        return cls(**HARSH)
