"""Calibrated probabilities, sets of labels with a known coverage, and the deepest level that is sure."""

from xtalsk.calibration._answer import predict_at
from xtalsk.calibration._conformal import ConformalSets
from xtalsk.calibration._temperature import SymmetryCalibration, calibrate_pipeline

__all__ = ["ConformalSets", "SymmetryCalibration", "calibrate_pipeline", "predict_at"]
