"""Fixtures for the whole test suite."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data():
    """Folder of development data beside the checkout, or the folder named by XTALSK_SHARED_DATA."""
    folder = Path(os.environ.get("XTALSK_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"development data not found at {folder}; set XTALSK_SHARED_DATA")
    return folder
