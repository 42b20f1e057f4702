import subprocess
import sys
from importlib import import_module

import pytest

import xtalsk
from xtalsk.utils.discovery import all_estimators


@pytest.mark.parametrize("module", list(xtalsk._PUBLIC))
def test_names_are_those_of_the_modules(module):
    for name in xtalsk._PUBLIC[module]:
        assert getattr(xtalsk, name) is getattr(import_module(f"xtalsk.{module}"), name)
        assert name in dir(xtalsk)


def test_every_estimator_is_public():
    assert {name for name, _ in all_estimators()} <= set(xtalsk.__all__)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        xtalsk.Nonsense  # noqa: B018


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, xtalsk; print(sorted({'torch', 'pymatgen', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
