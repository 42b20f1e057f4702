import numpy as np
import pytest

from xtalsk.datasets import load_amcsd


@pytest.fixture(scope="session")
def amcsd():
    return load_amcsd()


@pytest.fixture(scope="session")
def sixty(amcsd):
    """Sixty structures spread in cell volume, up to 4,000 Å³."""
    order = np.argsort(amcsd.volumes)
    order = order[amcsd.volumes[order] < 4000]
    return amcsd[order[np.linspace(0, len(order) - 1, 60).astype(int)]]
