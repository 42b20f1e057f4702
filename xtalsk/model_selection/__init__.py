"""Comparison of models on the same folds."""

from xtalsk.model_selection._compare import compare
from xtalsk.model_selection._paired_test import PairedTest, paired_test

__all__ = ["PairedTest", "compare", "paired_test"]
