import subprocess
import sys
from importlib import import_module

import pytest

import xtalsk
from xtalsk.utils.discovery import all_estimators


@pytest.mark.parametrize("module", list(xtalsk._PUBLIC))
def test_public_names_are_those_of_the_modules(module):
    for name in xtalsk._PUBLIC[module]:
        assert getattr(xtalsk, name) is getattr(import_module(f"xtalsk.{module}"), name)
        assert name in dir(xtalsk)


def test_every_estimator_is_public():
    assert {name for name, _ in all_estimators()} <= set(xtalsk.__all__)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        xtalsk.Nonsense  # noqa: B018


SLOW_IMPORTS = ("torch", "pymatgen", "matminer", "matplotlib")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("xtalsk", ("sklearn", *SLOW_IMPORTS)),
        ("xtalsk.composition", SLOW_IMPORTS),
        ("xtalsk.io", ("sklearn", *SLOW_IMPORTS)),
    ],
)
def test_imports_load_no_slow_package(module, absent):
    code = f"import sys, {module}; print(sorted(set({absent}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
