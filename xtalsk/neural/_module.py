"""The torch module: from blocks of one feature matrix, through their sub-networks, to class scores."""

from functools import partial

import torch
from torch import nn

from xtalsk.neural._branches import Conv1dBranch, Conv2dBranch, DenseBranch, scale_rows
from xtalsk.neural._disturbances import stretch
from xtalsk.neural._mixing import choose_kept, draw_mix, mix_rows
from xtalsk.neural._pooling import PooledBranch, drop_members
from xtalsk.neural._random import Dropout
from xtalsk.neural._sets import SET_BRANCHES


def _make_branch(block, hidden_size, embedding_size, n_filters, n_residual, precision, dropout, augment):
    """Return the sub-network of a block; see `FusionModule`."""
    if block.layout == "table":
        return DenseBranch(block, hidden_size, embedding_size, dropout)
    if block.layout == "profile":
        return Conv1dBranch(block, n_filters, embedding_size, dropout, augment, n_residual, precision)
    if block.layout in SET_BRANCHES:
        return SET_BRANCHES[block.layout](block, hidden_size, embedding_size, dropout)
    return Conv2dBranch(block, n_filters, embedding_size, dropout)


class FusionModule(nn.Module):
    """Embed each block of a row, normalise, join, normalise again, and score the classes.

    A block that is all NaN in a row, or dropped in training, adds zeros to the joined embedding. Further
    inputs of the classifier say which blocks are present. Numbered blocks that were joined are one block, see
    `PooledBranch`.

    If there are several blocks, each has a linear classifier of its own in training. Through the joint
    classifier alone, a sub-network gets no gradient once an easier block, mostly chemistry, separates the
    compounds of the training set [1]_.

    Parameters
    ----------
    blocks : list of MeasuredBlock
    n_classes : int
    hidden_size, embedding_size, n_filters : int
        Units of the hidden layers, units of each block's embedding, and channels of the first convolution.
    n_residual : int
        Number of residual blocks of each profile's convolutions.
    precision : torch.dtype
        Precision of each profile's convolutions in training.
    dropout : float
    modality_dropout : ndarray of shape (2, n_events)
        Probability of each event of `dropout_events` at the start and at the end of training.
    mixup : float
        Parameter of the beta distribution of `draw_mix`; 0 for no mixing.
    augment : dict
        Amounts for `ProfileAugment`.
    profile_vote : bool
        Whether the result is, in rows without elements and spectra, the normalised geometric mean of the
        joint classifier and the classifiers of the measured profiles and images. A profile's own classifier
        generalises to new compounds, while the joint classifier may recognise compounds of the training set.
    dropped_together : ndarray of bool, shape (n_events, n_blocks), or None
        Blocks that each event drops; None: each block alone.

    References
    ----------
    .. [1] W. Wang, D. Tran and M. Feiszli, "What makes training multi-modal classification networks hard?",
       CVPR (2020).
    """

    def __init__(
        self,
        blocks,
        n_classes,
        hidden_size,
        embedding_size,
        n_filters,
        n_residual,
        precision,
        dropout,
        modality_dropout,
        mixup,
        augment,
        profile_vote,
        dropped_together=None,  # of networks that were saved before it existed
    ):
        super().__init__()
        self.progress = 1.0  # share of training that is done
        self.drops_blocks, self.mixup = bool(modality_dropout.any()), mixup
        self.register_buffer("dropout_range", torch.as_tensor(modality_dropout), persistent=False)
        together = None if dropped_together is None else torch.as_tensor(dropped_together)
        self.register_buffer("dropped_together", together, persistent=False)
        self.first_bins = {i: block.first for i, block in enumerate(blocks) if block.layout == "profile"}
        self.embedding_size = embedding_size
        self.branches = nn.ModuleList()
        for i, block in enumerate(blocks):
            self.register_buffer(f"columns_{i}", torch.as_tensor(block.columns))
            make_branch = partial(
                _make_branch, block, hidden_size, embedding_size, n_filters, n_residual, precision, dropout,
                augment,
            )  # fmt: skip
            branch = make_branch()
            if block.columns.ndim > 1:
                union = make_branch() if block.layout == "profile" else None
                branch = PooledBranch(branch, embedding_size, dropout, union)
            self.branches.append(nn.Sequential(branch, nn.LayerNorm(embedding_size)))
        n_alone = len(blocks) if len(blocks) > 1 else 0
        self.block_heads = nn.ModuleList(nn.Linear(embedding_size, n_classes) for _ in range(n_alone))
        others = ("table", "elements")
        of_energy = [block.axis == "e" for block in blocks]
        tables = [block.layout in others for block in blocks]
        self.chemistry = [i for i, block in enumerate(blocks) if block.layout == "elements" or of_energy[i]]
        diffraction = [i for i in range(n_alone) if not (tables[i] or of_energy[i])]
        self.voters = diffraction if profile_vote else []
        joined = len(blocks) * embedding_size
        self.norm = nn.LayerNorm(joined)
        self.head = nn.Sequential(
            nn.Linear(joined + len(blocks), hidden_size),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(hidden_size, n_classes),
        )

    def forward(self, X, scale=1.0):
        """Map (n, n_features), NaN where missing, to class scores.

        Parameters
        ----------
        X : tensor of shape (n, n_features)
        scale : float
            Factor of the positions at which profiles are read.

        Returns
        -------
        scores : tensor of shape (n, n_classes)
            In prediction, the mean of all votes. In training, the scores of the joint classifier.
        alone : list of tensors of shape (n, n_classes)
            In training only: scores of each block's own classifier.
        present : bool tensor of shape (n, n_blocks)
            In training only: blocks that each row has.
        share, partner : tensors of shape (n,)
            In training with mixup only: see `draw_mix`.
        """
        embeddings, present = self._embed_blocks(X, scale)
        if not self.training:
            return self._vote(self._join(embeddings, present), embeddings, present)
        mix = draw_mix(present, self.mixup) if self.mixup else ()
        if mix:
            embeddings = [mix_rows(e, *mix) for e in embeddings]
        kept = present
        if self.drops_blocks:
            probability = torch.lerp(*self.dropout_range, self.progress)
            kept = choose_kept(present, probability, self.dropped_together)
        scores = self._join(embeddings, kept)
        alone = [head(embeddings[i]) for i, head in enumerate(self.block_heads)]
        return scores, alone, present, *mix

    def _embed_blocks(self, X, scale):
        """Return the embedding of each block, (n, embedding_size), and which blocks are present."""
        inputs = [X[:, getattr(self, f"columns_{i}")] for i in range(len(self.branches))]
        if scale != 1:
            inputs = [self._rescale(i, x, scale) for i, x in enumerate(inputs)]
        if self.training:
            inputs = drop_members(inputs)
        present = torch.stack([~torch.isnan(x).flatten(1).all(1) for x in inputs], dim=1)
        is_complete = present.all(0).tolist()
        embeddings = [
            branch(x) if complete else self._embed_rows(branch, x, rows)
            for branch, x, rows, complete in zip(self.branches, inputs, present.T, is_complete, strict=True)
        ]
        return embeddings, present

    def _embed_rows(self, branch, x, rows):
        """Return the embeddings of the selected rows, and zeros for the others."""
        out = x.new_zeros(len(x), self.embedding_size)
        if rows.any():
            out[rows] = branch(x[rows])
        return out

    def _rescale(self, i, x, scale):
        """Return profiles read at ``scale`` times the position; other blocks are unchanged."""
        if i not in self.first_bins:
            return x
        profiles = x.flatten(0, -2)
        factors = x.new_full((len(profiles), 1), scale)
        read, measured = stretch(scale_rows(profiles), ~torch.isnan(profiles), factors, self.first_bins[i])
        return torch.where(measured, read, torch.nan).reshape(x.shape)

    def embed(self, X):
        """Map (n, n_features), NaN where missing, to the fused layer, (n, hidden_size)."""
        return self.head[:2](self._concatenate(*self._embed_blocks(X, 1.0)))

    def _concatenate(self, embeddings, kept):
        """Return the normalised embeddings of the kept blocks side by side, and which these are."""
        joined = [e * keep[:, None] for e, keep in zip(embeddings, kept.T, strict=True)]
        joined = self.norm(torch.cat(joined, dim=1))
        return torch.cat([joined, kept.to(joined.dtype)], dim=1)

    def _join(self, embeddings, kept):
        """Return the scores of the joint classifier for the kept blocks."""
        return self.head(self._concatenate(embeddings, kept))

    def _vote(self, scores, embeddings, present):
        """Return the mean log-probability of the joint classifier and of the blocks that vote."""
        total = torch.log_softmax(scores, dim=1)
        alone = ~present[:, self.chemistry].any(1, keepdim=True)
        counts = present[:, self.voters] & alone
        for i, counted in zip(self.voters, counts.T, strict=True):
            vote = torch.log_softmax(self.block_heads[i](embeddings[i]), dim=1)
            total = total + torch.where(counted[:, None], vote, 0.0)
        return total / (1 + counts.sum(1, keepdim=True))
