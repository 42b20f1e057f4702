"""How spot patterns are recorded."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import loguniform

from xtalsk.simulation._conditions import Sometimes
from xtalsk.simulation.images._conditions import HARSH, IDEAL, ImageConditions


@dataclass(frozen=True, repr=False)
class SpotConditions(ImageConditions):
    """How diffraction patterns of single crystals are recorded in an electron microscope.

    The first five fields below are plain. Each of the others is a number, a pair (low, high) that is drawn
    uniformly for each image, `Sometimes` or a scipy.stats distribution.

    Parameters
    ----------
    image_size : int
        Rows and columns of the image, at least 32.
    q_max : float
        q = 1/d in 1/Å from the middle of the image to the middle of its edge.
    beam_energy : float
        In keV.
    off_center : float
        Largest distance of the beam from the middle of the image along rows and columns, as a share of the
        width, 0 to 0.25.
    zone_axis : "random", "low_index" or (u, v, w)
        Orientation of the beam: anywhere, along a random lattice direction of indices up to 2, or along the
        given one; the azimuth is always random.
    mistilt : distribution
        Angle between beam and zone axis in degrees.
    electrons : distribution
        Expected electrons in the spots and the diffuse scattering, without a beam stop. The direct beam comes
        on top.
    thickness_angstrom : distribution
        Of the crystal along the beam in Å; a thin crystal excites spots far off the Ewald sphere.
    precession : distribution
        Precession angle in degrees, 0 for a resting beam.
    spot_width : distribution
        Full width at half maximum of spots and direct beam in 1/Å.
    strain, calibration, b_shift, background, background_decay, support, direct_beam, ellipticity, beam_stop
        As in `RingConditions`.
    detector : Detector or {"ideal", "typical", "harsh"}

    Raises
    ------
    ValueError
        If a field is out of range.

    Examples
    --------
    >>> from xtalsk.simulation import SpotConditions
    >>> SpotConditions(zone_axis=(1, 1, 0), precession=1.0).draw(1, random_state=0)["precession"].item()
    1.0
    """

    zone_axis: object = "random"
    mistilt: object = (0.0, 0.5)
    thickness_angstrom: object = (50.0, 500.0)
    precession: object = 0.0
    spot_width: object = (0.008, 0.02)

    _plain = (*ImageConditions._plain, "zone_axis")
    _limits = ImageConditions._limits | {
        "mistilt": (0, 90),
        "thickness_angstrom": (1, 1e5),
        "precession": (0, 10),
        "spot_width": (1e-6, np.inf),
    }

    def __post_init__(self):
        if not (isinstance(self.zone_axis, str) and self.zone_axis in ("random", "low_index")):
            axis = np.asarray(self.zone_axis)
            if axis.shape != (3,) or axis.dtype.kind not in "iuf" or not axis.any():
                raise ValueError(
                    f"zone_axis must be 'random', 'low_index' or three indices, got {self.zone_axis!r}"
                )
        super().__post_init__()

    @classmethod
    def ideal(cls):
        """Make those of zone-axis patterns without background on a perfect detector."""
        return cls(**IDEAL, zone_axis="low_index", mistilt=0.0, thickness_angstrom=100.0)

    @classmethod
    def typical(cls):
        """Make those of crystals in any orientation in a well-aligned microscope."""
        return cls()

    @classmethod
    def harsh(cls):
        """Make those of low doses, sometimes precessed: strain, haloes of the support, any camera."""
        return cls(
            **HARSH,
            thickness_angstrom=loguniform(30, 1000),
            precession=Sometimes(0.3, (0.3, 1.5)),
            spot_width=(0.004, 0.04),
        )
