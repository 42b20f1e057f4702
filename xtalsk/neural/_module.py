"""The torch module: blocks of one feature matrix, each through its own sub-network, to class scores."""

import torch
from torch import nn

from xtalsk.neural._augment import stretch
from xtalsk.neural._branches import Conv1dBranch, Conv2dBranch, DenseBranch, scale_rows
from xtalsk.neural._mixing import choose_kept, draw_mix, mix_rows


class FusionModule(nn.Module):
    """Embed each block of a row, normalise, join, normalise again, and score the classes.

    A block that is all NaN in a row, or dropped from it in training, adds zeros to the joined embedding, and
    the classifier is told which blocks it sees.

    In training each of several blocks also has a linear classifier of its own. Through the joint classifier
    alone, a sub-network gets no gradient any more as soon as an easier block, mostly chemistry, tells the
    compounds of the training set apart [1]_.

    Parameters
    ----------
    blocks : list of Block
        With what `measure_block` has learnt of them.
    n_classes : int
    hidden_size, embedding_size, n_filters : int
        Units of the hidden layers, of each block's embedding, and channels of the first convolution.
    dropout : float
    modality_dropout : ndarray of shape (2, n_blocks)
        Probability of each block at the beginning and at the end of training.
    mixup : float
        Parameter of the beta distribution of `draw_mix`; 0 mixes nothing.
    augment : dict
        Amounts for `ProfileAugment`.
    profile_vote : bool
        Whether the answer is the normalised geometric mean of the joint classifier's and those of the
        profiles and images that were measured. What a profile tells holds for unseen compounds, while the
        joint classifier may rely on compounds it knows.

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
    ):
        super().__init__()
        self.progress = 1.0  # share of training that is done
        self.drops_blocks, self.mixup = bool(modality_dropout.any()), mixup
        self.register_buffer("dropout_range", torch.as_tensor(modality_dropout), persistent=False)
        self.first_bins = {i: block.first for i, block in enumerate(blocks) if block.kind == "conv1d"}
        self.embedding_size = embedding_size
        self.branches = nn.ModuleList()
        for i, block in enumerate(blocks):
            self.register_buffer(f"columns_{i}", torch.as_tensor(block.columns))
            if block.kind == "dense":
                branch = DenseBranch(block, hidden_size, embedding_size, dropout)
            elif block.kind == "conv1d":
                branch = Conv1dBranch(
                    block, n_filters, embedding_size, dropout, augment, n_residual, precision
                )
            else:
                branch = Conv2dBranch(block, n_filters, embedding_size, dropout)
            self.branches.append(nn.Sequential(branch, nn.LayerNorm(embedding_size)))
        alone = len(blocks) if len(blocks) > 1 else 0
        self.block_heads = nn.ModuleList(nn.Linear(embedding_size, n_classes) for _ in range(alone))
        diffraction = [i for i in range(alone) if blocks[i].kind != "dense" and blocks[i].axis != "e"]
        self.voters = diffraction if profile_vote else []
        joined = len(blocks) * embedding_size
        self.norm = nn.LayerNorm(joined)
        self.head = nn.Sequential(
            nn.Linear(joined + len(blocks), hidden_size),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, n_classes),
        )

    def forward(self, X, scale=1.0):
        """Map (n, n_features), NaN where missing, to class scores (n, n_classes): votes put together.

        In training return the joint scores without the votes, the scores of each block alone and, as
        (n, n_blocks), which blocks each row has; with mixup also the share that each row kept of itself and
        the row that the rest came from. Otherwise ``scale`` reads profiles at so many times the position.
        """
        inputs = [X[:, getattr(self, f"columns_{i}")] for i in range(len(self.branches))]
        if scale != 1:
            inputs = [self._reread(i, x, scale) for i, x in enumerate(inputs)]
        present = torch.stack([~torch.isnan(x).all(1) for x in inputs], dim=1)
        complete = present.all(0).tolist()
        embeddings = [
            branch(x) if all_rows else self._embed(branch, x, here)
            for branch, x, here, all_rows in zip(self.branches, inputs, present.T, complete, strict=True)
        ]
        if not self.training:
            return self._vote(self._join(embeddings, present), embeddings, present)
        mix = draw_mix(present, self.mixup) if self.mixup else ()
        if mix:
            embeddings = [mix_rows(e, *mix) for e in embeddings]
        kept = present
        if self.drops_blocks:
            kept = choose_kept(present, torch.lerp(*self.dropout_range, self.progress))
        scores = self._join(embeddings, kept)
        alone = [head(embeddings[i]) for i, head in enumerate(self.block_heads)]
        return scores, alone, present, *mix

    def _join(self, embeddings, kept):
        """Scores of the joint classifier, which sees the blocks that are kept."""
        joined = [e * keep[:, None] for e, keep in zip(embeddings, kept.T, strict=True)]
        joined = self.norm(torch.cat(joined, dim=1))
        return self.head(torch.cat([joined, kept.to(joined.dtype)], dim=1))

    def _reread(self, i, x, scale):
        """Profiles at ``scale`` times the position; other blocks as they are."""
        if i not in self.first_bins:
            return x
        factors = x.new_full((len(x), 1), scale)
        x, measured = stretch(scale_rows(x), ~torch.isnan(x), factors, self.first_bins[i])
        return torch.where(measured, x, torch.nan)

    def _vote(self, scores, embeddings, present):
        """Mean log-probability of the joint classifier and of each profile or image that was measured."""
        total = torch.log_softmax(scores, dim=1)
        for i in self.voters:
            vote = torch.log_softmax(self.block_heads[i](embeddings[i]), dim=1)
            total = total + torch.where(present[:, i : i + 1], vote, 0.0)
        return total / (1 + present[:, self.voters].sum(1, keepdim=True))

    def _embed(self, branch, x, here):
        """Embed the rows that have the block; the others get zeros."""
        out = x.new_zeros(len(x), self.embedding_size)
        if here.any():
            out[here] = branch(x[here])
        return out
