"""What `PrototypeMatch` predicts: its candidates as a table and as crystals, and how likely they are."""

import warnings
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.utils import check_scalar

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._constants import MIN_CONTACT
from xtalsk.crystals._contacts import contact_of
from xtalsk.library._line_agreement import line_agreement
from xtalsk.library._prototype_structures import decorated_crystal
from xtalsk.library._prototype_votes import answer_probability, candidate_shares
from xtalsk.symmetry import to_level
from xtalsk.utils import check_number

_COLUMNS = [
    "row",
    "rank",
    "id",
    "prototype",
    "formula",
    "space_group",
    "a",
    "b",
    "c",
    "alpha",
    "beta",
    "gamma",
]
_COLUMNS += [
    "scale",
    "similarity",
    "lines_explained",
    "lines_missing",
    "probability",
    "contact",
    "is_possible",
]


class PrototypePredictions:
    """Methods of `PrototypeMatch` that describe the candidates of rows."""

    def similarity(self, X):
        """Return the similarity of the profile to the best candidate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float32, shape (n_samples,)
            Correlation of the profiles, 1 for equal ones. NaN for rows without candidates.
        """
        matches = self._search(self._check_rows(X, "missing"))
        return np.array([np.nan if m is None else m.similarity[0] for m in matches], dtype=np.float32)

    def match_probability(self, X):
        """Return the probability that the structure of one of the candidates is right.

        It depends on the similarity of the best candidate, and on how well its chemistry and stoichiometry
        fit. What is missing to 1 is the probability that no prototype fits: then the prior decides.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            0 for rows that were measured, but have no candidates. NaN for rows without a profile or without
            a composition.
        """
        X = self._check_rows(X, "missing")
        matches = self._search(X)
        answers = [answer_probability(match, self.modality_) if match else 0.0 for match in matches]
        return np.where(self._can_search(X), answers, np.nan)

    def level_similarity(self, X, level="crystal_system"):
        """Return the similarity of the best candidate of each label of a level: evidence for other models.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        level : str, default="crystal_system"
            One of `xtalsk.symmetry.LEVELS`.

        Returns
        -------
        DataFrame of n_samples rows
            A column for each label that a prototype has; NaN where no candidate has it.
        """
        groups = self.prototypes_.space_groups if self._compares else self.classes_
        labels = to_level(np.asarray(groups), level)
        columns = np.unique(labels)
        out = np.full((len(X), len(columns)), np.nan)
        for i, match in enumerate(self._search(self._check_rows(X, "missing"))):
            if match is not None:
                np.fmax.at(out[i], np.searchsorted(columns, labels[match.rows]), match.similarity)
        return pd.DataFrame(out, columns=columns)

    def nothing_fits(self, X, threshold=0.5):
        """Return whether no prototype is likely to have the structure that was measured.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        threshold : float, default=0.5
            Nothing fits if `match_probability` is below this value.

        Returns
        -------
        ndarray of bool, shape (n_samples,)
            False for rows without a profile or without a composition.
        """
        check_number(threshold, "threshold", min_val=0, max_val=1)
        return self.match_probability(X) < threshold

    def candidates(self, X, n=5):
        """Return the best candidates of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        n : int
            Number of candidates for each row, at most ``n_candidates``.

        Returns
        -------
        DataFrame
            ``row`` counts the rows of X from 0 and ``rank`` the candidates from 1. ``id`` and ``prototype``
            (a formula) are those of the known structure. Then follow the ``formula`` and the ``space_group``
            of the candidate, and its cell: ``a``, ``b``, ``c`` in Å, ``alpha``, ``beta`` and ``gamma`` in
            degrees.
            ``scale`` is the mean edge of the cell relative to that which the elements predict. ``similarity``
            is that of the profiles. ``lines_explained`` is the share of the measured lines, by height, that
            the candidate has, and ``lines_missing`` the share of its lines that were not measured.
            ``probability`` is the share of the candidate in the vote. ``contact``
            is the shortest distance over the sum of the covalent radii, and ``is_possible`` whether it is
            at least 0.6.
        """
        check_scalar(n, "n", Integral, min_val=1)
        X = self._check_rows(X, "missing")
        records = [
            dict(zip(_COLUMNS, values, strict=True))
            for i, match in enumerate(self._search(X))
            if match is not None
            for values in self._describe(i, match, X[i, self._profile.columns], n)
        ]
        return pd.DataFrame(records, columns=_COLUMNS)

    def structures(self, X, n=1):
        """Return the best candidates of each row as crystals, with refined cells.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        n : int
            Number of candidates for each row.

        Returns
        -------
        CrystalSet
            In the order of `candidates`; ``ids`` are ``"<row>-<rank>"``. The names of crystals whose
            atoms are closer than radii allow begin with ``"impossible: "``.

        Raises
        ------
        ValueError
            If no row has a candidate.

        Warns
        -----
        UserWarning
            If atoms of some crystals are too close; the message names them.
        """
        check_scalar(n, "n", Integral, min_val=1)
        matches = self._search(self._check_rows(X, "missing"))
        crystals = [
            self._crystal(match, k, f"{i}-{k + 1}")
            for i, match in enumerate(matches)
            if match is not None
            for k in range(min(n, len(match.rows)))
        ]
        if not crystals:
            raise ValueError("no row of X has a candidate: each needs a profile with lines and a composition")
        out = CrystalSet.concatenate(crystals)
        impossible = [i for i in range(len(out)) if contact_of(out, i) < MIN_CONTACT]
        if impossible:
            where = "; ".join("row {}, candidate {}".format(*out.ids[i].split("-")) for i in impossible)
            warnings.warn(
                f"atoms are closer than {MIN_CONTACT} of the sum of their covalent radii in {where}",
                UserWarning,
                stacklevel=2,
            )
            out.names[impossible] = "impossible: " + out.names[impossible]
        return out

    def _describe(self, i, match, profile, n):
        """Yield the columns of the best candidates of one row."""
        votes = candidate_shares(match, self.modality_)
        table = self._table
        volumes = (match.composition @ table.volumes)[match.species]
        factors = table.lattice_factors(match.rows, volumes)
        for k in range(min(n, len(match.rows))):
            row = match.rows[k]
            crystal = self._crystal(match, k, "")
            a, b, c = edges = np.linalg.norm(crystal.lattices[0], axis=1)
            u, v, w = crystal.lattices[0] / edges[:, None]
            angles = np.rad2deg(np.arccos(np.clip([v @ w, u @ w, u @ v], -1, 1)))
            ratio = np.cbrt(crystal.volumes[0] / self.prototypes_.volumes[row]) / factors[k]
            distance = contact_of(crystal, 0)
            yield (
                *(i, k + 1, self.prototypes_.ids[row], self.prototypes_.formulas[row], crystal.formulas[0]),
                *(int(crystal.space_groups[0]), a, b, c, *angles, ratio, match.similarity[k]),
                *line_agreement(self._prepare().q, profile, crystal, self.modality_),
                *(votes[k], distance, distance >= MIN_CONTACT),
            )

    def _crystal(self, match, k, name):
        return decorated_crystal(self.prototypes_, self._table, match, k, name)
