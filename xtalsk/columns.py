"""Names of columns: the modality of a column of specimens, and the block of a column of features.

Columns of specimens are named by their modality, such as ``rings`` or ``powder``. A number follows if a
specimen has several of one kind (``spots_1``, ``spots_2``). Columns of features are named ``block__column``:
the part before the first ``__`` is the block. Within a block, ``q_0000, q_0001, ...`` are the bins of a
profile (``d`` and ``e`` likewise), and ``pixel_000_000, ...`` are the pixels of an image.
"""

import re
from dataclasses import dataclass, replace

import numpy as np

MODALITIES = {
    "rings": "diffraction",
    "spots": "diffraction",
    "powder": "diffraction",
    "formula": "chemistry",
    "eds": "chemistry",
    "eels": "chemistry",
}
"""All modalities and their kinds, diffraction or chemistry. New ones are added at the end, since seeds of
simulations depend on the order."""

UNNAMED = "features"
"""Name of the block of columns that have no ``block__`` in front."""

LAYOUTS = ("profile", "image", "table", "elements", "peaks")
"""How the columns of a block are arranged: along an axis, as pixels, in no particular order, one column for
each element, or some columns for each line of a pattern."""

_MIN_BINS = 32  # a block of fewer bins is a table
_MIN_PIXELS = 8  # along each side
_NUMBERED = re.compile(r"(.+)_\d+")
_BIN = re.compile(r"([qde])_(\d{4,})")
_PIXEL = re.compile(r"pixel_(\d{3,})_(\d{3,})")
_PEAK = re.compile(r"peak_(\d{2,})_([a-z0-9]+)")
_OF_COMPOSITION = re.compile(r"(rank\d+|magpie|stoichiometry|valence|ionic)_\w+")


def modality_of(column):
    """Return the modality that a column of specimens holds, or None for any other column.

    Examples
    --------
    >>> from xtalsk.columns import modality_of
    >>> modality_of("rings"), modality_of("spots_2"), modality_of("sample")
    ('rings', 'spots', None)
    """
    if column in MODALITIES:
        return column
    numbered = _NUMBERED.fullmatch(column) if isinstance(column, str) else None
    return numbered[1] if numbered and numbered[1] in MODALITIES else None


def kind_of(column):
    """Return ``"diffraction"`` or ``"chemistry"`` for a column of specimens, or None for any other column.

    Examples
    --------
    >>> from xtalsk.columns import kind_of
    >>> kind_of("spots_1"), kind_of("eds"), kind_of("sample")
    ('diffraction', 'chemistry', None)
    """
    return MODALITIES.get(modality_of(column))


@dataclass(frozen=True, eq=False)
class Block:
    """Columns of a feature matrix that belong together.

    Parameters
    ----------
    name : str
    layout : {"profile", "image", "table", "elements", "peaks"}
    columns : ndarray of int
        Positions in the feature matrix: along the axis of a profile, row by row of an image, by atomic
        number, line by line. Shape (n_members, n_columns) for blocks that were joined, see `join_numbered`.
    shape : tuple of int
        (n_columns,), (n_rows, n_columns) of an image, or (n_lines, n_properties) of peaks.
    first : int
        Number of the first bin of a profile: how many bin widths lie between zero and the profile.
    axis : str
        Axis of a profile: ``"q"`` or ``"d"`` of diffraction, ``"e"`` of energies; empty for other blocks.
    """

    name: str
    layout: str
    columns: np.ndarray
    shape: tuple
    first: int = 0
    axis: str = ""


def split_name(name):
    """Split ``block__column`` at the first ``__``.

    Examples
    --------
    >>> from xtalsk.columns import split_name
    >>> split_name("diffraction__q_0000"), split_name("q_0000")
    (('diffraction', 'q_0000'), ('features', 'q_0000'))
    """
    block, separator, column = name.partition("__")
    return (block, column) if separator else (UNNAMED, name)


def _bin_order(columns):
    """Order of bins along their common axis, the lowest number and the axis's letter, or None."""
    matches = [_BIN.fullmatch(c) for c in columns]
    if not all(matches) or len({m[1] for m in matches}) != 1:
        return None
    numbers = np.array([int(m[2]) for m in matches])
    return np.argsort(numbers, kind="stable"), int(numbers.min()), matches[0][1]


def _pixel_order(columns):
    """Order of pixels row by row and the shape of their image, or None."""
    matches = [_PIXEL.fullmatch(c) for c in columns]
    if not all(matches):
        return None
    places = np.array([(int(m[1]), int(m[2])) for m in matches])
    shape = tuple(len(np.unique(places[:, axis])) for axis in (0, 1))
    if shape[0] * shape[1] != len(places) or len(np.unique(places, axis=0)) != len(places):
        return None
    return np.lexsort((places[:, 1], places[:, 0])), shape


def _element_order(columns):
    """Order of the columns by atomic number, or None if they are not all elements from H to Cf."""
    from xtalsk.utils._formula import FEATURE_NAMES  # readers of files import this module, but not sklearn

    if sorted(columns) != sorted(FEATURE_NAMES):
        return None
    return np.argsort([FEATURE_NAMES.index(c) for c in columns])


def _peak_order(columns):
    """Order of the columns of lines, line by line, and the shape of their table, or None."""
    matches = [_PEAK.fullmatch(c) for c in columns]
    if not all(matches):
        return None
    properties = list(dict.fromkeys(m[2] for m in matches))
    places = [(int(m[1]), properties.index(m[2])) for m in matches]
    shape = (len({line for line, _ in places}), len(properties))
    if len(set(places)) != len(places) or shape[0] * shape[1] != len(places):
        return None
    return np.lexsort(np.transpose(places)[::-1]), shape


def _make_block(name, positions, columns, layout):
    """Arrange the columns of a block; ``layout=None`` reads the layout from the names."""
    bins, pixels = _bin_order(columns), _pixel_order(columns)
    elements, peaks = _element_order(columns), _peak_order(columns)
    if layout is None:
        if bins is not None and len(columns) >= _MIN_BINS:
            layout = "profile"
        elif pixels is not None and min(pixels[1]) >= _MIN_PIXELS:
            layout = "image"
        elif elements is not None:
            layout = "elements"
        elif peaks is not None:
            layout = "peaks"
        else:
            layout = "table"
    if layout == "image":
        if pixels is None:
            raise ValueError(
                f"block {name!r} is not an image: its columns are not named pixel_<row>_<column> for all "
                f"pixels of one image; the first is {columns[0]!r}"
            )
        return Block(name, layout, positions[pixels[0]], pixels[1])
    if layout == "elements":
        if elements is None:
            raise ValueError(f"block {name!r} does not have one column for each element from h to cf")
        return Block(name, layout, positions[elements], (len(positions),))
    if layout == "peaks":
        if peaks is None:
            raise ValueError(
                f"block {name!r} is not a list of peaks: its columns are not named peak_<number>_<property>, "
                f"with the same properties for each peak; the first is {columns[0]!r}"
            )
        return Block(name, layout, positions[peaks[0]], peaks[1])
    if layout == "profile" and bins is not None:
        return Block(name, layout, positions[bins[0]], (len(positions),), *bins[1:])
    return Block(name, layout, positions, (len(positions),))


def find_blocks(names, n_features, layouts=None):
    """Group the columns of a feature matrix into blocks.

    Parameters
    ----------
    names : sequence of str, or None
        Names of the columns; None puts all columns into one block called ``"features"``.
    n_features : int
    layouts : dict of {block: layout}, or None
        Layouts to use instead of those that the names show; a layout is one of `LAYOUTS`.

    Returns
    -------
    list of Block
        In the order in which they first appear.

    Raises
    ------
    ValueError
        If columns cannot be arranged as ``layouts`` asks.

    Examples
    --------
    >>> from xtalsk.columns import find_blocks
    >>> names = [f"diffraction__q_{i:04}" for i in range(64)] + ["presence__h", "presence__he"]
    >>> [(block.name, block.layout, block.shape) for block in find_blocks(names, 66)]
    [('diffraction', 'profile', (64,)), ('presence', 'table', (2,))]
    """
    layouts = layouts or {}
    members = {}
    split = [split_name(n) for n in names] if names is not None else [(UNNAMED, "")] * n_features
    for position, (block, column) in enumerate(split):
        members.setdefault(block, []).append((position, column))
    return [
        _make_block(name, np.array([p for p, _ in pairs]), [c for _, c in pairs], layouts.get(name))
        for name, pairs in members.items()
    ]


def is_chemistry(block, names):
    """Return whether a block comes from a composition or a spectrum, going by the names of its columns.

    Parameters
    ----------
    block : Block
    names : sequence of str
        Names of all columns of the feature matrix.

    Examples
    --------
    >>> from xtalsk.columns import find_blocks, is_chemistry
    >>> names = ["eds__fe", "eds__o", "ranked__rank1_z", "lattice__cubic_p_evidence"]
    >>> [is_chemistry(block, names) for block in find_blocks(names, 4)]
    [True, True, False]
    """
    from xtalsk.utils._formula import FEATURE_NAMES  # readers of files import this module, but not sklearn

    columns = [split_name(names[position])[1] for position in np.ravel(block.columns)]
    return block.axis == "e" or all(c in FEATURE_NAMES or _OF_COMPOSITION.fullmatch(c) for c in columns)


def join_numbered(blocks, names):
    """Join the blocks of a stem, ``lattice_1``, ``lattice_2`` and so on, that have the same columns.

    Parameters
    ----------
    blocks : list of Block
    names : sequence of str, or None
        Names of the columns of the feature matrix.

    Returns
    -------
    list of Block
        Blocks ``<stem>_<number>`` of one layout and with the same columns are one block named after the stem,
        at the place of the first; its ``columns`` have one row for each of them, by number. All blocks of a
        stem are joined, or none.

    Raises
    ------
    ValueError
        If another block has the name of the stem.

    Examples
    --------
    >>> from xtalsk.columns import find_blocks, join_numbered
    >>> names = ["lattice_1__a", "lattice_1__b", "eds__fe", "lattice_2__a", "lattice_2__b"]
    >>> [(block.name, block.columns.tolist()) for block in join_numbered(find_blocks(names, 5), names)]
    [('lattice', [[0, 1], [3, 4]]), ('eds', [2])]
    """
    stems = {}
    for block in blocks:
        numbered = _NUMBERED.fullmatch(block.name)
        if numbered:
            stems.setdefault(numbered[1], []).append(block)
    joined = {}
    for stem, members in stems.items():
        if len(members) > 1 and len({_form(block, names) for block in members}) == 1:
            members.sort(key=lambda block: int(block.name.rpartition("_")[2]))
            if any(block.name == stem for block in blocks):
                raise ValueError(f"block {stem!r} has the name of {members[0].name!r} and the like together")
            whole = replace(members[0], name=stem, columns=np.stack([block.columns for block in members]))
            joined |= dict.fromkeys((block.name for block in members), whole)
    return list(dict.fromkeys(joined.get(block.name, block) for block in blocks))


def _form(block, names):
    """Return the layout of a block and the names of its columns without the block."""
    columns = tuple(split_name(names[i])[1] for i in block.columns)
    return block.layout, block.shape, block.first, block.axis, columns


def block_presence(X, blocks):
    """Return which rows have at least one value in each block.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        NaN where missing.
    blocks : sequence of Block

    Returns
    -------
    ndarray of bool, shape (n_samples, n_blocks)
    """
    present = [~np.isnan(X[:, b.columns.ravel()]).all(axis=1) for b in blocks]
    return np.column_stack([np.zeros((len(X), 0), dtype=bool), *present])
