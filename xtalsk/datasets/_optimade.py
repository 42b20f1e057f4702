"""Crystals of open databases that offer the OPTIMADE interface."""

from sklearn.utils import check_scalar
from tqdm import tqdm

from xtalsk.datasets._data_home import get_data_home
from xtalsk.datasets._fetched import open_store, read_fetched
from xtalsk.datasets._optimade_client import check_filter, download, find_database, make_client
from xtalsk.datasets._optimade_entries import crystal_of_entry


def fetch_optimade(
    provider,
    filter="",
    *,
    n_max=None,
    page_size=None,
    extra_fields=(),
    name_field=None,
    symprec=0.01,
    data_home=None,
    download_if_missing=True,
    refresh=False,
    max_attempts=8,
    max_wait=60.0,
    timeout=60.0,
    n_jobs=None,
    verbose=0,
):
    """Fetch crystals from a database with an OPTIMADE interface, such as COD or the Materials Project.

    Pages are stored as they arrive. The same call continues an interrupted download, and reads a finished one
    from disk without a connection. A request is repeated while the server is busy, after a lost connection
    and after an incomplete answer. spglib determines the space groups.

    Parameters
    ----------
    provider : str
        Identifier of a provider at https://providers.optimade.org, such as ``"cod"``, ``"mp"`` or ``"oqmd"``,
        or the address (base URL) of a database. A provider with several databases needs the address.
    filter : str, default=""
        In the OPTIMADE language [1]_, such as ``'elements HAS ALL "Ti","O" AND nelements=2'``. Empty means
        all entries.
    n_max : int or None, default=None
        Largest number of entries; whole pages are fetched.
    page_size : int or None, default=None
        Number of entries of a page. None is that of the database, often 10 or 20; large pages save requests.
        Databases refuse numbers above a limit of their own.
    extra_fields : tuple of str, default=()
        Further properties of an entry to keep in ``provenance``, such as ``"_cod_mineral"``.
    name_field : str or None, default=None
        The property that becomes `CrystalSet.names`, such as the mineral; it groups compounds.
    symprec : float, default=0.01
        Tolerance of the search for symmetry in Å.
    data_home : path or None, default=None
        See `get_data_home`.
    download_if_missing : bool, default=True
        False: raise if the answer is not on disk, and do not connect.
    refresh : bool, default=False
        Whether to fetch everything again.
    max_attempts : int, default=8
        Attempts for each page.
    max_wait : float, default=60.0
        Longest wait in seconds between attempts.
    timeout : float, default=60.0
        Seconds to wait for an answer.
    n_jobs : int or None, default=None
        Number of joblib workers that read the pages.
    verbose : int, default=0
        Above 0 shows the progress; above 1 also why requests were repeated.

    Returns
    -------
    sklearn.utils.Bunch
        ``crystals`` : CrystalSet
            Without duplicates and broken entries, in the order of the database.
        ``provenance`` : DataFrame
            One row for each crystal: ``id``, ``formula``, ``last_modified``, ``stated_space_group`` (0 if the
            database states none), ``database``, ``license`` and the extra fields.
        ``broken`` : DataFrame
            ``id`` and ``reason`` of each entry that cannot be used. A `BrokenEntryWarning` lists them too.
        ``database`` : dict
            What the database says of itself: name, provider, licence, version, time of the answer.
        ``folder`` : Path
            Where the pages are stored.

    Raises
    ------
    ValueError
        If the provider is unknown or has several databases, the filter is not valid, or no entry can be used.
    DownloadError
        If the server does not answer after all attempts. What arrived is kept.
    ImportError
        If the package ``optimade`` is not installed; ``pip install xtalsk[fetch]``.

    References
    ----------
    .. [1] C. W. Andersen et al., "OPTIMADE, an API for exchanging materials data", Sci. Data 8, 217 (2021);
       specification 1.2, https://specification.optimade.org.

    Examples
    --------
    >>> from xtalsk.datasets import fetch_optimade
    >>> titania = fetch_optimade("cod", 'elements HAS ALL "Ti","O" AND nelements=2')  # doctest: +SKIP
    >>> titania.crystals, titania.provenance  # doctest: +SKIP
    """
    if n_max is not None:
        check_scalar(n_max, "n_max", int, min_val=1)
    if page_size is not None:
        check_scalar(page_size, "page_size", int, min_val=1)
    check_scalar(max_attempts, "max_attempts", int, min_val=1)
    extra = tuple(dict.fromkeys([*extra_fields, *([name_field] if name_field else [])]))
    query = {"provider": provider, "filter": filter, "n_max": n_max, "extra_fields": list(extra)}
    store = open_store(get_data_home(data_home) / "optimade", provider, query, refresh, download_if_missing)
    if not store.state["finished"]:
        url = find_database(provider, max_attempts, max_wait)
        client = make_client(url, max_attempts, max_wait, timeout, tqdm.write if verbose > 1 else None)
        check_filter(filter)
        download(store, client, url, page_size, verbose)
    return read_fetched(store, crystal_of_entry, symprec, extra, name_field, n_jobs, verbose)
