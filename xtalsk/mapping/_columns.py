"""The pipeline of a map: its columns, and a copy whose transformers have the geometry of the scan."""

import copy
from typing import NamedTuple

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from xtalsk.columns import kind_of, modality_of
from xtalsk.compose import SpecimenColumns
from xtalsk.diffraction import RadialProfile
from xtalsk.spectra._composition import SpectrumComposition
from xtalsk.symmetry import check_space_group, to_level

_OF_IMAGES = ("rings", "spots")


class MapColumns(NamedTuple):
    """Columns of the specimens that a pipeline takes.

    Attributes
    ----------
    known : list of str
    scan : str or None
        Column of the images of the scan.
    chemistry : str or None
        Column of the compositions or spectra.
    """

    known: list
    scan: str | None
    chemistry: str | None


def check_pipeline(pipeline):
    """Return the blocks of a fitted pipeline by their column, see `blocks_of`, or raise ValueError."""
    if not isinstance(pipeline, Pipeline) or len(pipeline) < 2 or not hasattr(pipeline[-1], "predict_proba"):
        raise ValueError(
            "expected a fitted Pipeline of features and a classifier with predict_proba, such as "
            f"make_pipeline(make_features(...), LibraryMatch()), got {type(pipeline).__name__}"
        )
    check_is_fitted(pipeline[-1])
    blocks = blocks_of(pipeline[:-1])
    if not blocks:
        raise ValueError(
            "the pipeline takes no columns of specimens: its features must come from make_features(...), got "
            f"the steps {[type(step).__name__ for step in pipeline[:-1]]}"
        )
    return blocks


def blocks_of(steps):
    """Return the fitted transformers of blocks by their column, dict of {str: list of transformers}."""
    blocks = {}
    for step in steps:
        if isinstance(step, ColumnTransformer):
            check_is_fitted(step)
            for _, transformer, columns in step.transformers_:
                for column in [columns] if isinstance(columns, str) else columns:
                    if not isinstance(transformer, str) and isinstance(column, str):
                        blocks.setdefault(column, []).append(transformer)
    return blocks


def names_of_blocks(steps, column):
    """Return the names of the blocks of features that are computed from a column."""
    return {
        name
        for step in steps
        for name, _, columns in getattr(step, "transformers_", [])
        if column in ([columns] if isinstance(columns, str) else list(columns))
    }


def choose_columns(pipeline, has_scan, has_spectra, column=None, spectra_column=None):
    """Return the `MapColumns` of a pipeline, or raise ValueError with the two lists of columns."""
    blocks = check_pipeline(pipeline)
    known = list(blocks)
    if isinstance(pipeline[0], SpecimenColumns):
        known = list(pipeline[0].columns)
    scan = _choose(blocks, "scan", has_scan, column, lambda name: modality_of(name) in _OF_IMAGES)
    chemistry = _choose(
        blocks, "spectra", has_spectra, spectra_column, lambda name: kind_of(name) == "chemistry"
    )
    return MapColumns(known, scan, chemistry)


def _choose(blocks, what, is_given, column, fits):
    """Return the column of a pipeline that the scan or the spectra fill; None if there are none."""
    if not is_given:
        return None
    fitting = [name for name in blocks if fits(name)]
    if column is not None and column in blocks:
        return column
    parameter = "column" if what == "scan" else "spectra_column"
    kinds = {modality_of(name) for name in fitting}
    if column is None and len(kinds) == 1:
        return fitting[0]  # the first one of spots_1, spots_2, ...
    offered = (
        [column] if column is not None else {"scan": list(_OF_IMAGES)}.get(what, ["formula", "eds", "eels"])
    )
    problem = "several of them fit" if len(kinds) > 1 else "none of them fits"
    raise ValueError(
        f"the columns of the pipeline are {list(blocks)}, those of the {what} can be {offered}: {problem}; "
        f"choose one with {parameter}"
    )


def steps_of(transformer):
    """Return a transformer and all transformers in it."""
    if isinstance(transformer, Pipeline):
        inner = [step for _, step in transformer.steps]
    elif isinstance(transformer, ColumnTransformer):
        inner = [block for _, block, _ in transformer.transformers_]
    else:
        return [transformer]
    return [t for step in inner if not isinstance(step, str) for t in steps_of(step)]


def copy_features(pipeline, columns, has_compositions):
    """Return a copy of the features of a pipeline that is ready for a map.

    Cells that cannot be used count as not measured, nothing is cached, and with compositions the steps that
    turn spectra into compositions are left out.
    """
    features = copy.deepcopy(pipeline[:-1])
    for step in steps_of(features):
        changed = {"on_error": "warn", "cache": False, "n_jobs": None}
        step.set_params(**{name: v for name, v in changed.items() if name in step.get_params(deep=False)})
    if columns.chemistry is not None and has_compositions:
        for block in blocks_of(features)[columns.chemistry]:
            _leave_out_analysis(block, columns.chemistry)
    return features


def _leave_out_analysis(block, column):
    """Make a block take compositions instead of spectra, in place; raise if it needs spectra."""
    first = block.steps[0][1] if isinstance(block, Pipeline) else block
    if isinstance(first, SpectrumComposition) and isinstance(block, Pipeline) and len(block) > 1:
        block.steps.pop(0)
    elif column != "formula":
        raise ValueError(
            f"{type(first).__name__} of column {column!r} needs spectra, not compositions: give the spectrum "
            "image, or a pipeline with a column formula"
        )


def analysis_of(pipeline, column):
    """Return the transformer of a column that turns spectra into compositions, or None."""
    steps = [step for block in check_pipeline(pipeline)[column] for step in steps_of(block)]
    return next((step for step in steps if isinstance(step, SpectrumComposition)), None)


def image_steps(features, column):
    """Return the transformers of the images of a scan; none if ``column`` is None."""
    return [step for block in blocks_of(features).get(column, []) for step in steps_of(block)]


def geometry_finder(steps, pixel_size):
    """Return the fitted transformer that finds the geometry of images, with a pixel size in 1/Å.

    The spots of a few crystals do not show an ellipse: without a transformer of rings, rings are circles.
    """
    finder = next(
        (step for step in steps if isinstance(step, RadialProfile)), RadialProfile(ellipticity=None)
    )
    finder = copy.deepcopy(finder).set_params(geometry=None, on_error="warn", cache=False, n_jobs=None)
    if pixel_size is None and finder.pixel_size is None:
        known = [getattr(step, "pixel_size", None) for step in steps]
        finder.set_params(pixel_size=next((size for size in known if size is not None), None))
    return finder.fit([None])


def set_geometry(steps, geometry):
    """Set the parameter ``geometry`` of all transformers that have it."""
    for step in steps:
        if "geometry" in step.get_params(deep=False):
            step.set_params(geometry=geometry)


def labels_of_levels(classifier, levels):
    """Return the label of each class at each level, dict of {str: ndarray of shape (n_classes,)}.

    Classes that are no space groups have the one level ``"label"``.
    """
    try:
        numbers = check_space_group(classifier._space_groups_of_classes())
    except AttributeError:
        numbers = classifier.classes_
    except ValueError:
        return {"label": np.asarray(classifier.classes_)}
    try:
        return {level: np.asarray(to_level(check_space_group(numbers), level)) for level in levels}
    except (TypeError, ValueError):
        return {"label": np.asarray(classifier.classes_)}
