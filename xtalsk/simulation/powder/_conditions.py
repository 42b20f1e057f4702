"""How powder patterns are recorded."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import lognorm, loguniform, norm

from xtalsk.simulation._conditions import Conditions, Sometimes


@dataclass(frozen=True, repr=False)
class PowderConditions(Conditions):
    """How a flat-plate diffractometer records powder patterns.

    The first four fields are plain. Each of the others is a number, a pair (low, high) that is drawn
    uniformly for each pattern, `Sometimes` or a scipy.stats distribution.

    Parameters
    ----------
    two_theta : (start, stop, step)
        Axis in degrees; the stop is included where it falls on a step.
    wavelength, ka2_wavelength : float
        Of the Kα1 and Kα2 lines in Å; by default those of copper [1]_.
    radius : float
        Of the goniometer in mm.
    ka2 : distribution
        Intensity of Kα2 relative to Kα1, 0 for monochromatic radiation.
    monochromator : distribution
        Bragg angle 2θ of a crystal monochromator in degrees, 0 for none (graphite and Cu Kα: 26.6).
    u, v, w : distribution
        Caglioti's Gaussian widths of the instrument [2]_: FWHM² = u tan²θ + v tanθ + w in square degrees.
    crystallite_size : distribution
        Of the crystallites in Å (Scherrer's volume-weighted size, K = 0.9), ``inf`` for large ones.
    microstrain : distribution
        Broadens lines by 4 e tanθ, e as a fraction.
    asymmetry : distribution
        Mean of the tail towards low angles that axial divergence makes, in degrees times tan 2θ.
    zero_shift : distribution
        Added to every angle, in degrees.
    displacement : distribution
        Of the sample from the axis in mm; moves lines by -2 s cosθ / R.
    strain : distribution
        Standard deviation of the components of a lattice strain that keeps the symmetry.
    zoning : distribution
        The same of the strain between the two parts of zoned crystals, of which the smaller makes up a tenth
        to a half; it splits or broadens lines.
    b_shift : distribution
        Added to the Debye-Waller factors B = 8π²U, in Å².
    march_parameter : distribution
        March parameter for grains that lie on a low-index plane: 1 for none, below for plates, above for
        needles.
    line_scatter : distribution
        Standard deviation of the logarithm of single line intensities, from too few grains.
    impurity : distribution
        Strongest line of a second phase relative to that of the first; the phase is another crystal of the
        same reflections (there is none where these hold one crystal only).
    peak_counts : distribution
        Expected counts above background at the strongest point.
    line_counts : distribution
        Expected counts above background in all points together, which a fixed time of exposure sets: patterns
        of many or broad lines have low ones. Above 0 it takes the place of ``peak_counts``.
    background : distribution
        Mean background in counts.
    air : distribution
        Share of the background in scattering by air, which falls off from low angles.
    hump : distribution
        Share of the background in the broad peak of amorphous material.
    hump_position, hump_width : distribution
        Of that peak, in degrees.
    low_angle_scatter : distribution
        Scattering near the direct beam, below 7.5 degrees of 2θ, relative to the mean background. A removed
        background does not quite follow it.
    waviness : distribution
        Standard deviation of the logarithm of the background, as a random polynomial of order 4.
    background_removed : distribution
        Probability that the pattern is published with the background taken off.
    full_scale : distribution
        What the strongest point of the published pattern is scaled to before fractions are cut off; 0 keeps
        counts.

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
        """Angles 2θ in degrees, shape (n_points,)."""
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
        """Smallest spacing in Å that the axis reaches."""
        return min(self.wavelength, self.ka2_wavelength) / (2 * np.sin(np.radians(self.axis()[-1] / 2)))

    @classmethod
    def ideal(cls):
        """Make those of monochromatic radiation, one narrow Gaussian width, no background, many counts."""
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
        """Make those of raw counts of a good sample on a laboratory diffractometer."""
        return cls()

    @classmethod
    def harsh(cls):
        """Make those of quick scans of natural samples as databases publish them.

        Few counts, texture, strain and foreign lines; the background is taken off and the rest scaled to
        1000. Its distributions follow the appearance (widths, counts, shifts, scatter) of 301 measured
        minerals of the RRUFF project.
        """
        return cls(
            two_theta=(5.0, 90.0, 0.01),
            ka2=norm(0.49, 0.03),
            u=0.0,
            v=0.0,
            w=lognorm(s=0.6, scale=5e-4),
            crystallite_size=lognorm(s=0.5, scale=2300),
            microstrain=loguniform(2e-5, 1.5e-3),
            asymmetry=(0.003, 0.01),
            zero_shift=norm(0.048, 0.025),
            displacement=norm(0.0, 0.02),
            strain=Sometimes(0.3, (0.0, 0.004), otherwise=0.0006),
            zoning=loguniform(2e-4, 5e-3),
            b_shift=(0.0, 1.0),
            march_parameter=Sometimes(0.6, loguniform(0.35, 1.5), otherwise=1.0),
            line_scatter=loguniform(0.1, 0.6),
            impurity=Sometimes(0.6, loguniform(0.01, 0.25)),
            line_counts=lognorm(s=0.95, scale=65000),
            background=lognorm(s=0.85, scale=31),
            air=(0.0, 0.06),
            hump=(0.0, 0.05),
            hump_position=(30.0, 50.0),
            hump_width=(20.0, 50.0),
            low_angle_scatter=lognorm(s=0.6, scale=0.35),
            waviness=(0.0, 0.4),
            background_removed=1.0,
            full_scale=1000.0,
        )
