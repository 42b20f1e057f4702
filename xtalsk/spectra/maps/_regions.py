"""Regions of a spectrum image whose spectra differ by more than counting statistics."""

import numpy as np
from sklearn.mixture import GaussianMixture

from xtalsk.spectra.maps._constants import (
    DIFFERENCE,
    EDGE_FACTOR,
    LEAST_BAND,
    LEAST_TYPICAL,
    LEAST_VARIANCE,
    MOST_COMPONENTS,
    MOST_REGIONS,
    PATIENCE,
)


class Bands:
    """Bands of neighbouring channels that each hold enough counts of the whole map.

    Parameters
    ----------
    total : ndarray of shape (n_channels,)
        Counts of the whole map, NaN in channels that were not measured.
    used : ndarray of bool, shape (n_channels,)
        Channels to use.

    Attributes
    ----------
    share : ndarray of shape (n_bands,)
        Share of the counts of the whole map in each band.
    """

    def __init__(self, total, used):
        self._used = used & ~np.isnan(total)
        total = np.where(self._used, total, 0).clip(0)
        below, begin, self._starts = np.cumsum(total) / total.sum(), 0.0, [0]
        for k, reached in enumerate(below[:-1].tolist()):
            if reached - begin >= LEAST_BAND and 1 - reached >= LEAST_BAND:
                self._starts.append(k + 1)
                begin = reached
        self.share = np.add.reduceat(total, self._starts) / total.sum()

    def counts(self, counts):
        """Return the counts in bands of pixels, ndarray of float32, shape (n, n_bands)."""
        if not self._used.all():
            counts = np.where(self._used, counts, 0)
        return np.add.reduceat(counts, self._starts, axis=1, dtype=np.float32)


class Regions:
    """Groups of pixels with alike spectra.

    Principal components of the counts in bands, each divided by its expected standard deviation (M. R. Keenan
    and P. G. Kotula, Surf. Interface Anal. 36 (2004) 203), hold what differs between pixels. Components
    count if their variance is above that of noise (V. A. Marchenko and L. A. Pastur, Math. USSR Sb. 1 (1967)
    457). A mixture of normal distributions in their space gives the groups, the criterion of Bayes (BIC)
    their number.

    Low counts are not distributed normally, so that the mixture splits alike pixels by their noise. Therefore
    it sees only a half of the counts of each pixel, drawn at random. Groups that do not differ in the other
    half, which is independent (Poisson), are merged.

    Parameters
    ----------
    counts : ndarray of shape (n, n_bands)
        Counts in bands of a sample of pixels.
    share : ndarray of shape (n_bands,)
        Share of the counts of the whole map in each band.
    gain : float or None
        Variance of a count; None for Poisson's counts, which are whole numbers.
    n_regions : int or None
        Number of groups; None finds it.
    random_state : RandomState
    """

    def __init__(self, counts, share, gain, n_regions, random_state):
        self._share, self._gain = share, gain or 1.0
        self._typical = float(np.median(self._totals(counts)))
        residual = self._residuals(counts)
        values, vectors = np.linalg.eigh(residual.T @ residual / len(residual))
        edge = EDGE_FACTOR * (1 + np.sqrt(len(values) / len(residual))) ** 2
        n_components = min(int((values > edge).sum()), MOST_COMPONENTS)
        if n_regions is not None and n_regions > 1:
            n_components = max(n_components, 1)
        self._components = vectors[:, ::-1][:, :n_components]
        self._mixture, self._group = None, np.zeros(1, int)
        if n_components and n_regions != 1:
            self._find_groups(counts, n_regions, gain is None, random_state)

    def _totals(self, counts):
        """Return the counts of each pixel, at least one electron or photon, (n,)."""
        return counts.sum(1).clip(self._gain)

    def _residuals(self, counts):
        """Return the deviations from the mean spectrum in standard deviations, (n, n_bands)."""
        expected = self._totals(counts)[:, None] * self._share
        return (counts - expected) / np.sqrt(self._gain * expected.clip(1e-12))

    def _scores(self, counts):
        """Places in the space of the components; the noise of a pixel of typical counts is 1."""
        scale = np.sqrt(self._typical / self._totals(counts))
        return self._residuals(counts) @ self._components * scale[:, None]

    def _find_groups(self, counts, n_regions, is_poisson, random_state):
        """Fit the mixture, and merge its groups."""
        half = random_state.binomial(counts.astype(int), 0.5) if is_poisson else counts
        is_typical = self._totals(counts) >= LEAST_TYPICAL * self._typical
        mixture = _best_mixture(self._scores(half)[is_typical], n_regions, random_state)
        if mixture is None:
            return
        self._mixture, self._group = mixture, np.arange(mixture.n_components)
        if is_poisson and n_regions is None:
            labels = mixture.predict(self._scores(half))
            sums = [(counts - half)[labels == k].sum(0) for k in range(mixture.n_components)]
            self._group = _merged(np.array(sums))

    def __len__(self):
        return int(self._group.max()) + 1

    def labels(self, counts):
        """Return the region of each pixel from its counts in bands, ndarray of int of shape (n,)."""
        if len(self) == 1 or not len(counts):
            return np.zeros(len(counts), int)
        return self._group[self._mixture.predict(self._scores(counts))]


def _best_mixture(scores, n_regions, random_state):
    """Mixture of normal distributions with the lowest BIC; None if it is a single one."""
    best, lowest, failures = None, np.inf, 0
    for k in range(1, MOST_REGIONS + 1) if n_regions is None else (n_regions,):
        if k > len(scores) or failures >= PATIENCE:
            break
        mixture = GaussianMixture(
            k, reg_covar=LEAST_VARIANCE, init_params="k-means++", random_state=random_state
        ).fit(scores)
        bic = mixture.bic(scores)
        best, failures = (mixture, 0) if bic < lowest else (best, failures + 1)
        lowest = min(bic, lowest)
    return None if best is None or best.n_components == 1 else best


def _merged(sums):
    """Return the group of each spectrum; groups that do not differ significantly are merged.

    The pair that differs least is merged first.

    Parameters
    ----------
    sums : ndarray of shape (n, n_bands)
        Counts of independent spectra.
    """
    group = np.arange(len(sums))
    sums = sums.astype(float)
    while True:
        numbers = np.unique(group)
        pairs = [(i, j) for i in numbers for j in numbers if i < j]
        differences = [_difference(sums[i], sums[j]) for i, j in pairs]
        if not pairs or min(differences) > DIFFERENCE:
            return np.unique(group, return_inverse=True)[1]
        i, j = pairs[int(np.argmin(differences))]
        sums[i] += sums[j]
        group[group == j] = i


def _difference(first, second):
    """Significance of the difference of two spectra of counts in standard deviations."""
    used = first + second > 0
    if not first.sum() or not second.sum() or used.sum() < 2:
        return 0.0
    return _sigmas(*_chi2(first[used], second[used]))


def _chi2(first, second):
    """chi² of two spectra of counts with the same shape, and its degrees of freedom."""
    share = first.sum() / (first.sum() + second.sum())
    expected = share * (first + second)
    return float(((first - expected) ** 2 / ((1 - share) * expected)).sum()), len(first) - 1


def _sigmas(value, degrees):
    """Return the significance of chi² (E. B. Wilson and M. M. Hilferty, PNAS 17 (1931) 684)."""
    spread = 2 / (9 * degrees)
    return ((value / degrees) ** (1 / 3) - (1 - spread)) / np.sqrt(spread)
