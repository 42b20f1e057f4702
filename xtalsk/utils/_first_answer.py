"""Whether a few rows are worth the compilation of loops."""

from importlib.util import find_spec
from pathlib import Path

FEW_ROWS = 4
"""Largest number of rows for which loops are not compiled. Batched tensors index a row in 0.05 s; the loops
take 30 s to compile (``python benchmarks/bench_pipeline.py``, first process after installation)."""

_compiled = set()  # modules whose machine code was found


def is_compiled_or_worth_it(module, n_rows):
    """Return whether compiled loops are to be used for some rows.

    Parameters
    ----------
    module : str
        Name of the module of the loops. It is not imported.
    n_rows : int

    Returns
    -------
    bool
        False for a few rows if the loops have not been compiled on this machine before: their machine code is
        not in the package. Batched tensors then answer sooner.
    """
    if n_rows > FEW_ROWS or module in _compiled:
        return True
    file = Path(find_spec(module).origin)
    if any((file.parent / "__pycache__").glob(f"{file.stem}.*.nbi")):
        _compiled.add(module)
    return module in _compiled
