"""One sub-network for several measurements of one kind, such as zones of a crystal, and their summary."""

import torch
from torch import nn

from xtalsk.neural._branches import scale_rows
from xtalsk.neural._constants import MEMBER_DROPOUT
from xtalsk.neural._mixing import choose_kept
from xtalsk.neural._random import Dropout, rand


class PooledBranch(nn.Module):
    """Embed each measured member of a row by one sub-network, and summarise the embeddings [1]_.

    The summary is made of the mean and the largest value of each output over the members. It depends neither
    on their order nor on unmeasured ones. Members of a profile have a further sub-network. It reads the
    largest value of each bin over the members: zones of a crystal show different lines, which together
    resemble a powder pattern.

    Parameters
    ----------
    branch : torch.nn.Module
        Maps (n, n_columns) to (n, embedding_size).
    embedding_size : int
    dropout : float
    union : torch.nn.Module or None
        The sub-network of the profile of all members.

    References
    ----------
    .. [1] M. Zaheer et al., "Deep sets", NeurIPS (2017).
    """

    def __init__(self, branch, embedding_size, dropout, union=None):
        super().__init__()
        self.branch, self.union = branch, union
        n_inputs = (2 if union is None else 3) * embedding_size
        self.layers = nn.Sequential(
            nn.LayerNorm(n_inputs),
            Dropout(dropout),
            nn.Linear(n_inputs, embedding_size),
            nn.GELU(),
            nn.Linear(embedding_size, embedding_size),
        )

    def forward(self, x):
        """Map (n, n_members, n_columns), at least one member of each row measured, to (n, embedding_size)."""
        measured = ~x.isnan().all(dim=2)
        members = x[measured]
        row = measured.nonzero()[:, 0]
        embeddings = self.branch(members)
        parts = [_mean(embeddings, row, len(x)), _largest(embeddings, row, len(x))]
        if self.union is not None:
            parts.append(self.union(_union(members, row, len(x))))
        return self.layers(torch.cat(parts, dim=1))


def drop_members(inputs):
    """Drop members of joined blocks at random in training.

    Half of the rows keep all their members. The others lose a random share of them, but never all. Blocks
    with the same number of members lose the same ones: they describe the same zones.

    Parameters
    ----------
    inputs : list of tensors of shape (n, n_columns) or (n, n_members, n_columns)

    Returns
    -------
    list of tensors
        NaN where a member was dropped.
    """
    out = list(inputs)
    for n_members in sorted({x.shape[1] for x in inputs if x.ndim > 2}):
        blocks = [i for i, x in enumerate(inputs) if x.ndim > 2 and x.shape[1] == n_members]
        measured = torch.stack([~inputs[i].isnan().all(2) for i in blocks]).any(0)
        draws = rand(len(measured), 1, like=inputs[blocks[0]])
        kept = choose_kept(measured, (1 - draws / MEMBER_DROPOUT).clamp(min=0))
        for i in blocks:
            out[i] = inputs[i].masked_fill(~kept[:, :, None], torch.nan)
    return out


def _mean(values, row, n):
    """Return the mean of the values (m, k) of each of n rows."""
    counts = torch.bincount(row, minlength=n).to(values.dtype)
    return values.new_zeros(n, values.shape[1]).index_add(0, row, values) / counts[:, None]


def _largest(values, row, n):
    """Return the largest of the values (m, k) of each of n rows."""
    start = values.new_full((n, values.shape[1]), -torch.inf)
    return start.scatter_reduce(0, row[:, None].expand_as(values), values, "amax")


def _union(members, row, n):
    """Return the largest value of each bin over the profiles (m, n_bins) of each of n rows.

    Each profile counts relative to its largest value. Bins that no profile has are NaN.
    """
    scaled = torch.where(members.isnan(), -torch.inf, scale_rows(members))
    largest = _largest(scaled, row, n)
    return torch.where(largest.isinf(), torch.nan, largest)
