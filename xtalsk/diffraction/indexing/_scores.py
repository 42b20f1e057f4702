"""Profiles to figures of merit of lattices."""

import numbers
import re
import warnings

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk.diffraction._checks import check_q_range
from xtalsk.diffraction._powder import PowderProfile
from xtalsk.diffraction._radial import RadialProfile
from xtalsk.diffraction.indexing._cell_table import cell_table
from xtalsk.diffraction.indexing._constants import MAX_FIRST_LINE, MAX_Q, MAX_ZERO_SHIFT, MIN_LAST_LINE
from xtalsk.diffraction.indexing._functional import figure_names, lattice_cells, lattice_figures
from xtalsk.diffraction.indexing._tables import Options
from xtalsk.utils import check_number, check_option

_CHUNK = 128  # profiles per batch


def _default_ranges():
    """Ranges of q of the default transformers, {(number of bins, number of the first bin): q_range}."""
    ranges = {}
    for transformer in (PowderProfile(), RadialProfile()):
        transformer.fit([None])
        first = int(re.search(r"\d+", transformer.get_feature_names_out()[0])[0])
        ranges[transformer.n_bins, first] = transformer.q_range
    return ranges


def _infer_range(n_bins, names):
    """Range of q, in 1/Å, of profiles from `PowderProfile` or `RadialProfile` with default parameters."""
    defaults = _default_ranges()
    if names is None:
        q_range = next((q_range for (n, _), q_range in defaults.items() if n == n_bins), None)
        if q_range is not None:
            warnings.warn(
                f"columns without names: {n_bins} bins are taken as q = {q_range[0]} to {q_range[1]} 1/Å, "
                "the default range of this number; give q_range, or use set_output(transform='pandas')",
                UserWarning,
                stacklevel=4,
            )
    else:
        q_range = defaults.get((n_bins, _first_number(names)))
    if q_range is None:
        raise ValueError(
            f"the q of the {n_bins} columns is unknown, because they are not the default columns of "
            "PowderProfile or RadialProfile: give q_range, the ends of the bins in 1/Å"
        )
    return q_range


def _first_number(names):
    """Return the number of the first bin from names of consecutive bins ``q_0000``, or None."""
    numbers = [re.fullmatch(r"(?:.*__)?q_(\d+)", str(name)) for name in names]
    if not all(numbers):
        return None
    numbers = [int(number[1]) for number in numbers]
    return numbers[0] if numbers == list(range(numbers[0], numbers[0] + len(numbers))) else None


def _check_names(q_range, names):
    """Raise ValueError if a range of q contradicts the names of its bins, which count bins from q = 0."""
    first = _first_number(names)
    step = (q_range[1] - q_range[0]) / len(names)
    expected = round(q_range[0] / step)
    if first is not None and first != expected:
        raise ValueError(
            f"q_range={q_range} does not fit the names of the {len(names)} columns: bins are numbered from "
            f"q = 0, so that the first one would be q_{expected:04d}, but it is {names[0]}. Give the q_range "
            "of the transformer that made the columns"
        )


def profile_range(q_range, n_bins, names):
    """Return the ends of the bins of profiles in 1/Å: ``q_range`` after a check, or those of default columns.

    Parameters
    ----------
    q_range : (float, float) or None
    n_bins : int
    names : ndarray of str, or None
        Names of the columns, if they have names.

    Raises
    ------
    ValueError
        If ``q_range`` is None and the columns are not default columns, or if it does not fit their names.
    """
    if q_range is None:
        return _infer_range(n_bins, names)
    q_range = check_q_range(q_range)
    if names is not None:
        _check_names(q_range, names)
    return q_range


def _check_lines(q_first, q_last, q_range):
    """Warn if the first lines of profiles are where no crystal has them: the range of q is wrong then.

    ``q_first``, ``q_last`` (n,) in 1/Å are the first line and the last indexed one; 0 without lines.
    """
    q_first, q_last = np.median(q_first), np.median(q_last)
    if q_range[1] > MAX_Q:
        problem = f"the range ends at q = {q_range[1]:g} 1/Å, d = {1 / q_range[1]:.2f} Å"
    elif q_range[0] < MAX_FIRST_LINE / 2 and q_first > MAX_FIRST_LINE:
        problem = f"the first lines lie at d = {1 / q_first:.2f} Å, but crystals have lines of larger d"
    elif 0 < q_last < MIN_LAST_LINE:
        problem = f"all lines lie above d = {1 / q_last:.0f} Å"
    else:
        return
    warnings.warn(
        f"IndexingScores: q_range={q_range} is doubtful: {problem}. q is 1/d in 1/Å, not 2π/d, not 1/nm",
        UserWarning,
        stacklevel=3,
    )


class IndexingScores(TransformerMixin, BaseEstimator):
    """Figures of merit of the lattices that explain the lines of a profile.

    The transformer finds the cell that explains the 20 lowest lines best, for each of these lattice types:
    cubic P, I and F, tetragonal P and I, hexagonal P and R, orthorhombic P, C, I and F, monoclinic P and C,
    triclinic P. A few lines may be foreign. The cell is refined together with a shift of the zero. The input
    is a table of features of `PowderProfile` or `RadialProfile`, in a pipeline.

    Parameters
    ----------
    q_range : (float, float) or None, default=None
        Ends of the bins in 1/Å. None takes the default range of `PowderProfile` or `RadialProfile`, according
        to the number and the names of the columns. Columns without names give a warning, other columns an
        error. Names of columns such as ``q_0047`` number the bins from q = 0: a range that does not fit them
        is an error.
    tolerance : float or None, default=None
        Largest distance in 1/Å between an observed and a calculated line in the search; None for one bin.
        After the refinement the largest distance is three fifths of it.
    triclinic : bool, default=True
        Whether to search for triclinic lattices. It takes a third of the time, and adds seven columns, which
        name the crystal system of a few more harsh patterns. The margins of the other systems then count the
        triclinic cell among their rivals.
    deep : bool, default=False
        Whether to try twice as many assignments of indices to lines for monoclinic lattices. It finds 2% more
        of them on ideal patterns, names no more crystal systems, and takes a fifth more time.
    zero_shift : float or None, default=None
        Largest error of the zero of q in 1/Å. None allows for one bin, in the refinement only. A larger
        number indexes each pattern at several trial shifts, 1.5 bins apart, and keeps the shift of highest
        evidence: the time grows by their number. An error of 0.1° of the zero of 2θ, for Cu Kα, is
        0.0011 1/Å at low angles.
    lenient : bool, default=False
        Whether to index each pattern a second time, with weaker lines among the 20. The figures of these
        lines have columns of their own with the prefix ``lenient_``, and the time doubles. With them, trees
        name the crystal system of 1 to 2% more patterns.
    absences : bool, default=False
        Whether to add the log-probability of each of the 97 extinction groups
        (`xtalsk.symmetry.extinction_group`), e.g. ``extinction_14``, from the absent lines of the best cells.
        It takes a tenth more time.
    n_jobs : int or None, default=None
        Number of parallel jobs.

    Attributes
    ----------
    q_range_ : (float, float)
        Ends of the bins in 1/Å.
    n_features_in_ : int
        Number of bins.
    feature_names_in_ : ndarray of str
        Names of the columns, if they have names.

    Notes
    -----
    Each lattice type has these columns, with names such as ``cubic_p_log_m20``:

    - ``evidence``: log-likelihood ratio against chance that so many lines are explained and so many
      calculated lines are observed, less a price for each parameter of the cell;
    - ``log_m20``: logarithm of de Wolff's figure of merit [1]_ for the lines of the profile, 20 or fewer;
    - ``explained``, ``explained_intensity``: share of the lines that the cell explains, by number and by
      intensity;
    - ``observed``: share of the calculated lines that are observed;
    - ``log_volume``: logarithm of the volume of the conventional cell in Å³.

    They are 0 for types without a cell, e.g. if there are too few lines.

    Each crystal system has the column ``margin``: its evidence less the highest evidence of the other
    systems. Further columns give the observed share of the lines that a screw axis or a glide plane forbids,
    for the best primitive cell, and the numbers and positions of the lines. A row of NaN (not measured) gives
    a row of NaN.

    Between the steps of a pipeline, columns lose their names unless `set_output(transform="pandas")` is used.
    ``q_range`` is then taken as it is given: a range that is not that of the transformer before scales all
    cells by a factor, and only ranges that no crystal fits give a warning.

    The search is dense for cells of one and two parameters. For ideal patterns of minerals, the candidates
    include about 90% of the orthorhombic and half of the monoclinic cells. Triclinic cells follow from zones
    [2]_ [3]_: two low lines and a third one give a plane of the reciprocal lattice, two planes with a common
    line and one more line give a cell.

    References
    ----------
    .. [1] P. M. de Wolff, J. Appl. Cryst. 1, 108 (1968).
    .. [2] T. Ito, Nature 164, 755 (1949).
    .. [3] P. M. de Wolff, Acta Cryst. 11, 664 (1958).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk.diffraction import IndexingScores, PowderProfile
    >>> from xtalsk.io import Profile
    >>> q = np.arange(0.06, 1.0, 0.0005)
    >>> salt = np.sqrt([3, 4, 8, 11, 12, 16, 19, 20, 24]) / 5.64
    >>> scan = Profile(np.exp(-(((q[:, np.newaxis] - salt) / 0.002) ** 2)).sum(axis=1), q=q)
    >>> lattice = make_pipeline(PowderProfile(), IndexingScores()).set_output(transform="pandas")
    >>> figures = lattice.fit_transform([scan]).iloc[0]
    >>> bool(figures["cubic_margin"] > 0)
    True
    >>> round(float(np.exp(figures["cubic_f_log_volume"]) ** (1 / 3)), 2)
    5.64
    """

    # Of transformers that were saved before the parameters existed.
    triclinic = False
    deep = False
    zero_shift = None
    lenient = False
    absences = False

    def __init__(
        self,
        q_range=None,
        *,
        tolerance=None,
        triclinic=True,
        deep=False,
        zero_shift=None,
        lenient=False,
        absences=False,
        n_jobs=None,
    ):
        self.q_range = q_range
        self.tolerance = tolerance
        self.triclinic = triclinic
        self.deep = deep
        self.zero_shift = zero_shift
        self.lenient = lenient
        self.absences = absences
        self.n_jobs = n_jobs

    def fit(self, X, y=None):
        """Check the parameters and set the range of q. Nothing else is learnt.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_bins)
            Profiles; NaN where nothing was measured.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If ``q_range`` is None and the columns are not default columns, if it does not fit the names of
            the columns, or if a parameter is out of range.
        """
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan")
        if self.tolerance is not None:
            check_number(self.tolerance, "tolerance", min_val=0, include_boundaries="neither")
        if self.zero_shift is not None:
            check_number(self.zero_shift, "zero_shift", min_val=0, max_val=MAX_ZERO_SHIFT)
        for name in ("triclinic", "deep", "lenient", "absences"):
            check_option(name, getattr(self, name), (True, False))
        self.q_range_ = profile_range(self.q_range, X.shape[1], getattr(self, "feature_names_in_", None))
        return self

    def _axis(self):
        """Middle of the first bin and width of the bins in 1/Å."""
        low, high = self.q_range_
        step = (high - low) / self.n_features_in_
        return low + step / 2, step

    def _options(self):
        """Return what is searched for."""
        return Options(*(getattr(self, name) for name in Options._fields))

    def transform(self, X):
        """Compute the figures of merit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_bins)
            Profiles; NaN where nothing was measured.

        Returns
        -------
        ndarray of float32, shape (n_samples, n_figures)
            A row of NaN in ``X`` gives a row of NaN.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan", reset=False)
        names = figure_names(self._options())
        features = np.full((len(X), len(names)), np.nan, dtype=np.float32)
        measured = np.flatnonzero(~np.isnan(X).all(axis=1))
        for rows, figures in self._in_chunks(lattice_figures, X, measured):
            features[rows] = figures.numpy()
        if len(measured):
            first, last = (features[measured, names.index(name)] for name in ("q_first", "q_last"))
            has_lines = np.isfinite(first) & (first > 0)
            _check_lines(np.where(has_lines, first, 0), np.where(has_lines, last, 0), self.q_range_)
        return features

    def _in_chunks(self, function, X, rows, *params):
        """Call a function of `_functional` for chunks of rows of ``X``; yield the rows and the results.

        One job leaves the number of threads to torch; several jobs are threads of their own.
        """
        chunks = [rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)]
        n_threads = None if effective_n_jobs(self.n_jobs) == 1 else 1
        results = Parallel(n_jobs=self.n_jobs, prefer="threads")(
            delayed(function)(
                torch.from_numpy(X[chunk]),
                *self._axis(),
                *params,
                tolerance=self.tolerance,
                n_threads=n_threads,
                options=self._options(),
            )
            for chunk in chunks
        )
        yield from zip(chunks, results, strict=True)

    def cells(self, X, n=5):
        """List the unit cells that explain the lines of each profile best.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_bins)
            Profiles; NaN where nothing was measured.
        n : int, default=5
            Largest number of cells of a profile.

        Returns
        -------
        DataFrame
            One row a cell: ``row`` (of ``X``), ``rank`` (1 for the highest evidence), ``lattice`` (type, such
            as ``cubic_f``), ``a``, ``b``, ``c`` (Å), ``alpha``, ``beta``, ``gamma`` (degrees), ``volume``
            (Å³), ``m20`` (de Wolff's figure of merit for the lines of the profile, 20 or fewer),
            ``n_explained`` (lines that the cell explains) and ``zero_shift`` (1/Å, by which the observed
            lines lie above the calculated ones). Profiles without a cell, and NaN, have no row. Rhombohedral
            lattices have hexagonal axes; centred monoclinic ones have the setting C; triclinic cells are
            Niggli cells.
        """
        check_is_fitted(self)
        check_scalar(n, "n", numbers.Integral, min_val=1)
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan", reset=False)
        measured = np.flatnonzero(~np.isnan(X).all(axis=1))
        found = self._in_chunks(lattice_cells, X, measured, n)
        return cell_table({row: cells for rows, many in found for row, cells in zip(rows, many, strict=True)})

    def _batched(self, _):
        """Return the function from profiles (n, n_bins) to their figures of merit, both Tensors."""
        q0, step = self._axis()
        options = self._options()

        def featurise(profiles):
            features = profiles.new_full((len(profiles), len(figure_names(options))), torch.nan)
            rows = torch.nonzero(~profiles.isnan().all(1)).squeeze(1)
            if len(rows):
                figures = lattice_figures(profiles[rows], q0, step, tolerance=self.tolerance, options=options)
                features[rows] = figures.to(features)
            return features

        return featurise

    def get_feature_names_out(self, input_features=None):
        """Names of the figures of merit.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        return np.array(figure_names(self._options()), dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.requires_fit = True
        return tags
