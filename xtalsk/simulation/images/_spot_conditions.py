"""Conditions under which spot patterns are recorded."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import loguniform

from xtalsk.simulation._conditions import Sometimes
from xtalsk.simulation.images._conditions import HARSH, IDEAL, MEASURED, ImageConditions


@dataclass(frozen=True, repr=False)
class SpotConditions(ImageConditions):
    """Conditions under which an electron microscope records diffraction patterns of single crystals.

    The first five fields below are fixed values, the same for all images. Each of the others is a number, a
    pair (low, high) for a uniform distribution, `Sometimes` or a scipy.stats distribution; each image gets
    its own number.

    Parameters
    ----------
    image_size : int
        Rows and columns of the image, at least 32.
    q_max : float
        q = 1/d in 1/Å at the edge of the image, measured from its middle to the middle of the edge.
    beam_energy : float
        Beam energy in keV.
    off_center : float
        Largest distance of the beam from the middle of the image along rows and columns, as a share of
        ``image_size``, 0 to 0.25.
    zone_axis : "random", "low_index" or (u, v, w)
        Direction of the beam in the crystal: any direction, a random lattice direction with indices up to 2,
        or the given lattice direction. The azimuth is always random.
    mistilt : distribution
        Angle between beam and zone axis in degrees.
    electrons : distribution
        Expected electrons in the spots and the diffuse scattering, without a beam stop. The electrons of the
        direct beam are added to these.
    thickness_angstrom : distribution
        Thickness of the crystal along the beam in Å. A thin crystal has spots farther from the Ewald sphere.
    precession : distribution
        Precession angle in degrees, 0 for none.
    spot_width : distribution
        Full width at half maximum of spots and direct beam in 1/Å.
    strain, calibration, b_shift, background, background_decay, support, direct_beam, ellipticity, beam_stop
        As in `RingConditions`.
    halo, halo_width, halo_power, glass, needle_stop, penumbra, stop_transmission
        As in `RingConditions`.
    detector : Detector or {"ideal", "typical", "harsh", "measured"}
        Properties of the camera.
    export : Export or {"ideal", "typical", "harsh", "measured"}
        Grey levels and marks of the picture file.

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
        """Make conditions of zone-axis patterns without background on a perfect detector."""
        return cls(**IDEAL, zone_axis="low_index", mistilt=0.0, thickness_angstrom=100.0)

    @classmethod
    def typical(cls):
        """Make conditions of crystals in any orientation in a well-aligned microscope."""
        return cls()

    @classmethod
    def harsh(cls):
        """Make conditions of low doses: strain, haloes of the support, sometimes precession, any camera."""
        return cls(
            **HARSH,
            thickness_angstrom=loguniform(30, 1000),
            precession=Sometimes(0.3, (0.3, 1.5)),
            spot_width=(0.004, 0.04),
        )

    @classmethod
    def measured(cls):
        """Make conditions of images that laboratories share: halo, beam stop, picture file, any camera."""
        return cls(
            **MEASURED,
            thickness_angstrom=loguniform(30, 1000),
            precession=Sometimes(0.3, (0.3, 1.5)),
            spot_width=(0.004, 0.04),
        )
