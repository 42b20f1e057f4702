"""The torch module: blocks of one feature matrix, each through its own sub-network, to class scores."""

import torch
from torch import nn

from xtalsk.neural._branches import Conv1dBranch, Conv2dBranch, DenseBranch


def choose_kept(present, probability):
    """Choose at random which of the present blocks of each row to keep.

    Parameters
    ----------
    present : bool tensor of shape (n, n_blocks)
    probability : float
        With which a block is dropped. A row whose blocks would all go keeps one of them, each with the same
        chance.

    Returns
    -------
    bool tensor of shape (n, n_blocks)
    """
    kept = present & (torch.rand(present.shape, device=present.device) >= probability)
    lot = torch.where(present, torch.rand(present.shape, device=present.device), -1.0)
    one = nn.functional.one_hot(lot.argmax(1), present.shape[1]).bool() & present
    return torch.where(kept.any(1, keepdim=True), kept, one)


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
    dropout, modality_dropout : float
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
        dropout,
        modality_dropout,
        augment,
        profile_vote,
    ):
        super().__init__()
        self.modality_dropout = modality_dropout
        self.embedding_size = embedding_size
        self.branches = nn.ModuleList()
        for i, block in enumerate(blocks):
            self.register_buffer(f"columns_{i}", torch.as_tensor(block.columns))
            if block.kind == "dense":
                branch = DenseBranch(block, hidden_size, embedding_size, dropout)
            elif block.kind == "conv1d":
                branch = Conv1dBranch(block, n_filters, embedding_size, dropout, augment)
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

    def forward(self, X):
        """Map (n, n_features), NaN where missing, to class scores (n, n_classes): votes put together.

        In training return the joint scores without the votes, the scores of each block alone and, as
        (n, n_blocks), which blocks each row has.
        """
        inputs = [X[:, getattr(self, f"columns_{i}")] for i in range(len(self.branches))]
        present = torch.stack([~torch.isnan(x).all(1) for x in inputs], dim=1)
        embeddings = [
            self._embed(branch, x, here)
            for branch, x, here in zip(self.branches, inputs, present.T, strict=True)
        ]
        kept = present
        if self.training and self.modality_dropout > 0:
            kept = choose_kept(present, self.modality_dropout)
        joined = [e * keep[:, None] for e, keep in zip(embeddings, kept.T, strict=True)]
        joined = self.norm(torch.cat(joined, dim=1))
        scores = self.head(torch.cat([joined, kept.to(joined.dtype)], dim=1))
        if not self.training:
            return self._vote(scores, embeddings, present)
        alone = [head(embeddings[i]) for i, head in enumerate(self.block_heads)]
        return scores, alone, present

    def _vote(self, scores, embeddings, present):
        """Mean log-probability of the joint classifier and of each profile or image that was measured."""
        total = torch.log_softmax(scores, dim=1)
        for i in self.voters:
            vote = torch.log_softmax(self.block_heads[i](embeddings[i]), dim=1)
            total = total + torch.where(present[:, i : i + 1], vote, 0.0)
        return total / (1 + present[:, self.voters].sum(1, keepdim=True))

    def _embed(self, branch, x, here):
        """Embed the rows that have the block; the others get zeros."""
        if here.all():
            return branch(x)
        out = x.new_zeros(len(x), self.embedding_size)
        if here.any():
            out[here] = branch(x[here])
        return out
