"""Figure of the identification of one specimen."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from sklearn.utils import check_scalar

from xtalsk.inspection._answer import best_candidates, lines_of, probabilities_by_level
from xtalsk.inspection._layout import FONT, MAX_CANDIDATES, make_axes
from xtalsk.inspection._panels import (
    best_labels,
    draw_image,
    draw_levels,
    draw_lines,
    draw_profile,
    draw_scan,
)
from xtalsk.inspection._specimen import find_profiles, read_row, reduce_cell
from xtalsk.io import DiffractionImage
from xtalsk.utils import check_option

_WIDTHS = ("page", "column")


class IdentificationDisplay:
    """Figure of one specimen and of its identification.

    - The image of rings, with the direct beam as a cross and the pixels that are not used in blue. On its
      right half, the rings of the best candidate, with the ellipticity that was found. A powder scan has no
      such panel.
    - The profile against q that the classifier sees, or the powder scan as it was measured. What was not
      used is shaded.
    - The lines of the best candidates below, as in figures of Rietveld refinements: at the scale that the
      library found, and the higher the stronger. Entries of one mineral and one symmetry count once.
    - The probabilities of the crystal system, the point group and the space group.

    Use `from_estimator` to make it.

    Parameters
    ----------
    cell : DiffractionImage or Profile
        The image, or the powder scan.
    q : ndarray of shape (n_bins,)
        Middle of each bin of the profile in 1/Å.
    profile : ndarray of shape (n_bins,)
        Compressed intensity; NaN where it was not used.
    probabilities : dict of {str: Series}
        Probabilities of the labels of each level, from high to low.
    candidates : DataFrame
        Best entries of the library, from `xtalsk.library.LibraryMatch.candidates`. It may be empty.
    lines : list of (ndarray, ndarray) or None
        For each candidate, q in 1/Å and relative intensity of its lines; None if they are not known.
    geometry : RingGeometry or None
        Direct beam, ellipticity and mask of an image.
    scale : {"sqrt", "log", "linear"}, default="sqrt"
        Compression of the profile.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure of the drawing.
    axes_ : dict of {str: matplotlib Axes}
        ``"image"`` (rings only), ``"profile"``, ``"lines"`` (with candidates), and one for each level.

    See Also
    --------
    xtalsk.library.LibraryMatch : Search-match, which finds the candidates.
    ComparisonDisplay : Figure of a comparison of models.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk import LibraryMatch, RadialProfile, load_amcsd, make_features
    >>> from xtalsk import make_library, make_specimens
    >>> from xtalsk.inspection import IdentificationDisplay
    >>> minerals = load_amcsd()[:20]
    >>> features = make_features(diffraction=("rings", RadialProfile()))
    >>> pipeline = make_pipeline(features, LibraryMatch().fit(*make_library(minerals, features)))
    >>> X, y, _ = make_specimens(minerals[:1], "rings", electrons=1e6, random_state=0)
    >>> display = IdentificationDisplay.from_estimator(pipeline, X["rings"][0], crystals=minerals)
    >>> display.candidates.loc[0, "mineral"], list(display.axes_)
    ('Galena', ['image', 'profile', 'lines', 'crystal_system', 'point_group', 'space_group'])
    """

    def __init__(self, cell, *, q, profile, probabilities, candidates, lines, geometry=None, scale="sqrt"):
        self.cell = cell
        self.q = q
        self.profile = profile
        self.probabilities = probabilities
        self.candidates = candidates
        self.lines = lines
        self.geometry = geometry
        self.scale = scale

    @classmethod
    def from_estimator(
        cls, pipeline, specimen, *, crystals=None, n_candidates=3, n_labels=4, width="page", ax=None
    ):
        """Identify one specimen and draw it.

        Parameters
        ----------
        pipeline : Pipeline
            Fitted: features with a `RadialProfile` or a `PowderProfile`, then a classifier. Candidates are
            drawn for `LibraryMatch` and `LibraryBlend`.
        specimen : DiffractionImage, Profile, path, dict, Series or DataFrame of one row
            The cell of the image or the scan alone, or a row with all that was measured, such as
            ``{"rings": image, "formula": "Ni25O25C30Cu20"}``.
        crystals : CrystalSet or None, default=None
            Crystals of the library, found by their ``ids``. None takes those of `load_amcsd` and
            `load_experimental`, which are the library of the packaged pipelines.
        n_candidates : int, default=3
            Number of candidates, 0 to 5.
        n_labels : int, default=4
            Largest number of bars of each level, 1 to 10.
        width : {"page", "column"}, default="page"
            Width of a new figure: 180 mm or 85 mm.
        ax : matplotlib Axes or None, default=None
            Where to draw: the panels take its place. None makes a new figure.

        Returns
        -------
        IdentificationDisplay

        Raises
        ------
        ValueError
            If the pipeline or the specimen is none of these, if the cell cannot be used or holds nothing, or
            if a parameter is out of range.

        Warns
        -----
        UserWarning
            If an entry of the library has no crystal in ``crystals``: it has no lines.
        """
        check_scalar(n_candidates, "n_candidates", int, min_val=0, max_val=MAX_CANDIDATES)
        check_plot(n_labels, width, ax)
        columns, profiles = find_profiles(pipeline)
        X, column, cell = read_row(specimen, columns, profiles)
        transformer = profiles[column]
        cell, profile, geometry = reduce_cell(transformer, cell)
        features, classifier = pipeline[:-1].transform(X), pipeline[-1]
        candidates = best_candidates(classifier, features, n_candidates)
        wavelength = None if geometry is not None else cell.wavelength or "xray"
        display = cls(
            cell,
            q=transformer.q_,
            profile=profile,
            probabilities=probabilities_by_level(classifier, features),
            candidates=candidates,
            lines=lines_of(candidates, crystals, transformer.q_range[1], wavelength),
            geometry=geometry,
            scale=transformer.scale,
        )
        return display.plot(n_labels=n_labels, width=width, ax=ax)

    def plot(self, ax=None, *, n_labels=4, width="page"):
        """Draw the figure.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw: the panels take its place. None makes a new figure.
        n_labels : int, default=4
            Largest number of bars of each level, 1 to 10.
        width : {"page", "column"}, default="page"
            Width of a new figure: 180 mm or 85 mm. With ``ax``, its width decides.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        check_plot(n_labels, width, ax)
        best = best_labels(self.probabilities, n_labels)
        n_bars = max(map(len, best.values()))
        with mpl.rc_context(FONT):
            axes = make_axes(ax, width, self._is_image(), len(self.candidates), list(best), n_bars)
            if self._is_image():
                draw_image(axes["image"], self.cell, self.geometry, self.lines)
                draw_profile(axes["profile"], self.q, self.profile, self.scale)
            else:
                half_bin = (self.q[1] - self.q[0]) / 2
                ends = self.q[[0, -1]] + [-half_bin, half_bin]
                draw_scan(axes["profile"], self.cell, self._to_axis(ends))
            if "lines" in axes:
                draw_lines(axes, self.candidates, self.lines, self._to_axis, "space_group" in axes)
            draw_levels(axes, best)
        self.axes_, self.figure_ = axes, axes["profile"].figure
        return self

    def _is_image(self):
        return isinstance(self.cell, DiffractionImage)

    def _to_axis(self, q):
        """Return q in 1/Å in the units of the axis of the drawing: those of the cell for a scan."""
        if self._is_image() or self.cell.two_theta is None:
            return q
        return 2 * np.degrees(np.arcsin(np.minimum(q * self.cell.wavelength / 2, 1)))


def check_plot(n_labels, width, ax):
    """Raise ValueError or TypeError if a parameter of `IdentificationDisplay.plot` is out of range."""
    check_scalar(n_labels, "n_labels", int, min_val=1, max_val=10)
    check_option("width", width, _WIDTHS)
    if ax is not None and not (isinstance(ax, Axes) and ax.get_subplotspec() is not None):
        raise ValueError(f"ax must be Axes made by plt.subplots or None, got {type(ax).__name__}")
