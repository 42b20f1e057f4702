"""Comparison of models on the same folds, accuracy against dose and sampling, plans of measurements."""

from xtalsk.model_selection._acquisition_curve import acquisition_curve
from xtalsk.model_selection._compare import compare
from xtalsk.model_selection._dose_curve import dose_curve, dose_to_reach, paired_differences
from xtalsk.model_selection._paired_test import McNemarTest, PairedTest, mcnemar_test, paired_test
from xtalsk.model_selection._plan import AcquisitionPlan, plan_acquisition

__all__ = [
    "AcquisitionPlan",
    "McNemarTest",
    "PairedTest",
    "acquisition_curve",
    "compare",
    "dose_curve",
    "dose_to_reach",
    "mcnemar_test",
    "paired_differences",
    "paired_test",
    "plan_acquisition",
]
