"""Download of the pages of an OPTIMADE query with the client of the package ``optimade``."""

import time

from tqdm import tqdm

from xtalsk._version import __version__
from xtalsk.datasets._optimade_entries import FIELDS
from xtalsk.datasets._patient_session import DownloadError, patient_session

_UNLIMITED = 10**12  # the client needs a number of entries where a database states none


def make_client(url, max_attempts, max_wait, timeout, report=None):
    """Return a client of one database; see `fetch_optimade` and `patient_session`."""
    try:
        from optimade.client import OptimadeClient
    except ImportError as error:
        raise ImportError("fetch_optimade needs the package optimade: pip install xtalsk[fetch]") from error
    return OptimadeClient(
        base_urls=url,
        use_async=False,
        silent=True,
        http_client=patient_session(max_attempts, max_wait, report),
        http_timeout=timeout,
        max_results_per_provider=_UNLIMITED,
        headers={"User-Agent": f"xtalsk/{__version__}"},
    )


def check_filter(text):
    """Raise ValueError if a filter is not in the OPTIMADE language."""
    from optimade.exceptions import BadRequest
    from optimade.filterparser import LarkParser

    try:
        LarkParser().parse(text)
    except BadRequest as error:
        raise ValueError(f"filter is not in the OPTIMADE language: {text!r}: {error}") from None


def find_database(provider, max_attempts, max_wait):
    """Return the address of the database of a provider.

    Parameters
    ----------
    provider : str
        Identifier of a provider, or an address.
    max_attempts, max_wait
        As in `patient_session`.

    Raises
    ------
    ValueError
        If no provider has this identifier, or the provider has several databases.
    """
    if "://" in provider:
        return provider.rstrip("/")
    from optimade.utils import get_all_databases

    session = patient_session(max_attempts, max_wait)()
    addresses = list(get_all_databases(include_providers={provider}, session=session))
    if not addresses:
        raise ValueError(
            f"no database of a provider {provider!r} is listed at https://providers.optimade.org, or the "
            "list cannot be reached; give the address of the database"
        )
    if len(addresses) > 1:
        raise ValueError(f"provider {provider!r} has several databases; give one address of {addresses}")
    return addresses[0].rstrip("/")


def download(store, client, url, page_size, verbose):
    """Fetch the pages that a store lacks.

    Parameters
    ----------
    store : PageStore
    client : OptimadeClient
    url : str
        Address of the database.
    page_size : int or None
        Entries of a page; None is that of the database.
    verbose : int
        Above 0 shows the progress.

    Raises
    ------
    DownloadError
        If the server does not answer, or the pages do not end.
    ValueError
        If the server refuses the query.
    """
    query = store.state["query"]
    if "database" not in store.state:
        store.update(database=_describe(client, url))
    fields = [*FIELDS, *query["extra_fields"]]
    addresses = set()
    with tqdm(desc="entries", initial=store.state["n_entries"], disable=verbose < 1) as bar:
        while not store.state["finished"]:
            address = store.state["next"]
            answer = _ask(client, url, store, address, fields, page_size)
            entries, following = answer.data, answer.links.get("next")
            following = following.get("href") if isinstance(following, dict) else following
            if following is not None and following in addresses | {address}:
                raise DownloadError(f"{url}: the server names a page as the next one that it gave before")
            addresses.add(following)
            n_missing = (query["n_max"] or _UNLIMITED) - store.state["n_entries"]
            if len(entries) >= n_missing:
                entries, following = entries[:n_missing], None
            announced = answer.meta.get("data_returned")
            store.add(entries, following, n_announced=announced)
            bar.total = announced
            bar.update(len(entries))


def _ask(client, url, store, address, fields, page_size):
    """Return one page, `optimade.client.utils.QueryResults`."""
    answer = client.get_one(
        "structures", store.state["query"]["filter"], url, response_fields=fields, paginate=False,
        page_limit=page_size, override_url=address,
    )[url]  # fmt: skip
    if not answer.errors:
        return answer
    message = "; ".join(str(error) for error in answer.errors)
    if not message.startswith(DownloadError.__name__):
        raise ValueError(f"{url} does not answer the query {store.state['query']['filter']!r}: {message}")
    n = store.state["n_entries"]
    message = message.removeprefix(f"{DownloadError.__name__}: ")
    raise DownloadError(f"{message}. {n} entries are stored; the same call continues after them")


def _describe(client, url):
    """Return what a database says of itself, a dict."""
    answer = client.get_one("info", "", url, paginate=False)[url]
    attributes = (answer.data or {}).get("attributes") or {} if isinstance(answer.data, dict) else {}
    license_ = attributes.get("license")
    if isinstance(license_, dict):
        license_ = license_.get("href")
    licenses = attributes.get("available_licenses_for_entries") or attributes.get("available_licenses")
    return {
        "url": url,
        "provider": (answer.meta.get("provider") or {}).get("name"),
        "license": license_ or ", ".join(licenses or []) or "not stated",
        "api_version": answer.meta.get("api_version"),
        "fetched": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
