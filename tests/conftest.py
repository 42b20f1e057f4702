"""Fixtures for the whole test suite."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores: one thread each
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def measured_data():
    """Folder of measured files in the repository; see its README.md for sources and licences."""
    return DATA


@pytest.fixture(scope="session")
def shared_data():
    """Folder of development data beside the checkout, or the folder named by XTALSK_SHARED_DATA."""
    folder = Path(os.environ.get("XTALSK_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"development data not found at {folder}; set XTALSK_SHARED_DATA")
    return folder
