"""Compiled step of the matching pursuit of elements; see `match_elements`."""

from xtalsk.spectra.eds._constants import SOFT_FACTOR
from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def _amounts(target, information, i, n):
    """Return the amplitudes of the hard and the soft lines of an element, and what they explain."""
    hard = max(target[i] / information[i], 0.0) if information[i] > 0 else 0.0
    j = i + n
    soft = max(target[j] / information[j], 0.0) if information[j] > 0 else 0.0
    if information[i] > 0:
        soft = min(max(soft, hard / SOFT_FACTOR), hard * SOFT_FACTOR)
    explained = hard * (2 * target[i] - hard * information[i])
    return hard, soft, explained + soft * (2 * target[j] - soft * information[j])


@compiled
def take_best(target, information, costs, hard_lines, soft_lines, weights, net, scores, taken):
    """Take at each shift the element that explains most of the remaining lines, if that exceeds its cost.

    Parameters
    ----------
    target, information : ndarray of shape (n_shifts, 2 * n)
        Product of each column and the weighted net counts, and of its square and the weights. The hard lines
        of the n elements come first, then their soft lines.
    costs : ndarray of shape (n_shifts, n)
        Decrease of chi² that each element needs when it is first taken.
    hard_lines, soft_lines : ndarray of shape (n, n_bins) and (n, n_soft)
        Columns; soft lines lie in the first bins.
    weights : ndarray of shape (n_shifts, n_bins)
        Inverse variance of the net counts.
    net : ndarray of shape (n_shifts, n_bins)
        Weighted net counts; gets those that remain.
    scores : ndarray of shape (n_shifts,)
        Gets the decrease of chi² less the cost in addition.
    taken : ndarray of bool, shape (n_shifts, n)
        Elements taken before; gets the new ones.

    Returns
    -------
    int
        Number of shifts at which an element was taken.
    """
    n, n_better = taken.shape[1], 0
    for s in range(len(target)):
        most, best, hard, soft = 0.0, -1, 0.0, 0.0
        for i in range(n):
            own_hard, own_soft, explained = _amounts(target[s], information[s], i, n)
            if not taken[s, i]:
                explained -= costs[s, i]
            if explained > most:
                most, best, hard, soft = explained, i, own_hard, own_soft
        if best < 0:
            continue
        n_better += 1
        scores[s] += most
        taken[s, best] = True
        for b in range(hard_lines.shape[1]):
            net[s, b] -= weights[s, b] * hard * hard_lines[best, b]
        for b in range(soft_lines.shape[1]):
            net[s, b] -= weights[s, b] * soft * soft_lines[best, b]
    return n_better
