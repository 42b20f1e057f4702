"""Trained pipelines that the benchmarks score."""

from pathlib import Path

import xtalsk


def read_model(model):
    """Return the pipeline of `load_pretrained` with this name, or that of a file of `xtalsk.save`."""
    return xtalsk.load(model) if Path(model).is_file() else xtalsk.load_pretrained(str(model))
