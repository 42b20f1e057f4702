"""The folder in which downloads are kept."""

import os
from pathlib import Path


def get_data_home(data_home=None):
    """Return the folder in which `fetch_optimade` and its kind keep their downloads, and create it.

    Parameters
    ----------
    data_home : path or None, default=None
        None means the folder that the environment variable ``XTALSK_DATA`` names, or ``xtalsk_data`` in the
        home folder.

    Returns
    -------
    Path

    Examples
    --------
    >>> import tempfile
    >>> from xtalsk.datasets import get_data_home
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     get_data_home(f"{folder}/downloads").name
    'downloads'
    """
    folder = Path(data_home or os.environ.get("XTALSK_DATA") or "~/xtalsk_data").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
