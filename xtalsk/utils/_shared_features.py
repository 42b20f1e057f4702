"""Features that several blocks of one ColumnTransformer need: computed once."""

from contextlib import contextmanager
from contextvars import ContextVar

from joblib import hash as joblib_hash

_shared = ContextVar("features that the running ColumnTransformer has computed", default=None)


@contextmanager
def sharing():
    """While this context is open, equal transformers compute the features of equal cells only once."""
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def shared_features(transformer, cells, name):
    """Return the features that were computed in the open context, and the key of those asked for.

    The context is that of one thread or process: blocks that run in other ones compute for themselves.

    Parameters
    ----------
    transformer : estimator
    cells : list
        Cells are the same if they are the same objects.
    name : str or None
        Name of the column.

    Returns
    -------
    known : dict of {key: (cells, features)}
        It holds the cells, too, so that no other object gets their identity. An empty one that nobody else
        sees if no context is open.
    key : tuple or None
        None if no context is open.
    """
    known = _shared.get()
    if known is None:
        return {}, None
    params = {k: v for k, v in transformer.get_params().items() if k not in ("cache", "n_jobs")}
    return known, (joblib_hash((type(transformer), params)), name, tuple(map(id, cells)))


def shared_of_cells(transformer, parameters):
    """Return what was computed for single cells in the open context, and the key of the transformer.

    Call it before work is given to threads, which do not see the context.

    Parameters
    ----------
    transformer : estimator
    parameters : sequence of str
        Names of the parameters on which the result depends.

    Returns
    -------
    known : dict of {(key, identity of the cell): (cell, result)} or None
        None if no context is open.
    key : str
    """
    known = _shared.get()
    values = {name: getattr(transformer, name) for name in parameters}
    return known, joblib_hash((type(transformer), values)) if known is not None else ""
