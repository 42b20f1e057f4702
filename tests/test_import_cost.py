"""Light modules stay light: they do not import torch, pymatgen or matplotlib."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["crystals", "composition", "symmetry", "datasets"])
def test_slow_packages_are_not_imported(module):
    code = (
        f"import sys, xtalsk.{module}\n"
        "print(*{'torch', 'pymatgen', 'matplotlib'}.intersection(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_packaged_crystals_are_loaded_without_slow_packages():
    code = (
        "import sys\n"
        "from xtalsk.datasets import load_amcsd\n"
        "load_amcsd()\n"
        "print(*{'torch', 'pymatgen', 'matplotlib', 'sklearn'}.intersection(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
