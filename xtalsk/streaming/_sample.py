"""What streams have in common, whether their specimens are simulated or read."""

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone

from xtalsk.streaming._constants import SAMPLE_SIZE


def fitted(features, columns):
    """Return a fitted copy of features; their transformers learn nothing from data."""
    return clone(features).fit(pd.DataFrame({c: pd.Series([None], dtype=object) for c in columns}))


class Sampled:
    """A stream with the method ``chunk`` and the attributes ``chunk_size`` and ``feature_names_``."""

    def sample(self, n_specimens=SAMPLE_SIZE):
        """Make the first chunks as a table, without the specimens of which nothing can be read.

        Parameters
        ----------
        n_specimens : int
            Smallest number of specimens; the chunks are whole.

        Returns
        -------
        X : DataFrame of shape (n_samples, n_features)
        y : ndarray of int64, shape (n_samples,)
            Space groups.
        """
        n_chunks = -(-n_specimens // self.chunk_size)
        X, y = zip(*(self.chunk(k) for k in range(n_chunks)), strict=True)
        table = pd.DataFrame(torch.cat(X).cpu().numpy(), columns=self.feature_names_)
        measured = table.notna().any(axis=1).to_numpy()
        return table[measured].reset_index(drop=True), np.concatenate(y)[measured]
