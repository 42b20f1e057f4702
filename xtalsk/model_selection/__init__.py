"""Fair comparison of models on the same folds."""

from xtalsk.model_selection._compare import compare
from xtalsk.model_selection._paired_test import PairedTest, paired_test
from xtalsk.model_selection._references import CHEMISTRY, DIFFRACTION

__all__ = ["CHEMISTRY", "DIFFRACTION", "PairedTest", "compare", "paired_test"]
