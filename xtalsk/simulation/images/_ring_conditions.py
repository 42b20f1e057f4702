"""Conditions under which ring images are recorded."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import loguniform

from xtalsk.simulation._conditions import Sometimes
from xtalsk.simulation.images._conditions import HARSH, IDEAL, MEASURED, ImageConditions
from xtalsk.simulation.images._constants import LARGEST_EXTINCTION


@dataclass(frozen=True, repr=False)
class RingConditions(ImageConditions):
    """Conditions under which an electron microscope records ring images of a polycrystal.

    The first four fields are fixed values, the same for all images. Each of the others is a number, a pair
    (low, high) for a uniform distribution, `Sometimes` or a scipy.stats distribution; each image gets its own
    number.

    Parameters
    ----------
    image_size : int
        Rows and columns of the image, at least 32.
    q_max : float
        q = 1/d in 1/Å at the edge of the image, measured from its middle to the middle of the edge. For a
        known camera length it is ``image_size / 2 * camera_pixel_size(…)``, see `from_camera`.
    beam_energy : float
        Beam energy in keV. It changes the positions of rings a little, because the radius on the screen is
        proportional to tan(2θ) / λ.
    off_center : float
        Largest distance of the beam from the middle of the image along rows and columns, as a share of
        ``image_size``, 0 to 0.25.
    electrons : distribution
        Expected electrons in the rings and the diffuse scattering of the whole image, without a beam stop.
        The electrons of the direct beam are added to these.
    ring_width : distribution
        Full width at half maximum of the rings in 1/Å, from grain size and beam convergence.
    eta : distribution
        Lorentzian share of the shape of the rings, 0 to 1.
    n_grains : distribution
        Number of grains in the beam, ``inf`` for smooth rings. Few grains make spotty rings.
    grain_spread : distribution
        Standard deviation of the logarithm of the volumes of the grains, which are log-normal; 0 for equal
        grains. Three times that of the diameters. It is used with ``n_grains``.
    grain_share : distribution
        Share of the intensity of the ``n_grains``, 0 to 1. The rest comes from grains too fine to be seen
        singly: a few large grains among many small ones.
    thickness_angstrom : distribution
        Thickness of the grains along the beam in Å; it is used with ``n_grains``. Thin grains are excited in
        a wider range of orientations.
    march_parameter : distribution
        March parameter of a fibre texture about the normal of a low-index plane, 0.1 to 3: 1 for none, below
        1 for plates that lie flat. At 0.25, half of the plane normals are within 12 degrees of the axis.
    texture_share : distribution
        Share of the grains that have the texture, 0 to 1; the others have random orientations.
    texture_tilt : distribution
        Angle between the fibre axis and the beam in degrees. With a tilt, a texture turns rings into arcs.
    dynamical : distribution
        Dynamical scattering, 0 for none: π times the thickness of the grains over the extinction distance of
        the strongest reflection, 0 to 20, see [1]_. Above 1, weak rings are stronger than |F|² says.
    double_diffraction : distribution
        Share of the intensity of the rings that was diffracted twice in one grain, 0 to 1, see [3]_. It adds
        rings at sums of two reflections, such as those that a screw axis forbids.
    strain : distribution
        Standard deviation of the components of a lattice strain that keeps the symmetry, a fraction.
    calibration : distribution
        Relative error of the camera length.
    b_shift : distribution
        Change of the Debye-Waller factors B = 8π²U, in Å².
    background : distribution
        Share of the electrons within ``q_max`` that is diffuse, 0 to 1, for grains without texture.
    background_decay : distribution
        Decay length of the diffuse scattering in 1/Å.
    halo : distribution
        Share of the decreasing diffuse scattering in a steep halo about the direct beam, 0 to 1.
    halo_width, halo_power : distribution
        Width w in 1/Å and exponent p of this halo, which is (1 + (q / w)²)^-p: 1 for inelastic scattering
        [2]_, up to 3 for a beam spread by optics and camera.
    support : distribution
        Share of the diffuse scattering in the haloes of an amorphous film, 0 to 1.
    glass : distribution
        Share of the film that is silica glass instead of carbon, 0 to 1.
    direct_beam : distribution
        Electrons of the direct beam on the detector, relative to ``electrons``.
    beam_width : distribution
        Full width at half maximum of the direct beam in 1/Å.
    ellipticity : distribution
        Ratio of the axes of the rings minus one; the azimuth is random.
    beam_stop : distribution
        Probability of a beam stop, 0 to 1: an opaque disc on an arm, close to the beam.
    needle_stop : distribution
        Probability that a beam stop is a needle that widens to a blade, or a bar, 0 to 1.
    penumbra : distribution
        Width of the edge of the beam stop, as a share of the image size, 0 to 0.5.
    stop_transmission : distribution
        Share of the electrons behind the beam stop that the camera still records, 0 to 1.
    detector : Detector or {"ideal", "typical", "harsh", "measured"}
        Properties of the camera.
    export : Export or {"ideal", "typical", "harsh", "measured"}
        Grey levels and marks of the picture file.

    Raises
    ------
    ValueError
        If a field is out of range.

    References
    ----------
    .. [1] M. Blackman, Proc. R. Soc. Lond. A 173 (1939) 68.
    .. [2] R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope (2011), equation 3.32.
    .. [3] J. M. Cowley, A. L. G. Rees, J. A. Spink, Proc. Phys. Soc. A 64 (1951) 609.

    Examples
    --------
    >>> from xtalsk.simulation import RingConditions
    >>> conditions = RingConditions(image_size=128, electrons=(1e3, 1e5), march_parameter=0.6)
    >>> conditions.draw(2, random_state=0)["electrons"].round().tolist()
    [55333.0, 71804.0]
    >>> camera = RingConditions.from_camera(beam_energy=200, camera_length=500, pixel_pitch=55)
    >>> round(float(camera.q_max), 3)
    0.561
    """

    ring_width: object = (0.006, 0.015)
    eta: object = (0.2, 0.6)
    n_grains: object = np.inf
    grain_spread: object = 0.0
    grain_share: object = 1.0
    thickness_angstrom: object = 100.0
    march_parameter: object = 1.0
    texture_share: object = 1.0
    texture_tilt: object = 0.0
    dynamical: object = 0.0
    beam_width: object = (0.01, 0.03)
    double_diffraction: object = 0.0

    _limits = ImageConditions._limits | {
        "ring_width": (1e-6, np.inf),
        "eta": (0, 1),
        "n_grains": (1, np.inf),
        "grain_spread": (0, 3),
        "grain_share": (0, 1),
        "thickness_angstrom": (1, 1e5),
        "march_parameter": (0.1, 3),
        "texture_share": (0, 1),
        "dynamical": (0, LARGEST_EXTINCTION),
        "double_diffraction": (0, 1),
        "texture_tilt": (0, 90),
        "beam_width": (1e-6, np.inf),
    }

    @classmethod
    def ideal(cls):
        """Make conditions of sharp concentric rings without background on a perfect detector."""
        return cls(**IDEAL, ring_width=0.008, eta=0.0)

    @classmethod
    def typical(cls):
        """Make conditions of a well-aligned microscope and a good polycrystal."""
        return cls()

    @classmethod
    def harsh(cls):
        """Make conditions of low doses: few or textured grains, strain, haloes of the support, any camera."""
        return cls(
            **HARSH,
            ring_width=(0.004, 0.03),
            eta=(0.0, 1.0),
            n_grains=Sometimes(0.5, loguniform(100, 5000), otherwise=np.inf),
            thickness_angstrom=(50.0, 300.0),
            march_parameter=Sometimes(0.4, (0.4, 1.0), otherwise=1.0),
            texture_tilt=Sometimes(0.3, (0.0, 45.0)),
        )

    @classmethod
    def measured(cls):
        """Make conditions of images that laboratories share: halo, beam stop, picture file, any grains."""
        return cls(
            **MEASURED,
            ring_width=(0.01, 0.055),
            eta=(0.0, 1.0),
            n_grains=Sometimes(0.5, loguniform(10, 2000), otherwise=np.inf),
            grain_spread=(0.0, 2.0),
            grain_share=Sometimes(0.6, (0.1, 1.0), otherwise=1.0),
            thickness_angstrom=(50.0, 300.0),
            march_parameter=Sometimes(0.3, (0.12, 1.0), otherwise=1.0),
            texture_share=Sometimes(0.5, (0.3, 1.0), otherwise=1.0),
            texture_tilt=Sometimes(0.3, (0.0, 45.0)),
            dynamical=Sometimes(0.5, (0.0, 4.0)),
            beam_width=loguniform(0.01, 0.08),
        )
