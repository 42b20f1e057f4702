"""Sub-networks of blocks that describe a set, in no order: elements of a composition, lines of a pattern."""

import torch
from torch import nn
from torch.nn import functional as F

from xtalsk.composition import element_properties
from xtalsk.neural._constants import (
    ELEMENT_SCALE,
    FRACTION_NOISE,
    FRACTION_WAVES,
    MAX_DEVIATION,
    MAX_MEMBERS,
    N_SIMILAR,
    N_WAVES,
    SET_HEADS,
    SET_LAYERS,
    SET_SIZE,
    SMALLEST_FRACTION,
    SUBSTITUTION,
)
from xtalsk.neural._random import Dropout, rand, randn


class AttentionLayer(nn.Module):
    """Each member of a set looks at the others, weighted by their amounts; then a feed-forward layer [1]_.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention is all you need", NeurIPS (2017).
    """

    def __init__(self, size, dropout):
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.projection, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(size),
            nn.Linear(size, 2 * size),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(2 * size, size),
        )
        self.dropout = Dropout(dropout)

    def forward(self, x, bias):
        """Map (n, k, size) to the same shape; ``bias`` (n, 1, 1, k) is added to the scores of the members."""
        heads = self.projection(self.norm(x)).unflatten(2, (3, SET_HEADS, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*heads, attn_mask=bias)
        x = x + self.dropout(self.out(seen.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.feed_forward(x))


class SetSummary(nn.Module):
    """Summarise the members of a set by attention; the result does not depend on their order.

    A further member that is learnt stands for the whole set. The summary joins it, the weighted mean of the
    others and their largest values.

    Parameters
    ----------
    n_extra : int
        Number of further inputs, which do not belong to a member.
    hidden_size, embedding_size : int
    dropout : float
    """

    def __init__(self, n_extra, hidden_size, embedding_size, dropout):
        super().__init__()
        self.whole = nn.Parameter(torch.zeros(SET_SIZE))
        self.layers = nn.ModuleList(AttentionLayer(SET_SIZE, dropout) for _ in range(SET_LAYERS))
        self.norm = nn.LayerNorm(SET_SIZE)
        self.out = nn.Sequential(
            nn.Linear(3 * SET_SIZE + n_extra, hidden_size),
            nn.LayerNorm(hidden_size),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(hidden_size, embedding_size),
        )

    def forward(self, members, weight, extra):
        """Map members (n, k, SET_SIZE), with weights (n, k), 0 if absent, to (n, embedding_size)."""
        x = torch.cat([self.whole.expand(len(members), 1, -1), members], dim=1)
        bias = F.pad(weight.clamp(min=1e-30).log().masked_fill(weight == 0, -torch.inf), (1, 0))
        for layer in self.layers:
            x = layer(x, bias[:, None, None])
        x = self.norm(x)
        whole, members = x[:, 0], x[:, 1:]
        mean = (members * weight[:, :, None]).sum(1)
        largest = members.masked_fill(weight[:, :, None] == 0, -torch.inf).amax(1)
        largest = torch.where(weight.any(1, keepdim=True), largest, 0.0)
        return self.out(torch.cat([whole, mean, largest, extra], dim=1))


class ElementsBranch(nn.Module):
    """Read a composition as the set of its elements [1]_ [2]_.

    The vector of an element is learnt. It starts from its tabulated properties, which elements of few
    training rows share with others. A function of the atomic fraction is added to it. Means, spreads and ends
    of the properties, weighted by the fractions, join the summary of the set.

    In training, the fractions get noise, and elements are replaced by similar ones at random: many compounds
    have the structure of a compound of similar elements [3]_.

    References
    ----------
    .. [1] R. E. A. Goodall and A. A. Lee, Nat. Commun. 11, 6280 (2020).
    .. [2] A. Y.-T. Wang et al., npj Comput. Mater. 7, 77 (2021).
    .. [3] G. Hautier et al., Inorg. Chem. 50, 656 (2011).
    """

    def __init__(self, block, hidden_size, embedding_size, dropout):
        super().__init__()
        properties = torch.tensor(element_properties())  # a copy: files hold no shared tensors
        n_properties = properties.shape[1]
        similar = torch.cdist(properties, properties).argsort(1)[:, 1 : N_SIMILAR + 1]
        self.register_buffer("properties", properties)
        self.register_buffer("similar", similar)
        self.register_buffer("gaps", torch.as_tensor(block.gaps))
        self.register_buffer("waves", 2 * torch.pi * torch.tensor(FRACTION_WAVES), persistent=False)
        n_amounts = 4 + 2 * len(FRACTION_WAVES)
        self.of_properties = nn.Linear(n_properties, SET_SIZE)
        self.of_element = nn.Embedding(len(properties), SET_SIZE)
        nn.init.normal_(self.of_element.weight, std=ELEMENT_SCALE)
        self.of_fraction = nn.Sequential(
            nn.Linear(n_amounts, SET_SIZE), nn.GELU(), nn.Linear(SET_SIZE, SET_SIZE)
        )
        self.summary = SetSummary(4 * n_properties + len(block.gaps), hidden_size, embedding_size, dropout)

    def forward(self, x):
        """Map atomic fractions (n, 98), NaN for elements that cannot be measured, to (n, embedding_size)."""
        gaps = torch.isnan(x[:, self.gaps])
        fractions = torch.nan_to_num(x, nan=0.0)
        n_members = int((fractions > 0).sum(1).max().clamp(1, MAX_MEMBERS))
        fractions, element = fractions.topk(n_members, dim=1)
        if self.training:
            fractions, element = self._disturb(fractions, element)
        fractions = fractions / fractions.sum(1, keepdim=True).clamp(min=1e-30)
        properties = self.properties[element]
        members = self.of_properties(properties) + self.of_element(element) + self._describe(fractions)
        extra = [*_statistics(properties, fractions), gaps.to(x.dtype)]
        return self.summary(members, fractions, torch.cat(extra, dim=1))

    def _disturb(self, fractions, element):
        """Return fractions with noise, and elements of which some are replaced, both (n, k)."""
        spread = FRACTION_NOISE * rand(len(fractions), 1, like=fractions)
        noisy = fractions * (spread * randn(*fractions.shape, like=fractions)).exp()
        choice = (N_SIMILAR * rand(*fractions.shape, like=fractions)).long().clamp(max=N_SIMILAR - 1)
        is_replaced = rand(*fractions.shape, like=fractions) < SUBSTITUTION
        return noisy, torch.where(is_replaced, self.similar[element, choice], element)

    def _describe(self, fractions):
        """Return the vectors of fractions, (n, k, SET_SIZE)."""
        relative = fractions / fractions.amax(1, keepdim=True).clamp(min=1e-30)
        logarithm = fractions.clamp(min=SMALLEST_FRACTION).log() / 4
        amounts = torch.stack([fractions, fractions.sqrt(), logarithm, relative], dim=2)
        phase = fractions[:, :, None] * self.waves
        return self.of_fraction(torch.cat([amounts, phase.sin(), phase.cos()], dim=2))


def _statistics(properties, fractions):
    """Return mean, mean deviation, lowest and highest values of properties (n, k, p), each (n, p)."""
    weight, is_present = fractions[:, :, None], fractions[:, :, None] > 0
    mean = (properties * weight).sum(1)
    deviation = ((properties - mean[:, None]).abs() * weight).sum(1)
    lowest = torch.where(is_present, properties, torch.inf).amin(1).nan_to_num(posinf=0.0)
    highest = torch.where(is_present, properties, -torch.inf).amax(1).nan_to_num(neginf=0.0)
    return mean, deviation, lowest, highest


class PeaksBranch(nn.Module):
    """Read the lines of a pattern as the set of their properties; the first property is the position.

    Waves of several lengths describe the logarithm of the position. In the logarithm, all lines of a crystal
    move by the same amount if its cell grows.
    """

    def __init__(self, block, hidden_size, embedding_size, dropout):
        super().__init__()
        self.shape = block.shape
        self.register_buffer("mean", torch.as_tensor(block.mean))
        self.register_buffer("scale", torch.as_tensor(block.scale).clamp(max=torch.finfo(torch.float32).max))
        self.register_buffer("waves", torch.pi * 2.0 ** torch.arange(N_WAVES), persistent=False)
        n_inputs = block.shape[1] + 2 * N_WAVES
        self.of_line = nn.Sequential(nn.Linear(n_inputs, SET_SIZE), nn.GELU(), nn.Linear(SET_SIZE, SET_SIZE))
        self.summary = SetSummary(0, hidden_size, embedding_size, dropout)

    def forward(self, x):
        """Map (n, n_lines * n_properties), NaN where there is no line, to (n, embedding_size)."""
        lines = x.unflatten(1, self.shape)
        exists = ~lines.isnan().any(2)
        z = ((lines - self.mean) / self.scale).clamp(-MAX_DEVIATION, MAX_DEVIATION)
        phase = lines[:, :, :1].clamp(min=1e-6).log() * self.waves
        members = torch.cat([z, phase.sin(), phase.cos()], dim=2).masked_fill(~exists[:, :, None], 0.0)
        weight = exists / exists.sum(1, keepdim=True).clamp(min=1)
        return self.summary(self.of_line(members), weight, members[:, 0, :0])


SET_BRANCHES = {"elements": ElementsBranch, "peaks": PeaksBranch}
"""Sub-networks of sets by the layout of their block."""
