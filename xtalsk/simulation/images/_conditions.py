"""Conditions that ring and spot images have in common."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import loguniform

from xtalsk.physics._electrons import camera_pixel_size, electron_wavelength
from xtalsk.simulation._conditions import Conditions, Sometimes, check_conditions
from xtalsk.simulation.images._detector import Detector
from xtalsk.simulation.images._export import Export

# Fields of the presets of ring and spot images. How the harsh distributions were chosen is not recorded.
IDEAL = {
    "off_center": 0.0,
    "background": 0.0,
    "direct_beam": 0.0,
    "ellipticity": 0.0,
    "beam_stop": 0.0,
    "detector": Detector.ideal(),
}

HARSH = {
    "off_center": 0.08,
    "electrons": loguniform(3e3, 1e6),
    "strain": Sometimes(0.7, (0.0, 0.01)),
    "calibration": (-0.02, 0.02),
    "b_shift": (0.0, 1.0),
    "background": (0.2, 0.9),
    "background_decay": (0.08, 0.5),
    "support": Sometimes(0.5, (0.0, 0.7)),
    "direct_beam": (0.0, 1.0),
    "ellipticity": (0.0, 0.04),
    "detector": Detector.harsh(),
}

# Fields of the presets "measured": chosen so that trees hardly distinguish simulated from eleven measured
# ring images of nine specimens (`python benchmarks/bench_gap.py FOLDER`).
MEASURED = {
    "off_center": 0.08,
    "electrons": loguniform(2e4, 5e8),
    "strain": Sometimes(0.5, (0.0, 0.01)),
    "calibration": (-0.05, 0.05),
    "b_shift": (0.0, 1.0),
    "background": (0.3, 0.97),
    "background_decay": (0.08, 0.5),
    "halo": Sometimes(0.8, (0.0, 0.8)),
    "halo_width": loguniform(0.02, 0.2),
    "halo_power": (1.0, 3.0),
    "support": Sometimes(0.5, (0.0, 0.6)),
    "glass": Sometimes(0.15, (0.2, 1.0)),
    "direct_beam": loguniform(0.01, 3.0),
    "ellipticity": (0.0, 0.04),
    "beam_stop": 0.8,
    "needle_stop": 0.85,
    "penumbra": Sometimes(0.8, loguniform(0.002, 0.03)),
    "stop_transmission": Sometimes(0.5, loguniform(0.002, 0.1)),
    "detector": Detector.measured(),
    "export": Export.measured(),
}


@dataclass(frozen=True, repr=False)
class ImageConditions(Conditions):
    """Base class of `RingConditions` and `SpotConditions`, which describe the fields."""

    image_size: int = 256
    q_max: float = 1.0
    beam_energy: float = 200.0
    off_center: float = 0.05
    electrons: object = 1e5
    strain: object = 0.0
    calibration: object = 0.0
    b_shift: object = 0.0
    background: object = (0.2, 0.6)
    background_decay: object = (0.12, 0.4)
    halo: object = 0.0
    halo_width: object = 0.05
    halo_power: object = 2.0
    support: object = 0.0
    glass: object = 0.0
    direct_beam: object = (0.02, 0.2)
    ellipticity: object = (0.0, 0.02)
    beam_stop: object = 0.5
    needle_stop: object = 0.0
    penumbra: object = 0.0
    stop_transmission: object = 0.0
    detector: Detector = Detector()  # noqa: RUF009
    export: Export = Export()  # noqa: RUF009

    _plain = ("image_size", "q_max", "beam_energy", "off_center")
    _limits = {
        "electrons": (1e-9, 1e12),
        "strain": (0, 0.2),
        "calibration": (-0.5, 0.5),
        "background": (0, 1),
        "background_decay": (1e-6, np.inf),
        "halo": (0, 1),
        "halo_width": (1e-6, np.inf),
        "halo_power": (0.5, 10),
        "support": (0, 1),
        "glass": (0, 1),
        "direct_beam": (0, np.inf),
        "ellipticity": (0, 1),
        "beam_stop": (0, 1),
        "needle_stop": (0, 1),
        "penumbra": (0, 0.5),
        "stop_transmission": (0, 1),
    }

    def __post_init__(self):
        if not (isinstance(self.image_size, int | np.integer) and self.image_size >= 32):
            raise ValueError(f"image_size must be an integer of at least 32 pixels, got {self.image_size!r}")
        if not (np.isfinite(self.q_max) and self.q_max > 0):
            raise ValueError(f"q_max must be a positive number of 1/Å, got {self.q_max!r}")
        if not 0 <= self.off_center <= 0.25:
            raise ValueError(f"off_center must be a share from 0 to 0.25, got {self.off_center!r}")
        electron_wavelength(self.beam_energy)
        object.__setattr__(self, "detector", check_conditions(self.detector, Detector, "detector"))
        object.__setattr__(self, "export", check_conditions(self.export, Export, "export"))
        super().__post_init__()

    @classmethod
    def from_camera(cls, *, beam_energy, camera_length, pixel_pitch, image_size=256, **fields):
        """Make conditions for a known camera length.

        Parameters
        ----------
        beam_energy : float
            Beam energy in keV.
        camera_length : float
            Camera length in mm.
        pixel_pitch : float
            Distance of neighbouring pixels on the detector in µm.
        image_size : int
            Rows and columns of the image.
        **fields
            The other fields of the conditions.

        Returns
        -------
        RingConditions or SpotConditions
        """
        q_max = image_size / 2 * float(camera_pixel_size(beam_energy, camera_length, pixel_pitch))
        return cls(image_size=image_size, q_max=q_max, beam_energy=beam_energy, **fields)
