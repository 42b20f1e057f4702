"""Published methods that classify patterns, as scikit-learn estimators on the profiles of this package.

They get the same columns as the other models, without augmentation and without chemistry.
"""

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from xtalsk.diffraction import locate_peaks
from xtalsk.utils import check_device

_DROPOUT = (0.3, 0.5)  # after convolutions and after dense layers
_ACCEPTED = {"dtype": np.float32, "ensure_all_finite": "allow-nan"}


def park_network(n_points, n_classes, dense=(2300, 1150)):
    """Build the network of Park et al.: three convolutions, average pooling, two dense layers [1]_.

    Parameters
    ----------
    n_points, n_classes : int
    dense : tuple of int
        Units of the dense layers.

    Returns
    -------
    torch.nn.Sequential
        Network from (n, 1, n_points) to (n, n_classes) logits.

    References
    ----------
    .. [1] W. B. Park et al., IUCrJ 4, 486 (2017).
    """
    layers, channels = [], 1
    for kernel, stride, pool in ((100, 5, 2), (50, 5, 3), (25, 2, 3)):
        layers += [
            nn.Conv1d(channels, 80, kernel, stride, padding=kernel // 2),
            nn.ReLU(),
            nn.Dropout(_DROPOUT[0]),
            nn.AvgPool1d(3, pool, ceil_mode=True),
        ]
        channels = 80
    layers.append(nn.Flatten())
    with torch.no_grad():
        size = nn.Sequential(*layers).eval()(torch.zeros(1, 1, n_points)).shape[1]
    for units in dense:
        layers += [nn.Linear(size, units), nn.ReLU(), nn.Dropout(_DROPOUT[1])]
        size = units
    return nn.Sequential(*layers, nn.Linear(size, n_classes))


class ParkNet(ClassifierMixin, BaseEstimator):
    """Convolutional network of Park et al. on profiles [1]_.

    It has 80 filters each of lengths 100, 50 and 25 and strides 5, 5 and 2, average pooling over 3, dropout
    0.3, dense layers of 2300 and 1150 units with dropout 0.5, and Adam. The publication uses 10,001 points
    (10 to 110 degrees, simulated without noise) and trains for 5,000 epochs in batches of 1,000. Here, each
    profile is interpolated to ``n_points`` and divided by its highest value. Bins that were not measured are
    0.

    Parameters
    ----------
    n_points : int, default=2501
        Points of the interpolated profile. With the default, filters and strides have about the same length
        relative to the profile as in the publication.
    dense : tuple of int, default=(2300, 1150)
        Units of the dense layers.
    max_epochs : int, default=40
    batch_size : int, default=128
    learning_rate : float, default=1e-3
    device : str, default="auto"
    random_state : int, RandomState or None, default=None

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    network_ : torch.nn.Sequential
    loss_curve_ : list of float

    References
    ----------
    .. [1] W. B. Park et al., IUCrJ 4, 486 (2017).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([62, 225], 20)
    >>> X = rng.normal(size=(40, 64)) + 5 * (np.arange(64) == np.where(y == 62, 20, 40)[:, None])
    >>> net = ParkNet(500, dense=(64, 32), max_epochs=20, batch_size=20, random_state=0)
    >>> net.fit(X, y).score(X, y) > 0.9
    True
    """

    def __init__(
        self,
        n_points=2501,
        *,
        dense=(2300, 1150),
        max_epochs=40,
        batch_size=128,
        learning_rate=1e-3,
        device="auto",
        random_state=None,
    ):
        self.n_points = n_points
        self.dense = dense
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.device = device
        self.random_state = random_state

    def _prepare(self, X):
        """Convert profiles to the input of the network: a tensor of shape (n, 1, n_points), up to 1."""
        X = np.nan_to_num(np.asarray(X, dtype=np.float32))
        X = torch.from_numpy(X / np.maximum(X.max(axis=1, keepdims=True), 1e-12))[:, None]
        return nn.functional.interpolate(X, size=self.n_points, mode="linear", align_corners=True)

    def fit(self, X, y):
        """Train on profiles of shape (n_specimens, n_bins) and any labels."""
        X, y = validate_data(self, X, y, **_ACCEPTED)
        self.classes_, encoded = np.unique(y, return_inverse=True)
        device = torch.device(check_device(self.device))
        seed = int(check_random_state(self.random_state).randint(2**31))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = park_network(self.n_points, len(self.classes_), self.dense).to(device)
            self.loss_curve_ = self._train(network, X, torch.from_numpy(encoded), device)
        self.network_ = network.cpu().eval()
        return self

    def _train(self, network, X, target, device):
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        losses = []
        for _ in range(self.max_epochs):
            network.train()
            total = 0.0
            for rows in torch.randperm(len(X)).split(self.batch_size):
                logits = network(self._prepare(X[rows.numpy()]).to(device))
                loss = nn.functional.cross_entropy(logits, target[rows].to(device))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += float(loss.detach()) * len(rows)
            losses.append(total / len(X))
        return losses

    def predict_proba(self, X):
        """Return the probabilities of the labels, shape (n_specimens, n_classes)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_ACCEPTED)
        parts = np.array_split(X, max(1, len(X) // 256))
        with torch.no_grad():
            proba = [self.network_(self._prepare(part)).softmax(dim=1) for part in parts]
        return torch.cat(proba).double().numpy()

    def predict(self, X):
        """Return the most probable label of each profile."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class TenPeaks(TransformerMixin, BaseEstimator):
    """Positions of the ten lines of lowest angle, and the number of lines, after Suzuki et al. [1]_.

    Parameters
    ----------
    q_range : (float, float)
        Ends of the bins of the profiles in 1/Å.
    n_peaks : int, default=10
        Number of lines.
    width : float, default=0.0015
        Standard deviation in 1/Å of the smoothing before the search for lines.

    Notes
    -----
    Positions are q² in 1/Å², which is linear in the components of the reciprocal metric. Missing positions
    are -1. The publication computes the lines from structures. Here, they are found in the profile.

    References
    ----------
    .. [1] Y. Suzuki et al., Sci. Rep. 10, 21790 (2020).

    Examples
    --------
    >>> q = np.linspace(0.1, 0.9, 801)
    >>> profile = sum(np.exp(-(((q - q0) / 0.003) ** 2)) for q0 in (0.3, 0.5))
    >>> TenPeaks((0.1, 0.9), n_peaks=3).fit_transform([profile]).round(2).tolist()
    [[0.09, 0.25, -1.0, 2.0]]
    """

    def __init__(self, q_range, *, n_peaks=10, width=0.0015):
        self.q_range = q_range
        self.n_peaks = n_peaks
        self.width = width

    def fit(self, X, y=None):
        """Store the number of bins."""
        validate_data(self, X, **_ACCEPTED)
        return self

    def transform(self, X):
        """Return the lines of profiles (n_specimens, n_bins), of shape (n_specimens, n_peaks + 1)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_ACCEPTED)
        low, high = self.q_range
        q = low + (np.arange(X.shape[1]) + 0.5) * (high - low) / X.shape[1]
        out = np.full((len(X), self.n_peaks + 1), -1.0)
        for row, profile in zip(out, X, strict=True):
            peaks, _ = locate_peaks(q, profile, width=self.width)
            row[: min(len(peaks), self.n_peaks)] = peaks[: self.n_peaks] ** 2
            row[-1] = len(peaks)
        return out

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_features_in_")
