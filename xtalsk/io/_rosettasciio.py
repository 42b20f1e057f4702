"""Files of microscopes, through rosettasciio, which is imported when it is used."""

from importlib import import_module


def read_microscope(path, choose):
    """Let the readers for a file's suffix try in turn, until one finds what is looked for.

    Parameters
    ----------
    path : Path
    choose : callable
        Given the list of signals that a reader returns (dicts with ``data``, ``axes`` and ``metadata``),
        returns what it makes of them, or raises ValueError.

    Returns
    -------
    object
        What ``choose`` returned.

    Raises
    ------
    ImportError
        If rosettasciio is not installed.
    ValueError
        If no reader knows the suffix, or none finds what is looked for; names the file.
    """
    try:
        import rsciio
    except ImportError as error:
        raise ImportError(
            f"{path.name}: reading {path.suffix} files needs rosettasciio; pip install xtalsk[microscopy]"
        ) from error
    suffix = path.suffix.lower().lstrip(".")
    plugins = [p for p in rsciio.IO_PLUGINS if suffix in [e.lower() for e in p["file_extensions"]]]
    if not plugins:
        raise ValueError(f"{path.name}: no reader for files that end in {path.suffix!r}")
    problems = []
    for plugin in plugins:
        try:
            signals = import_module(plugin["api"]).file_reader(str(path))
        except Exception as error:  # each reader has its own ways to fail
            problems.append(f"{plugin['name']}: {error}")
            continue
        try:
            return choose(signals)
        except ValueError as error:
            problems.append(f"{plugin['name']}: {error}")
    raise ValueError(f"{path.name}: {'; '.join(problems)}")
