"""Spot patterns to figures of their lattice and symmetry."""

from xtalsk.diffraction.spots._figures import NAMES, figures
from xtalsk.diffraction.spots._transformer import SpotTransformer


class SpotLattice(SpotTransformer):
    """Figures of the two-dimensional lattice and of the symmetry of single-crystal diffraction patterns.

    The transformer finds the spots and the direct beam, see `locate_spots`, and computes figures that do not
    depend on the in-plane rotation. They describe a pattern along a zone axis, whose spots form a lattice,
    and one of any orientation, whose spots lie on parts of several Laue circles; ``score``,
    ``indexed_spots``, ``chance`` and ``laue_radius`` show which of the two it is.

    Parameters
    ----------
    pixel_size : float or None, default=None
        Width of a pixel in 1/Å, for cells without a calibration.
    center : {"auto", "find", "image"}, default="auto"
        "auto" uses the centre of the cell if it has one, and finds it otherwise. "find" always finds it.
        "image" uses the middle of the image.
    max_offset : float, default=0.2
        Largest distance of the centre from the middle of the image, as a share of its sides.
    mask : array-like of bool of shape (n_rows, n_columns) or None, default=None
        True marks pixels that are excluded from every image.
    geometry : RingGeometry or None, default=None
        Known centre, ellipticity and mask of all images, for example of a scan. Then ``center`` and
        ``max_offset`` have no effect.
    on_error : {"raise", "warn"}, default="raise"
        What to do with a cell that cannot be used. "raise": raise an error. "warn": warn and treat the cell
        as not measured.
    n_jobs : int or None, default=None
        Number of parallel jobs.
    cache : bool, default=False
        Whether to keep the features of each `DiffractionImage` in memory as long as the image exists.

    Attributes
    ----------
    n_features_in_ : int
        1: the column of images.

    Notes
    -----
    Cells are `DiffractionImage` objects, 2-D arrays, HyperSpy or pyxem signals of one image, or paths to
    files that `read_image` can read. A figure that needs more spots than there are is NaN. Lengths are in
    1/Å and given as natural logarithms, angles in degrees. The figures are:

    - ``n_spots``, ``effective_spots``, ``log_mean_q``, ``log_extent``, ``one_sided``: number of spots, the
      number of equal ones, where they are, and how one-sided they are;
    - ``log_a`` to ``hexagonal``: the two shortest vectors of the lattice, a ≤ b, their diagonals and angle
      (60 to 90°), the area, and the distance from special shapes. A centred rectangular lattice is
      ``rhombic``;
    - ``score`` to ``shift``: likelihood against that of random positions, residual, shares of spots and of
      intensity on nodes, share expected by chance, shift of the lattice from the centre; ``second_...`` of
      the best other lattice;
    - ``row_height`` to ``log_row_2``: heights of the Patterson function of the positions and row spacings;
    - ``odd_...``: logarithms of mean intensities of nodes with odd indices relative to those with even ones:
      systematic absences;
    - ``turn_...``, ``mirror...``, ``friedel_...``: shares of spots, and of the root of intensity, that turns
      by 360°/n and mirrors bring to other spots;
    - ``log_q_1``, ``q2_ratio_...``, ``shell_strength_...``, ``log_strong_q_...``, ``strong_angle_...``:
      distances of spots from the beam, smallest first and strongest first, and angles between strong spots;
    - ``laue_radius``, ``laue_residual``: distance in 1/Å of the centre of the Laue circle from the beam,
      thus of the pattern from a zone axis.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.diffraction import SpotLattice
    >>> from xtalsk.io import DiffractionImage
    >>> y, x = np.mgrid[:128, :128]
    >>> image = sum(
    ...     np.exp(-((y - 64 - 12 * k) ** 2 + (x - 64 - 16 * h) ** 2) / 3)
    ...     for h in range(-3, 4)
    ...     for k in range(-4, 5)
    ... )
    >>> lattice = SpotLattice().fit([None])
    >>> features = lattice.transform([DiffractionImage(1000 * image, pixel_size=0.01)])[0]
    >>> figures = dict(zip(lattice.get_feature_names_out(), features.tolist()))
    >>> round(float(np.exp(figures["log_a"])), 3), round(float(np.exp(figures["log_b"])), 3)
    (0.12, 0.16)
    """

    def __init__(
        self,
        *,
        pixel_size=None,
        center="auto",
        max_offset=0.2,
        mask=None,
        geometry=None,
        on_error="raise",
        n_jobs=None,
        cache=False,
    ):
        self.pixel_size = pixel_size
        self.center = center
        self.max_offset = max_offset
        self.mask = mask
        self.geometry = geometry
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.cache = cache

    def _reduce(self, spots):
        return figures(spots)

    def _feature_names(self):
        return list(NAMES)
