"""Structure prediction from known prototypes, as a scikit-learn classifier."""

import threading
import warnings
from functools import cache
from numbers import Integral
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from xtalsk._levels import LevelsMixin, levels_of
from xtalsk.columns import block_presence, find_blocks
from xtalsk.crystals import CrystalSet
from xtalsk.library._blocks import use_of
from xtalsk.library._chemistry import check_excused, element_columns, element_shares
from xtalsk.library._constants import NO_SUPPORT
from xtalsk.library._probability import FITTED_MODALITIES, modality_of_blocks
from xtalsk.library._prototype_predictions import PrototypePredictions
from xtalsk.library._prototype_search import PrototypeSearch, bin_centers
from xtalsk.library._prototype_table import PrototypeTable
from xtalsk.library._prototype_votes import blend_votes
from xtalsk.utils import (
    ALL_MISSING,
    check_classes,
    check_empty_rows,
    check_number,
    check_option,
    most_probable,
    to_float32,
)
from xtalsk.utils._threads import in_threads

_ACCEPTED = {"dtype": [np.float32, np.float64], "ensure_all_finite": False}
_prepared = WeakKeyDictionary()  # estimator -> (prototypes, PrototypeSearch)


_reading = threading.Lock()


def packaged():
    """Return the prototypes of the package and their `PrototypeTable`; the first call takes seconds."""
    with _reading:
        return _read_packaged()


@cache
def _read_packaged():
    from xtalsk.datasets import load_prototypes

    crystals = load_prototypes()
    return crystals, PrototypeTable(crystals)


class PrototypeMatch(PrototypePredictions, LevelsMixin, ClassifierMixin, BaseEstimator):
    """Structure prediction: known structure types with the measured elements, compared with the pattern.

    This is for compounds that no library has. The classifier takes known structures of the measured
    stoichiometry, puts the measured elements on their sites, and scales their cells by the volumes of the
    elements. It computes the pattern of each and compares it with the measured profile at several scales.
    It then refines the cells of the best ones within their symmetry. The candidates vote for their space
    groups. `structures` returns them as crystals.

    Columns named ``block__column`` form one block for each part before the ``__``. The classifier reads two
    blocks and ignores all others:

    - the first profile ``q_0000, q_0001, ...`` with ``scale="sqrt"``, as from `PowderProfile` and
      `RadialProfile`;
    - the first block of atomic fractions with columns named by elements (``h, he, ...``), as from
      `ElementFractions`, `EDSComposition` and `EELSComposition`.

    Parameters
    ----------
    prototypes : CrystalSet or None, default=None
        Known structures. None: the 37,000 of `load_prototypes`. Similar compounds among them count:
        with one structure of each type only, far fewer answers are right.
    q_range : (float, float) or None, default=None
        Ends of the bins of the profile in 1/Å. None infers them from the names of the default columns of
        `PowderProfile` and `RadialProfile`.
    modality : {"powder", "rings"} or None, default=None
        Powder patterns of X-rays, or rings of electrons. None takes the name of the block, or ``"powder"``
        if it does not say.
    max_scale_error : float, default=0.06
        Largest relative error of the scale of q that is searched, at most 0.2. It includes that of the
        volumes of the elements.
    n_candidates : int, default=400
        Largest number of candidates that are compared with a row.
    n_refined : int, default=16
        Number of candidates whose cells are refined.
    stray : sequence of str, default=("C", "O", "Al", "Ni", "Cu", "Mo", "Au")
        Symbols of elements of film, grid and holder, which may be left out of a composition, at a cost.
        Oxygen and aluminium are left out only below 5 at%, as all elements.
    all_missing : {"raise", "missing"}, default="raise"
        What `predict_proba` and `predict` do with a row in which nothing was measured, see `LibraryMatch`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of `fit`, or the space groups of the prototypes.
    prior_ : ndarray of shape (n_classes,)
        Share of each class in the labels of `fit`, or among the prototypes.
    prototypes_ : CrystalSet or None
        The known structures; None if the columns have no profile or no fractions. Those of the package are
        read when they are first used, and are no part of a saved or pickled estimator.
    profile_block_, composition_block_ : str or None
        Names of the two blocks that are read.
    modality_ : {"powder", "rings"}
    level_classes_ : dict of {str: ndarray}
        The labels of each level of symmetry among the classes.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only if the columns have names.

    See Also
    --------
    LibraryMatch : Finds compounds that are in a library.

    Notes
    -----
    A row without profile, without composition or without a candidate gets the prior, and its similarity is
    NaN. So do rows of unnamed columns. Hydrogen is left out on both sides. Compositions of more than seven
    elements have no candidates.

    A structure is a prediction that explains positions and intensities of lines; its atoms are where those of
    the prototype are. Refine it before use.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk import CrystalSet, ElementFractions, PowderProfile, make_features, make_specimens
    >>> from xtalsk.library import PrototypeMatch
    >>> def rock_salt(a, x, y):
    ...     return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [x, y], [[0, 0, 0], [0.5, 0.5, 0.5]])
    >>> def cesium_chloride(a, x, y):
    ...     return Structure.from_spacegroup("Pm-3m", Lattice.cubic(a), [x, y], [[0, 0, 0], [0.5, 0.5, 0.5]])
    >>> known = CrystalSet.from_pymatgen([rock_salt(5.64, "Na", "Cl"), cesium_chloride(4.12, "Cs", "Cl")])
    >>> new = CrystalSet.from_pymatgen([rock_salt(6.6, "K", "Br")])
    >>> specimens, y, _ = make_specimens(new, ("powder", "formula"), conditions="ideal", random_state=0)
    >>> features = make_features(
    ...     diffraction=("powder", PowderProfile()), chemistry=("formula", ElementFractions())
    ... )
    >>> X = features.fit_transform(specimens)
    >>> match = PrototypeMatch(known, max_scale_error=0.1).fit(X)
    >>> match.predict(X)
    array([225])
    >>> crystal = match.structures(X)
    >>> crystal.formulas.tolist(), round(float(crystal.lattices[0, 0, 0]), 1)
    (['KBr'], 6.6)
    """

    def __init__(
        self,
        prototypes=None,
        *,
        q_range=None,
        modality=None,
        max_scale_error=0.06,
        n_candidates=400,
        n_refined=16,
        stray=("C", "O", "Al", "Ni", "Cu", "Mo", "Au"),
        all_missing="raise",
    ):
        self.prototypes = prototypes
        self.q_range = q_range
        self.modality = modality
        self.max_scale_error = max_scale_error
        self.n_candidates = n_candidates
        self.n_refined = n_refined
        self.stray = stray
        self.all_missing = all_missing

    def fit(self, X, y=None):
        """Arrange the prototypes. The rows give the layout of the columns.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features as those that will be classified; one row is enough.
        y : array-like of shape (n_samples,), or None
            Labels. Their shares are the prior, and only these are predicted. Candidates whose space group is
            not among them do not vote. None: the space groups of the prototypes.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, the prototypes are no `CrystalSet`, the q of the bins is
            unknown, or labels are no space-group numbers.

        Warns
        -----
        UserWarning
            If X has no profile or no fractions: then every answer is the prior.
        """
        self._check_params()
        X, y = self._validated(X, y)
        names = getattr(self, "feature_names_in_", None)
        X = to_float32(X, names)
        self._blocks = find_blocks(names, self.n_features_in_)
        self._profile, self._composition = self._find_used(X, names)
        self.profile_block_ = self._profile and self._profile.name
        self.composition_block_ = self._composition and self._composition.name
        self.modality_ = self.modality or modality_of_blocks([self.profile_block_ or ""], {}) or "powder"
        self._fit_prototypes(names)
        if y is None:
            if not self._compares:
                raise ValueError("without labels y, PrototypeMatch needs a profile and atomic fractions in X")
            y = self.prototypes_.space_groups.astype(int)
        self.classes_, counts = np.unique(y, return_counts=True)
        self.prior_ = counts / counts.sum()
        self.level_classes_ = levels_of(self.classes_)
        if self._compares and not self.level_classes_:
            raise ValueError(f"labels must be space-group numbers, got {self.classes_[:3].tolist()}")
        return self

    def predict_proba(self, X):
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``. The prior for rows without candidates. NaN for rows in which nothing
            was measured, with ``all_missing="missing"``.

        Raises
        ------
        ValueError
            If X has infinite values or other columns than in `fit`, or nothing was measured in a row and
            ``all_missing="raise"``.
        """
        X = self._check_rows(X, self.all_missing)
        return self._probabilities(X, self._search(X))

    def predict(self, X):
        """Return the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Rows in which nothing was measured have a missing label, see ``all_missing``.
        """
        return most_probable(self.predict_proba(X), self.classes_)

    def _check_params(self):
        check_number(self.max_scale_error, "max_scale_error", min_val=0, max_val=0.2)
        check_scalar(self.n_candidates, "n_candidates", Integral, min_val=1)
        check_scalar(self.n_refined, "n_refined", Integral, min_val=0)
        check_option("modality", self.modality, (*FITTED_MODALITIES, None))
        check_option("all_missing", self.all_missing, ALL_MISSING)
        check_excused(self.stray, "stray")
        if self.prototypes is not None and not isinstance(self.prototypes, CrystalSet):
            raise ValueError(f"prototypes must be a CrystalSet, got {type(self.prototypes).__name__}")

    def _validated(self, X, y):
        """Return checked features and labels."""
        if y is None:
            return validate_data(self, X, **_ACCEPTED), None
        X, y = validate_data(self, X, y, **_ACCEPTED)
        check_classes(y)
        return X, y

    def _find_used(self, X, names):
        """Return the first block of a profile and of fractions, None for what X does not have."""
        if names is None:
            return None, None
        uses = [use_of(block, X, names) for block in self._blocks]
        profiles = [
            b for b, use in zip(self._blocks, uses, strict=True) if use == "profile" and b.axis == "q"
        ]
        chemistry = [
            block
            for kind in ("fractions", "presence")  # fractions of elements alone look like presence
            for block, use in zip(self._blocks, uses, strict=True)
            if use == kind
        ]
        return next(iter(profiles), None), next(iter(chemistry), None)

    @property
    def prototypes_(self):
        """The known structures; None if the columns have no profile or no fractions."""
        if not hasattr(self, "_profile"):
            raise AttributeError("prototypes_ exists after fit")
        return self._known[0]

    @property
    def _table(self):
        return self._known[1]

    @property
    def _compares(self):
        """Whether the columns have a profile and fractions."""
        return self._profile is not None and self._composition is not None

    @property
    def _known(self):
        """The prototypes and their `PrototypeTable`; those of the package do not belong to the estimator."""
        if not self._compares:
            return None, None
        return packaged() if self._own is None else (self._own, self._own_table)

    def _fit_prototypes(self, names):
        """Check and arrange the prototypes."""
        if not self._compares:
            missing = (
                "profile (q_0000, ...)" if self._profile is None else "block of atomic fractions (h, he, ...)"
            )
            warnings.warn(
                f"X has no {missing}: every answer of PrototypeMatch is the prior", UserWarning, stacklevel=3
            )
            return
        if self.prototypes is not None and not len(self.prototypes):
            raise ValueError("PrototypeMatch needs at least one prototype, got an empty CrystalSet")
        self._q = bin_centers(names[self._profile.columns], len(self._profile.columns), self.q_range)
        own = [name.split("__")[-1] for name in names[self._composition.columns]]
        self._numbers = element_columns(own)
        self._own = self.prototypes
        self._own_table = None if self._own is None else PrototypeTable(self._own)

    def _prepare(self):
        """Return the search; it is kept as long as the estimator and its prototypes."""
        key, search = _prepared.get(self, (None, None))
        options = self._table, self.max_scale_error, self.n_candidates, self.n_refined, tuple(self.stray)
        if key is None or key[0] is not options[0] or key[1:] != options[1:]:
            stray = [z for z in check_excused(self.stray, "stray") if z not in check_excused(NO_SUPPORT)]
            search = PrototypeSearch(
                self.prototypes_, self._table, self._q, self.modality_, *options[1:4], stray
            )
            _prepared[self] = options, search
        return search

    def _search(self, X):
        """Return the `Match` of each checked row, None for rows without candidates."""
        if not self._compares:
            return [None] * len(X)
        search = self._prepare()
        shares = element_shares(X[:, self._composition.columns], self._numbers, "fractions")
        profiles = X[:, self._profile.columns]
        matches = [None] * len(X)

        def work(first, last):
            for i in range(first, last):
                matches[i] = search.search(profiles[i], shares[i])

        in_threads(work, len(X))
        return matches

    def _probabilities(self, X, matches):
        """Return the probabilities of the classes."""
        out = np.tile(self.prior_, (len(X), 1))
        if self._compares:
            groups = self.prototypes_.space_groups
            out = blend_votes(out, self.classes_, matches, groups, self.modality_)
        out[self._empty_rows(X)] = np.nan
        return out

    def _empty_rows(self, X):
        return ~block_presence(X, self._blocks).any(axis=1)

    def _can_search(self, X):
        """Return which rows have both a profile and a composition."""
        if not self._compares:
            return np.zeros(len(X), dtype=bool)
        return block_presence(X, [self._profile, self._composition]).all(axis=1)

    def _check_rows(self, X, all_missing):
        """Return rows as float32; raise or warn if nothing was measured in one."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_ACCEPTED)
        X = to_float32(X, getattr(self, "feature_names_in_", None))
        check_empty_rows(self._empty_rows(X), [block.name for block in self._blocks], all_missing)
        return X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = False
        tags.classifier_tags.poor_score = True  # without a profile and fractions it knows the prior only
        return tags
