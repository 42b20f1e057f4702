"""The deepest level of symmetry that is sure enough, as a table."""

import copy
import warnings

import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from xtalsk._levels import space_groups_of, sum_to_level
from xtalsk.calibration._constants import CAUTION, LEAST_SHOWN, SHOWN
from xtalsk.calibration._specimens import (
    block_modalities,
    measured_modalities,
    split_pipeline,
    unfreeze,
    unread_cells,
)
from xtalsk.calibration._temperature import SymmetryCalibration
from xtalsk.symmetry import LEVELS, extinction_group, space_group_symbol, to_level
from xtalsk.utils import NotMeasuredWarning, check_number

_WORDS = {level: level.replace("_", " ") for level in LEVELS} | {
    "bravais_lattice": "Bravais lattice",
    "laue_class": "Laue class",
}


def predict_at(model, X, confidence=0.9):
    """Return the deepest level of symmetry that is sure enough, and what is still open.

    The levels are those of `xtalsk.symmetry.LEVELS`, from the crystal family to the space group. The answer
    is the last level at which one label has a probability of at least ``confidence``. The probabilities are
    those of the model: calibrate it first, see `SymmetryCalibration`.

    Parameters
    ----------
    model : fitted Pipeline or classifier
        Its classes are space groups, such as a Pipeline that ends with a `LibraryBlend`, a
        `FusionClassifier` or a `SymmetryCalibration`, or any classifier of scikit-learn.
    X : DataFrame or array-like of shape (n_samples, n_features)
        What the model reads: specimens for a Pipeline, otherwise features.
    confidence : float, default=0.9
        Smallest probability of an answer, between 0 and 1.

    Returns
    -------
    DataFrame of n_samples rows
        With the index of X, and the columns

        - ``level``: the deepest level that is sure enough; None if not even the crystal family is, or if the
          row has no answer;
        - ``label``: the label of this level; None as above. That of an extinction group is the lowest
          space-group number;
        - ``probability``: of this label. Without a level, that of the most probable crystal family. NaN
          for rows without answer;
        - ``open``: if the space group is not sure, the most probable ones, ``"62 Pnma 0.55, 33 Pna21 0.31"``,
          or, without a level, the most probable crystal families;
        - ``not_in_library``: probability that no entry of the library is the measured phase. NaN for a model
          without a library, and for rows without a profile;
        - ``unread``: modalities that have a cell in X, but gave no feature, such as a file that could not be
          read;
        - ``answer``: all of this as a sentence. It names an extinction group by its most probable space
          groups, and says which space groups a powder pattern cannot tell apart by absent lines. It begins
          with a caution if the measured phase is probably not in the library.

    Raises
    ------
    ValueError
        If the classes of the model are not space groups, if ``confidence`` is not between 0 and 1, or if the
        model raises.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from xtalsk.calibration import predict_at
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> X[100:] += 3
    >>> model = GaussianNB().fit(X, np.repeat([225, 62, 33], 100))
    >>> table = predict_at(model, [[0, 0], [3, 3]])
    >>> table[["level", "label", "probability"]].round(2)
                  level label  probability
    0       space_group   225          1.0
    1  extinction_group    33          1.0
    >>> for part in table["answer"][1].split("; "):
    ...     print(part)
    the absent lines of 33 Pna21 and 62 Pnma (1.00)
    space group not decided: 33 Pna21 0.52 or 62 Pnma 0.48
    """
    check_number(confidence, "confidence", min_val=0, max_val=1, include_boundaries="neither")
    steps, classifier = split_pipeline(_as_pipeline(model))
    numbers = space_groups_of(classifier)
    if numbers is None:
        raise ValueError(
            f"levels of symmetry need space-group numbers as labels, got {classifier.classes_[:3].tolist()}"
        )
    features = X if steps is None else steps.transform(X)
    proba = np.asarray(classifier.predict_proba(features), dtype=float)
    table = _deepest(proba, numbers, confidence)
    table["not_in_library"] = _not_in_library(classifier, features)
    measured = measured_modalities(features, block_modalities(steps))
    unread = unread_cells(X, measured) if steps is not None else [[]] * len(table)
    table["unread"] = [", ".join(names) for names in unread]
    table["answer"] = [_sentence(row) for row in table.itertuples()]
    if isinstance(X, pd.DataFrame):
        table.index = X.index
    return table.drop(columns="alike")


def _as_pipeline(model):
    """Return a calibrated Pipeline as a Pipeline whose last step is calibrated; other models as they are."""
    model = unfreeze(model)
    if not isinstance(model, SymmetryCalibration):
        return model
    steps, classifier = split_pipeline(model.estimator_)
    if steps is None:
        return model
    last = copy.copy(model)
    last.estimator_ = FrozenEstimator(classifier)
    last.modalities = block_modalities(steps) if model.modalities is None else model.modalities
    return Pipeline([*steps.steps, ("calibration", last)])


def _deepest(proba, numbers, confidence):
    """Return the columns ``level``, ``label``, ``probability``, ``open`` and ``alike`` of each row.

    ``alike`` holds the open space groups that have the absent lines of the most probable one.
    """
    rows, best = np.arange(len(proba)), []
    for level in LEVELS:
        labels, member = np.unique(to_level(numbers, level), return_inverse=True)
        summed = sum_to_level(proba, member, len(labels))
        place = np.nan_to_num(summed, nan=-1.0).argmax(axis=1)
        best.append((labels, member, place, summed[rows, place]))
    is_sure = np.stack([probability for *_, probability in best]) >= confidence
    depth = np.where(is_sure.any(axis=0), len(LEVELS) - 1 - is_sure[::-1].argmax(axis=0), -1)
    table = []
    for row in rows:
        labels, member, place, probability = best[max(depth[row], 0)]
        answer = {"level": None, "label": None, "probability": probability[row], "open": "", "alike": ()}
        if depth[row] >= 0:
            answer |= {"level": LEVELS[depth[row]], "label": labels[place[row]].item()}
            inside = np.flatnonzero(member == place[row])
            if answer["level"] != "space_group":
                answer |= _open_groups(proba[row, inside], numbers[inside])
        elif np.isfinite(probability[row]):
            summed = sum_to_level(proba[row : row + 1], member, len(labels))[0]
            answer["open"] = _listed(summed, labels)
        table.append(answer)
    columns = {name: pd.Series([row[name] for row in table], dtype=object) for name in table[0]}
    return pd.DataFrame(columns).astype({"probability": float})


def _most_probable(proba):
    """Return the positions of the most probable labels that are worth a mention."""
    order = np.argsort(-proba, kind="stable")[:SHOWN]
    return [k for rank, k in enumerate(order) if rank == 0 or proba[k] >= LEAST_SHOWN]


def _listed(proba, labels):
    """Return the most probable labels and their probabilities as text."""
    return ", ".join(f"{labels[k]} {proba[k]:.2f}" for k in _most_probable(proba))


def _open_groups(proba, numbers):
    """Return the most probable space groups as text, and those with the absent lines of the first."""
    shown = numbers[_most_probable(proba)]
    extinctions = extinction_group(shown)
    alike = shown[extinctions == extinctions[0]].tolist()
    symbols = [f"{number} {space_group_symbol(number)}" for number in numbers.tolist()]
    return {"open": _listed(proba, symbols), "alike": tuple(alike)}


def _not_in_library(classifier, features):
    """Return the probability that no entry of the library was measured, NaN where it is not known."""
    probability = getattr(classifier, "no_match_probability", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotMeasuredWarning)  # predict_proba warned
            return np.full(len(features), np.nan) if probability is None else probability(features)
    except ValueError:  # profiles of an unknown modality
        return np.full(len(features), np.nan)


def _sentence(row):
    """Return one row of the table as text."""
    unread = f"; could not be read: {row.unread}" if row.unread else ""
    if np.isnan(row.probability):
        return f"no answer: nothing was measured{unread}"
    choices = row.open.replace(", ", " or ")
    if row.level is None:
        text = f"not even the crystal family is decided: {choices}"
    else:
        text = f"{_level_text(row)} ({row.probability:.2f})"
        if row.open:
            text += f"; space group not decided: {choices}"
    if len(row.alike) > 1 and row.level != "extinction_group":
        numbers = " and ".join(str(number) for number in row.alike)
        text += f"; {numbers} have the same absent lines in a powder pattern"
    absent = f"not in the library with a probability of {row.not_in_library:.2f}"
    if row.not_in_library > CAUTION and row.level is not None:
        text = f"caution: {absent}; {text}"
    elif row.not_in_library >= 0:
        text += f"; {absent}"
    return text + unread


def _level_text(row):
    """Return the level and the label of one row as text."""
    if row.level == "extinction_group":  # its label is a space group that need not be an open one
        groups = " and ".join(f"{number} {space_group_symbol(number)}" for number in sorted(row.alike))
        return f"the absent lines of {groups}"
    name = f"{row.label} {space_group_symbol(row.label)}" if row.level == "space_group" else row.label
    return f"{_WORDS[row.level]} {name}"
