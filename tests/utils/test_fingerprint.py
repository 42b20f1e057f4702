"""Fingerprints of values and of code."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import lognorm, norm
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import xtalsk
from xtalsk.physics import _form_factors
from xtalsk.simulation import PowderConditions, Sometimes
from xtalsk.utils import _fingerprint
from xtalsk.utils._fingerprint import code_fingerprint, fingerprint

REFLECTIONS = "xtalsk.simulation.reflections._compute"


@pytest.mark.parametrize(
    ("value", "equal", "other"),
    [
        (1, np.int16(1), 2),
        (0.5, np.float64(0.5), 0.5000000001),
        ([1, 2], (1.0, 2.0), [2, 1]),
        ("1", np.str_("1"), 1),
        (True, np.bool_(True), False),
        ([[1], 2], [[1], 2], [[1, 2]]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 1}),
        ({1, 2}, {2, 1}, {1, 3}),
        (np.arange(4.0), np.arange(8.0)[:4], np.arange(4)),
        (np.arange(4.0), np.arange(8.0)[::2] / 2, np.arange(4.0).reshape(2, 2)),
        (np.array(["a", "b"], object), np.array(["a", "b"], object), np.array(["ab", ""], object)),
        (torch.ones(2), torch.ones(2), torch.zeros(2)),
        (torch.float32, torch.float32, torch.float64),
        (norm(0, 1), norm(0, 1), norm(0, 1 + 1e-9)),
        (Sometimes(0.2, lognorm(1)), Sometimes(0.2, lognorm(1)), Sometimes(0.2, lognorm(1 + 1e-9))),
        (PowderConditions(), PowderConditions(), PowderConditions(peak_counts=1e3)),
        (StandardScaler(), StandardScaler(), StandardScaler(with_mean=False)),
        (make_pipeline(StandardScaler()), make_pipeline(StandardScaler()), StandardScaler()),
        (FunctionTransformer(np.sqrt), FunctionTransformer(np.sqrt), FunctionTransformer(np.cbrt)),
        (float("nan"), np.float32("nan"), float("inf")),
    ],
)
def test_fingerprints_are_those_of_the_content(value, equal, other):
    assert fingerprint(value) == fingerprint(equal) != fingerprint(other)


def test_objects_without_a_text_of_their_own_are_known_by_their_attributes():
    class Setting:
        def __init__(self, value):
            self.value = value

    assert fingerprint(Setting(1)) == fingerprint(Setting(1)) != fingerprint(Setting(2))


def test_constants_count_with_their_present_values(monkeypatch):
    before = code_fingerprint(REFLECTIONS)
    assert code_fingerprint(REFLECTIONS, "numpy", "unknown") == before
    monkeypatch.setattr(f"{REFLECTIONS}.WEAKEST_FAMILY", 1e-3)
    assert code_fingerprint(REFLECTIONS) != before
    monkeypatch.undo()
    assert code_fingerprint(REFLECTIONS) == before


@pytest.fixture
def fingerprint_of_copy(tmp_path, monkeypatch):
    """Return the fingerprint of a copy of the package in which a file was edited."""
    ignore = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(Path(xtalsk.__file__).parent, tmp_path / "xtalsk", ignore=ignore)
    monkeypatch.setattr(_fingerprint, "_FOLDER", tmp_path / "xtalsk")
    caches = [getattr(_fingerprint, name) for name in ("_code", "_closure", "_parse", "_defining_module")]

    def clear():
        for function in caches:
            function.cache_clear()

    def run(file, old, new):
        path = tmp_path / "xtalsk" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        clear()
        try:
            return code_fingerprint(REFLECTIONS)
        finally:
            path.write_text(text)

    yield run
    clear()


def test_code_counts_and_comments_do_not(fingerprint_of_copy):
    lines = "simulation/reflections/_structure_factors.py"
    same = fingerprint_of_copy(lines, '"""Kinematic', '"""A comment on kinematic')
    assert fingerprint_of_copy(lines, "import numpy as np\n", "import numpy as np  # arrays\n\n") == same
    assert fingerprint_of_copy("io/__init__.py", '"""', '"""Other. ') == same
    assert fingerprint_of_copy("neural/_constants.py", "WARM_UP = ", "WARM_UP = 2 * ") == same
    for file, old, new in (
        (lines, "-2 * torch.pi**2", "-4 * torch.pi**2"),
        ("simulation/reflections/_constants.py", "WEAKEST_FAMILY = 1e-8", "WEAKEST_FAMILY = 1e-7"),
        (f"physics/{Path(_form_factors.__file__).name}", "import torch\n", "import torch\n\nCHANGED = 1\n"),
    ):
        assert fingerprint_of_copy(file, old, new) != same
