"""From files to answers."""

import re
import sys
import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from tqdm import tqdm

import xtalsk
from xtalsk.calibration import predict_at
from xtalsk.columns import kind_of as kind_of_column
from xtalsk.inspection import best_candidates, probabilities_by_level
from xtalsk.io import read_image, read_profile
from xtalsk.symmetry import space_group_symbol
from xtalsk.utils._formula import check_composition

IMAGE_SUFFIXES = (
    ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif", ".npy", ".dm3", ".dm4", ".emd", ".mrc", ".hspy",
    ".zspy", ".blo", ".ser", ".mib", ".tvips",
)  # fmt: skip
"""Files that hold images. All others are read as powder patterns."""

SPECTRUM_SUFFIXES = (".msa", ".emsa", ".ems", ".mas")
"""Files that hold spectra, which are no specimens here."""

MAX_COMPOUNDS = 5
"""Known compounds of the composition that are listed, one of each space group."""

_COMPOUNDS_READ = 50
_MODELS = {"powder": "powder", "image": "rings"}  # models for each kind of file
_STACK = re.compile(r"; give frame, e\.g\. .*")  # advice for Python in errors of `read_image`


class UsageError(ValueError):
    """The options do not fit together, or name something that does not exist."""


@dataclass
class Answer:
    """What is known about one specimen.

    Attributes
    ----------
    files : list of Path
    space_group, symbol, crystal_system : int, str, str or None
        None without an answer.
    probability, system_probability : float
    level, label, open, not_in_library, answer : str, str or int, str, float, str
        What is sure enough, from `xtalsk.predict_at`; ``not_in_library`` is None where it is not known.
    phases : list of dict
        Known phases that fit best: formula, mineral, space_group and probability.
    compounds : list of dict
        Known compounds of a similar composition, the most plausible first: id, formula
        and space_group.
    warnings : list of str
    reason : str
        Why there is no answer.
    row : DataFrame of one row
        What the pipeline read.
    model : str
    """

    files: list
    space_group: int | None = None
    symbol: str | None = None
    crystal_system: str | None = None
    probability: float | None = None
    system_probability: float | None = None
    level: str | None = None
    label: str | int | None = None
    open: str = ""
    not_in_library: float | None = None
    answer: str = ""
    phases: list = field(default_factory=list)
    compounds: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    reason: str = ""
    row: pd.DataFrame | None = None
    model: str = ""

    @property
    def answered(self):
        """Whether there is an answer."""
        return self.space_group is not None

    @property
    def name(self):
        """Names of the files."""
        return ", ".join(str(file) for file in self.files)

    def to_dict(self):
        """Return the answer as JSON has it."""
        names = [str(file) for file in self.files]
        if not self.answered:
            rest = {"reason": self.reason, "warnings": self.warnings, "model": self.model}
            return {"files": names, "answered": False} | rest
        values = {name: value for name, value in vars(self).items() if name not in ("files", "row", "reason")}
        return {"files": names, "answered": True} | values


def identify(options):
    """Answer the files of the command line.

    Returns
    -------
    list of Answer

    Raises
    ------
    UsageError
        If a model does not exist or does not suit a file, if the composition cannot be read or is not used,
        or if the folder of the report does not exist.
    """
    if options.one_crystal and options.model != "spots":
        raise UsageError("--one-crystal needs --model spots")
    if options.report and not options.report.absolute().parent.is_dir():
        raise UsageError(f"--report: no such folder: {options.report.parent}")
    composition = _composition(options)
    groups = [options.files] if options.one_crystal else [[file] for file in options.files]
    answers = []
    for files in tqdm(groups, unit="file", disable=options.quiet or not sys.stderr.isatty()):
        answers.append(_answer(files, composition, options))
    return answers


def _composition(options):
    """Return the cell of the column of formulas, or None."""
    if options.formula is not None:
        try:
            check_composition(options.formula)
        except ValueError as error:
            raise UsageError(f"--formula: {error}") from error
        return options.formula
    if options.eds is None:
        return None
    try:
        fractions = xtalsk.EDSComposition().set_output(transform="pandas").fit_transform([str(options.eds)])
    except (ValueError, OSError) as error:
        raise UsageError(f"--eds: {error}") from error
    found = {name.capitalize(): float(value) for name, value in fractions.iloc[0].items() if value > 0}
    if not found:
        raise UsageError(f"--eds: {options.eds}: no element was found")
    return found


@cache
def load_model(name):
    """Return a pipeline of the package, or one from a file."""
    try:
        pipeline = xtalsk.load(name) if Path(name).is_file() else xtalsk.load_pretrained(name)
    except ValueError as error:
        raise UsageError(f"--model: {error}") from error
    if not isinstance(pipeline, Pipeline):
        raise UsageError(f"--model: {name} holds a {type(pipeline).__name__}, not a pipeline for specimens")
    return pipeline


def kind_of(file):
    """Return whether a file is read as a powder pattern or as an image: "powder" or "image"."""
    if file.suffix.lower() == ".npz":
        try:
            with np.load(file, allow_pickle=False) as archive:
                return "powder" if "intensity" in archive else "image"
        except (OSError, ValueError, BadZipFile):
            return "powder"
    return "image" if file.suffix.lower() in IMAGE_SUFFIXES else "powder"


def _answer(files, composition, options):
    """Return the answer for the files of one specimen; an error of the files is its reason."""
    kind = kind_of(files[0])
    answer = Answer(files, model=options.model or _MODELS[kind])
    first = load_model(answer.model)[0]
    known = getattr(first, "columns", getattr(first, "feature_names_in_", ()))
    columns = [name for name in known if kind_of_column(name) != "chemistry"]
    if ("powder" in columns) != (kind == "powder") or len(files) > len(columns):
        raise UsageError(
            f"{answer.name}: the model {answer.model} reads {', '.join(columns)}; "
            f"got {len(files)} of kind {kind}"
        )
    if composition is not None and "formula" not in known:
        raise UsageError(f"the model {answer.model} takes no composition; it reads {', '.join(known)}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            cells = [_read(file, kind, options) for file in files]
            row = dict.fromkeys(known) | dict(zip(columns, cells, strict=False)) | {"formula": composition}
            answer.row = pd.DataFrame({name: pd.Series([cell], dtype=object) for name, cell in row.items()})
            _fill(answer, options.n_phases)
        except UsageError:
            raise
        except (ValueError, OSError, ImportError) as error:
            answer.reason = _STACK.sub("; xtalsk.map_structures identifies each image of a stack", str(error))
    answer.warnings = list(dict.fromkeys(_text_of(w) for w in caught if issubclass(w.category, UserWarning)))
    if not answer.answered and not answer.reason:
        answer.reason = "; ".join(answer.warnings) or "nothing could be read"
    return answer


def _text_of(warning):
    """Return the text of a warning in one line."""
    return " ".join(str(warning.message).split())


def _read(file, kind, options):
    """Return the cell of a file."""
    if file.suffix.lower() in SPECTRUM_SUFFIXES:
        raise ValueError(f"{file}: this is a spectrum; --eds {file} gives the composition of the specimens")
    if kind == "powder":
        return read_profile(file, wavelength=options.wavelength)
    image = read_image(file, pixel_size=options.pixel_size)
    if image.pixel_size is None:
        raise ValueError(f"{file}: unknown pixel size; give --pixel-size in 1/Å")
    return image


def _fill(answer, n_phases):
    """Write what the model says to an answer."""
    pipeline = load_model(answer.model)
    features = pipeline[:-1].transform(answer.row)
    levels = probabilities_by_level(pipeline[-1], features)
    if "space_group" not in levels:
        raise UsageError(f"--model: {answer.model} does not name space groups")
    groups, systems = levels["space_group"], levels["crystal_system"]
    if not len(groups):
        return
    answer.space_group, answer.probability = int(groups.index[0]), round(float(groups.iloc[0]), 4)
    answer.symbol = space_group_symbol(answer.space_group)
    answer.crystal_system, answer.system_probability = str(systems.index[0]), round(float(systems.iloc[0]), 4)
    sure = predict_at(pipeline, answer.row).iloc[0]
    for name in ("level", "label", "open", "answer"):
        setattr(answer, name, sure[name])
    answer.not_in_library = None if pd.isna(sure["not_in_library"]) else round(sure["not_in_library"], 4)
    for _, entry in best_candidates(pipeline[-1], features, n_phases).iterrows():
        mineral = entry.get("mineral")
        answer.phases.append(
            {
                "formula": str(entry["formula"]),
                "mineral": "" if pd.isna(mineral) else str(mineral),
                "space_group": int(entry["label"]),
                "probability": None if pd.isna(entry["probability"]) else round(entry["probability"], 4),
            }
        )
    if hasattr(pipeline[-1], "known_compounds"):
        answer.compounds = _compounds(pipeline[-1].known_compounds(features, _COMPOUNDS_READ))


def _compounds(table):
    """Return compounds of different space groups."""
    table = table.drop_duplicates("label").head(MAX_COMPOUNDS)
    return [
        {"id": str(row["id"]), "formula": str(row["formula"]), "space_group": int(row["label"])}
        for _, row in table.iterrows()
    ]
