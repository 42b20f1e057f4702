"""Figures of results."""

from xtalsk.inspection._answer import best_candidates, probabilities_by_level
from xtalsk.inspection._block_importance import BlockImportanceDisplay, block_importance
from xtalsk.inspection._comparison import ComparisonDisplay
from xtalsk.inspection._coverage import SetCoverageDisplay
from xtalsk.inspection._dose_curve import DoseCurveDisplay
from xtalsk.inspection._embedding import EmbeddingDisplay
from xtalsk.inspection._identification import IdentificationDisplay
from xtalsk.inspection._map import StructureMapDisplay
from xtalsk.inspection._occlusion import OcclusionDisplay, q_occlusion
from xtalsk.inspection._plan import AcquisitionPlanDisplay
from xtalsk.inspection._symmetry_confusion import SymmetryConfusionDisplay

__all__ = [
    "AcquisitionPlanDisplay",
    "BlockImportanceDisplay",
    "ComparisonDisplay",
    "DoseCurveDisplay",
    "EmbeddingDisplay",
    "IdentificationDisplay",
    "OcclusionDisplay",
    "SetCoverageDisplay",
    "StructureMapDisplay",
    "SymmetryConfusionDisplay",
    "best_candidates",
    "block_importance",
    "probabilities_by_level",
    "q_occlusion",
]
