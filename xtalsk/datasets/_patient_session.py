"""HTTP requests that are repeated while a server is busy or the connection is poor."""

import email.utils
import random
import time

import requests

_BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Status codes after which the same request can succeed later."""
_FIRST_WAIT = 0.5  # s; the wait doubles with each attempt


class DownloadError(OSError):
    """A download did not succeed; the message says what is stored and how to continue.

    Examples
    --------
    >>> from xtalsk.datasets import DownloadError
    >>> issubclass(DownloadError, OSError)
    True
    """


def patient_session(max_attempts, max_wait, on_retry=None):
    """Return a class of `requests.Session` whose GET requests are repeated.

    A request is repeated after a lost connection, a time-out, a busy server (408, 425, 429, 500, 502, 503,
    504), and an answer that is no complete JSON document. The wait doubles each time, with a random part. A
    server that sends ``Retry-After`` is obeyed.

    Parameters
    ----------
    max_attempts : int
        Attempts for one request.
    max_wait : float
        Longest wait in seconds.
    on_retry : callable or None
        Called with the reason before each wait.

    Returns
    -------
    type
    """

    class PatientSession(requests.Session):
        def get(self, url, **kwargs):
            for attempt in range(1, max_attempts + 1):
                reason, asked = "", None
                try:
                    response = super().get(url, **kwargs)
                    if response.status_code in _BUSY:
                        reason = f"status {response.status_code}"
                        asked = _asked_wait(response.headers.get("Retry-After"))
                    elif response.status_code == 200:
                        response.json()
                except ValueError:  # of response.json()
                    reason = "an incomplete answer"
                except requests.RequestException as error:
                    reason = f"{type(error).__name__}: {error}"
                if not reason:
                    return response
                if attempt < max_attempts:
                    if on_retry is not None:
                        on_retry(reason)
                    time.sleep(min(max_wait, _wait(attempt) if asked is None else asked))
            raise DownloadError(f"{url}: {max_attempts} attempts failed; the last one with {reason}")

    return PatientSession


def _wait(attempt):
    """Return the seconds to wait after an attempt, of which half are random."""
    return _FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)


def _asked_wait(header):
    """Return the seconds that a header ``Retry-After`` asks for (a number or a date), or None."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
