"""The two stages of search-match: pure functions on a chunk of rows.

The first stage compares every row with every entry of the library; no line shifts. The second stage
compares each row again with its best entries while lines may shift. Chemistry lowers the score of an entry
in both stages.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.special import softmax

from xtalsk.library._constants import MAX_TIES, TIED
from xtalsk.library._profiles import ProfileLibrary, subtract_local_mean
from xtalsk.library._strays import misfit_with_strays


class RigidComparison(NamedTuple):
    """First comparison of one block of profiles with the whole library.

    Attributes
    ----------
    library : ProfileLibrary
    values : Tensor of shape (n, n_bins)
        Emphasised profiles, 0 where not measured.
    is_measured : bool Tensor of shape (n, n_bins)
    cosine : Tensor of shape (n, n_entries)
    scale : Tensor of shape (n, n_entries)
        See `ProfileLibrary.cosine`.
    """

    shortlist_share = 0  # the first stage is as fine as the second
    can_refine_exactly = False
    library: ProfileLibrary
    values: torch.Tensor
    is_measured: torch.Tensor
    cosine: torch.Tensor
    scale: torch.Tensor

    def of(self, rows):
        """Return the comparison of some rows with all entries, also with those that were no candidates."""
        values, is_measured = self.values[rows], self.is_measured[rows]
        return RigidComparison(self.library, values, is_measured, *self.library.cosine(values, is_measured))

    def refine(self, candidates, max_stretch, max_shift):
        """Return similarity, scale of q and line width of candidates, each (n, n_candidates).

        The similarity is the larger one of both stages. If no line may shift by a bin, it is that of the
        first stage. Scale and width are NaN: they were not searched.
        """
        cosine, scale = self.cosine.gather(1, candidates), self.scale.gather(1, candidates)
        unknown = torch.full(candidates.shape, torch.nan, dtype=torch.float64)
        if max_shift + max_stretch * (self.values.shape[1] + self.library.first) >= 1:
            elastic = self.library.elastic(
                self.values, self.is_measured, scale, candidates, max_stretch, max_shift
            )
            cosine = torch.maximum(elastic, cosine)
        return cosine, unknown, unknown


class Matches(NamedTuple):
    """Best entries of each row, best first.

    Attributes
    ----------
    entries : int64 ndarray of shape (n, n_best)
        Numbers of the entries.
    weights : float64 ndarray of shape (n, n_best)
        0 for excluded entries; the others sum to 1 in each row that has others.
    similarity : float32 ndarray of shape (n, n_best)
        Similarity of the profiles; NaN for rows without a profile and for excluded entries.
    scores : float64 ndarray of shape (n, n_best)
        Sharpness × similarity - penalty; -inf for excluded entries.
    penalty : float32 ndarray of shape (n, n_best)
        What chemistry subtracted from the score; inf for excluded entries.
    scale : float64 ndarray of shape (n, n_best)
        Measured q over the q of the entry; NaN if it was not searched.
    width : float64 ndarray of shape (n, n_best)
        Line width of the entry in 1/Å; NaN if it was not searched.
    """

    entries: np.ndarray
    weights: np.ndarray
    similarity: np.ndarray
    scores: np.ndarray
    penalty: np.ndarray
    scale: np.ndarray
    width: np.ndarray

    def of(self, rows):
        """Return the `Matches` of some rows."""
        return Matches(*(table[rows] for table in self))


def joined(chunks):
    """Return the `Matches` of several chunks as one."""
    return Matches(*(np.concatenate(tables) for tables in zip(*chunks, strict=True)))


def compare_rigidly(library, profiles, is_candidate=None):
    """Return the `RigidComparison` of emphasised profiles, NaN where not measured, with a library.

    ``is_candidate``: see `ProfileLibrary.cosine`.
    """
    profiles = subtract_local_mean(profiles.to(library.dtype).contiguous(), library.local_mean)
    is_measured = ~profiles.isnan()
    values = profiles.nan_to_num(0)
    return RigidComparison(library, values, is_measured, *library.cosine(values, is_measured, is_candidate))


def chemistry_penalty(compositions, chemistry_weight, strays=None, is_candidate=None):
    """Return what misfit of the chemistry subtracts from the score of each entry.

    Parameters
    ----------
    compositions : list of (float32 ndarray of shape (n, n_elements), CompositionLibrary)
        For each block the measured compositions and those of the library. At least one.
    chemistry_weight : float
    strays : Strays or None
        Elements that may be in excess.
    is_candidate : bool ndarray of shape (n, n_entries), or None
        Entries that need a penalty; None: all.

    Returns
    -------
    float32 Tensor of shape (n, n_entries)
        Mean over the blocks that a row has, times the weight; 0 for rows without composition.
    """
    total = sum(
        torch.from_numpy(
            library.misfit(measured, is_candidate)
            if strays is None
            else misfit_with_strays(measured, library, strays, is_candidate)
        )
        for measured, library in compositions
    )
    n_blocks = sum(
        (~np.isnan(measured).all(axis=1, keepdims=True)).astype(np.float32) for measured, _ in compositions
    )
    return total.mul_(torch.from_numpy(chemistry_weight / np.maximum(n_blocks, 1)))


def block_shares(comparisons, n_rows):
    """Return the share of each block of profiles in the similarity of a row.

    Returns
    -------
    Tensor of shape (n_rows, n_blocks)
        Equal shares of the blocks that a row has; 0 for the others. One column of 0 if there is no block.
    """
    if not comparisons:
        return torch.zeros(n_rows, 1)
    has_profile = torch.stack([comparison.is_measured.any(1) for comparison in comparisons], 1)
    return has_profile / has_profile.sum(1, keepdim=True).clamp_min(1)


def rigid_scores(comparisons, shares, penalty, sharpness):
    """Return the scores after the first stage, sharpness × similarity - penalty, of shape (n, n_entries)."""
    scores = -penalty
    for k, comparison in enumerate(comparisons):
        scores = torch.addcmul(scores, comparison.cosine, sharpness * shares[:, k, None])
    return scores


def find_matches(comparisons, penalty, *, sharpness, n_best, max_stretch, max_shift):
    """Run both stages for a chunk of rows.

    Parameters
    ----------
    comparisons : list of RigidComparison or ScaledComparison
        One for each block of profiles.
    penalty : Tensor of shape (n, n_entries)
        See `chemistry_penalty`; inf for excluded entries.
    sharpness, n_best, max_stretch, max_shift
        Parameters of `LibraryMatch`.

    Returns
    -------
    Matches
    """
    shares = block_shares(comparisons, len(penalty))
    scores = rigid_scores(comparisons, shares, penalty, sharpness)
    share = max([comparison.shortlist_share for comparison in comparisons], default=0)
    n_candidates = min(max(int(share * scores.shape[1]), n_best), scores.shape[1])
    best, candidates = torch.topk(scores, n_candidates)
    n_fit = int(best.isfinite().sum(1).max()) if len(best) else 0  # excluded entries need no second stage
    candidates = candidates[:, : max(n_fit, min(n_best, n_candidates))]
    similarity = torch.zeros(candidates.shape)
    scale, width = torch.full((2, *candidates.shape), torch.nan, dtype=torch.float64)
    for k, comparison in enumerate(comparisons):
        refined, scales, widths = comparison.refine(candidates, max_stretch, max_shift)
        share = shares[:, k, None]
        similarity = similarity + share * refined
        scale = torch.where(scale.isnan() & (share > 0), scales, scale)
        width = torch.where(width.isnan() & (share > 0), widths, width)
    penalty = penalty.gather(1, candidates)
    refine_ties(comparisons, shares, candidates, penalty / sharpness, similarity, scale, width)
    scores = (sharpness * similarity - penalty).double()
    similarity[~shares.any(1)] = torch.nan
    similarity[torch.isinf(penalty)] = torch.nan
    return _rank(n_best, candidates, scores, similarity.float(), penalty.float(), scale, width)


def refine_ties(comparisons, shares, candidates, price, similarity, scale, width):
    """Compare the best candidate of each row without rounding, and those that rounding may have put behind.

    Only a single block of profiles is compared again, and only if its library was stored with two bytes a
    bin.

    Parameters
    ----------
    comparisons : list of RigidComparison or ScaledComparison
    shares : Tensor of shape (n, n_blocks)
        See `block_shares`.
    candidates : int64 Tensor of shape (n, n_candidates)
    price : Tensor of shape (n, n_candidates)
        What chemistry subtracts from the similarity.
    similarity, scale, width : Tensor of shape (n, n_candidates)
        Changed in place.
    """
    if len(comparisons) != 1 or not comparisons[0].can_refine_exactly or not candidates.shape[1]:
        return
    total = similarity - price
    order = total.sort(dim=1, descending=True, stable=True).indices[:, :MAX_TIES]
    total = total.gather(1, order)
    row, rank = torch.nonzero((total > total[:, :1] - TIED) & (shares > 0), as_tuple=True)
    if not len(row):
        return
    place = order[row, rank]
    exact = comparisons[0].refine_exactly(row, candidates[row, place])
    for table, values in zip((similarity, scale, width), exact, strict=True):
        table[row, place] = values.to(table)


def _rank(n_best, candidates, scores, *tables):
    """Return the best candidates of each row as `Matches`, best first; equal scores keep their order."""
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :n_best]
    candidates, scores, *tables = (table.gather(1, order).numpy() for table in (candidates, scores, *tables))
    weights = np.zeros_like(scores)
    answered = np.isfinite(scores).any(axis=1)
    weights[answered] = softmax(scores[answered], axis=1)
    similarity, penalty, scale, width = tables
    return Matches(candidates, weights, similarity, scores, penalty, scale, width)
