"""Structures at all positions of a scan."""

import warnings

import numpy as np
import pandas as pd
from sklearn.utils import check_scalar

from xtalsk.io import BrokenFileError, read_scan
from xtalsk.mapping import _constants as const
from xtalsk.mapping._average import check_average
from xtalsk.mapping._chemistry import to_chemistry
from xtalsk.mapping._columns import (
    choose_columns,
    copy_features,
    geometry_finder,
    image_steps,
    labels_of_levels,
)
from xtalsk.mapping._geometry import as_geometry, check_drift, find_geometry
from xtalsk.mapping._groups import check_group
from xtalsk.mapping._identify import Identifier
from xtalsk.mapping._run import map_groups, map_positions, open_folder
from xtalsk.mapping._source import Source
from xtalsk.mapping._structure_map import StructureMap
from xtalsk.symmetry import LEVELS
from xtalsk.utils import BrokenCellWarning, check_number, check_option


def map_structures(
    pipeline,
    scan,
    spectra=None,
    *,
    column=None,
    spectra_column=None,
    pixel_size=None,
    geometry="auto",
    drift=None,
    average=None,
    group=None,
    levels=("crystal_system", "space_group"),
    min_confidence=0.5,
    n_candidates=3,
    chunk_size=None,
    n_jobs=None,
    folder=None,
    on_error="warn",
    verbose=0,
    random_state=None,
):
    """Identify the structure at each position of a scan.

    The geometry of the images (centre, ellipticity, shadow of a beam stop) is found once, on mean images of
    parts of the scan, and given to all transformers of images in a copy of the pipeline. The scan is then
    read and identified in chunks. Positions that cannot be read, that are blank or that are not identified
    have no label; ``status`` and ``reason`` of the map say why.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted: features from `make_features` with a column of images, and a classifier.
    scan : ndarray, memmap, dask array, HyperSpy or pyxem signal, path, Scan or None
        One diffraction image at each position: shape (..., n_rows, n_columns), see `xtalsk.io.read_scan`.
        None maps the spectra alone.
    spectra : CompositionMap, HyperSpy signal, ndarray or None, default=None
        Chemistry at the same positions: the result of `xtalsk.spectra.map_compositions`; or a spectrum image
        as a HyperSpy signal, which is analysed first, as the pipeline does it; or an array of shape (..., 98)
        of atomic fractions, hydrogen first; or an object array of cells, such as formulas.
    column : str or None, default=None
        Column of the pipeline for the images. None takes the only one of rings or of spots.
    spectra_column : str or None, default=None
        Column of the pipeline for the chemistry: formula, eds or eels. None takes the only one. Compositions
        skip the analysis of the spectra in it.
    pixel_size : float or None, default=None
        Width of a pixel in 1/Å, used only if the scan does not give it.
    geometry : "auto", RingGeometry or None, default="auto"
        "auto" finds it. None leaves it to the pipeline: usually, it is then found in each image, which is
        slow and needs bright images.
    drift : {"plane", None}, default=None
        "plane" lets the centre be a linear function of the position in the scan. The features are then
        computed for centres in steps of 0.25 pixels.
    average : float or None, default=None
        Standard deviation, in steps of the scan, of the Gaussian weights of neighbours over which each image,
        and each composition, is averaged. In two dimensions, an image gains a factor of about 12.6 times
        ``average``² in electrons (for 0.5 and more), and details smaller than 2.4 times ``average`` steps are
        lost. Near boundaries the averages hold both phases, or spots of several grains.
    group : int, clusterer or None, default=None
        Number of groups of alike patterns, or a clusterer of scikit-learn such as `sklearn.cluster.HDBSCAN`.
        The mean of each group is identified, and its members share the answer. It keeps the resolution, but
        structures that differ less than the noise of single patterns may share a group, and grains of one
        structure in a few positions may join another group. Take some times as many groups as there are
        phases and orientations. With ``average``, averaged images are grouped, and the means are those of
        single images. The scan is read twice.
    levels : sequence of str, default=("crystal_system", "space_group")
        Levels of symmetry from `xtalsk.symmetry.LEVELS`, from coarse to fine. The labels of the map are those
        of the last one. Classes that are no space groups have the one level ``"label"``.
    min_confidence : float, default=0.5
        Positions whose label is less probable are not indexed. `StructureMap.with_confidence` changes it
        later.
    n_candidates : int, default=3
        Best entries of the library that are kept, if the classifier has one.
    chunk_size : int or None, default=None
        Images in a chunk. None takes 1024 images of 128 x 128, and fewer larger ones. It bounds the memory.
    n_jobs : int or None, default=None
        Number of chunks that are identified in parallel. Any backend of joblib works, such as that of dask:
        ``with parallel_config("dask"):``.
    folder : path or None, default=None
        Folder in which finished chunks stay. The same call goes on there after an interruption. Chunks of
        another pipeline, scan or setting are an error.
    on_error : {"warn", "raise"}, default="warn"
        What to do if images cannot be read: warn with their positions and map the others, or raise.
    verbose : int, default=0
        A number above 0 shows the progress.
    random_state : int, RandomState or None, default=None
        For the groups.

    Returns
    -------
    StructureMap

    Raises
    ------
    ValueError
        If the pipeline takes other columns than the scan and the spectra fill (the message has both lists),
        if scan and spectra have different shapes, if the pixel size is unknown, if ``folder`` holds chunks of
        another map, or if a parameter is invalid.
    BrokenFileError
        If images cannot be read and ``on_error="raise"``.

    Warns
    -----
    BrokenCellWarning
        If images could not be read; the message names their positions.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from xtalsk import LibraryMatch, RadialProfile, load_amcsd, make_features, make_library
    >>> from xtalsk import make_specimens
    >>> from xtalsk.mapping import map_structures
    >>> minerals = load_amcsd()[:20:4]
    >>> features = make_features(diffraction=("rings", RadialProfile()))
    >>> pipeline = make_pipeline(features, LibraryMatch().fit(*make_library(minerals, features)))
    >>> X, y, _ = make_specimens(minerals[:1], "rings", electrons=1e6, random_state=0)
    >>> image = X["rings"][0]
    >>> scan = np.tile(image.data, (2, 3, 1, 1))
    >>> scan[1, 2] = 0  # a dead frame
    >>> found = map_structures(pipeline, scan, pixel_size=image.pixel_size)
    >>> found, int(found.label[0, 0]), found.reason[1, 2]
    (StructureMap(2 x 3: 5 ok, 0 not indexed, 1 not measured, 0 broken), 225, 'blank frame: ...')
    """
    _check_parameters(levels, min_confidence, n_candidates, chunk_size, on_error)
    sigma, drift, group = check_average(average), check_drift(drift), check_group(group)
    scan = None if scan is None else read_scan(scan, pixel_size=pixel_size)
    columns = choose_columns(pipeline, scan is not None, spectra is not None, column, spectra_column)
    chemistry = None
    if spectra is not None:
        options = {"n_jobs": n_jobs, "verbose": verbose, "random_state": random_state}
        chemistry = to_chemistry(spectra, pipeline, columns.chemistry, **options)
    source = Source(scan, chemistry, sigma, chunk_size)
    features = copy_features(pipeline, columns, chemistry is not None and chemistry.is_table)
    geometry, size = _find_geometry(source, image_steps(features, columns.scan), geometry, drift)
    identifier = Identifier(
        features,
        pipeline[-1],
        columns,
        labels_of_levels(pipeline[-1], levels),
        pixel_size=size,
        n_candidates=n_candidates,
        min_confidence=min_confidence,
        geometry=geometry,
    )
    settings = {"group": group, "random_state": random_state}
    store = None if folder is None else open_folder(folder, pipeline, source, identifier, settings)
    if group is None:
        arrays, groups = map_positions(identifier, source, n_jobs, store, verbose), None
    else:
        arrays, groups = map_groups(identifier, source, group, n_jobs, store, verbose, random_state)
    _report_broken(arrays, on_error)
    return _to_map(arrays, source, identifier, groups)


def _check_parameters(levels, min_confidence, n_candidates, chunk_size, on_error):
    if isinstance(levels, str) or not len(levels):
        raise ValueError(f"levels must be a list of names such as ('crystal_system',), got {levels!r}")
    for level in levels:
        check_option("levels", level, LEVELS)
    check_number(min_confidence, "min_confidence", min_val=0, max_val=1)
    check_scalar(n_candidates, "n_candidates", int, min_val=1)
    if chunk_size is not None:
        check_scalar(chunk_size, "chunk_size", int, min_val=1)
    check_option("on_error", on_error, ("warn", "raise"))


def _find_geometry(source, steps, geometry, drift):
    """Return the geometry and the pixel size of a scan; set the plane of the centres of ``source``."""
    if source.scan is None:
        return None, None
    finder = geometry_finder(steps, source.scan.pixel_size)
    size = source.scan.pixel_size or finder.pixel_size
    if size is None:
        raise ValueError(
            f"{source.scan.name} has no calibration: give pixel_size in 1/Å, or a signal with axes in 1/Å"
        )
    if isinstance(geometry, str) and geometry == "auto":
        geometry, source.plane = find_geometry(source.scan, finder, size, drift)
    elif geometry is not None:
        geometry = as_geometry(geometry)
    return geometry, size


def _report_broken(arrays, on_error):
    """Raise or warn if images could not be read; the message names their positions and reasons."""
    places = np.argwhere(arrays["status"] == const.BROKEN)
    if not len(places):
        return
    reasons = arrays["reason"][tuple(places.T)]
    lines = []
    for reason in pd.unique(reasons)[:5]:
        of_reason = [tuple(map(int, place)) for place in places[reasons == reason]]
        more = f" and {len(of_reason) - 5} more" if len(of_reason) > 5 else ""
        lines.append(f"{', '.join(map(str, of_reason[:5]))}{more}: {reason}")
    message = f"{len(places)} images of the scan could not be read, at the positions\n" + "\n".join(lines)
    if on_error == "raise":
        raise BrokenFileError(message)
    warnings.warn(f"{message}\nThe others were mapped", BrokenCellWarning, stacklevel=3)


def _to_map(arrays, source, identifier, groups):
    """Return the `StructureMap` of finished arrays, with the entries of its candidates and examples."""
    library = identifier.library
    entries = pd.DataFrame()
    if library is not None:
        used = np.unique(arrays["candidates"]["entry"])
        used = used[used >= 0]
        entries = library.entries_.iloc[used].set_axis(used)
    examples = [] if source.scan is None else _find_examples(arrays, source, identifier, groups)
    return StructureMap(
        arrays, axes=source.axes, labels=identifier.labels, entries=entries, examples=examples
    )


def _find_examples(arrays, source, identifier, groups):
    """Return the surest pattern of each of the most frequent labels."""
    is_ok = arrays["status"] == const.OK
    codes, number = np.unique(arrays["code"][is_ok], return_counts=True)
    examples = []
    for code in codes[np.argsort(-number, kind="stable")][: const.EXAMPLES]:
        confidence = np.where(is_ok & (arrays["code"] == code), arrays["confidence"], -1)
        position = tuple(int(p) for p in np.unravel_index(confidence.argmax(), source.shape))
        if groups is None:
            image = source.chunk(tuple(slice(p, p + 1) for p in position))["images"][0]
        else:
            image = groups[arrays["group"][position]]
        geometry = identifier.geometry
        examples.append(
            {
                "code": int(code),
                "position": position,
                "image": np.asarray(image, dtype=np.float32),
                "pixel_size": float(identifier.pixel_size),
                "center": None if geometry is None else tuple(map(float, geometry.center)),
            }
        )
    return examples
