"""Compositions of all pixels of a spectrum image."""

from numbers import Integral

from sklearn.utils import check_random_state, check_scalar

from xtalsk.spectra.maps._mapper import Mapper
from xtalsk.utils import check_option


def map_compositions(
    analysis,
    spectra,
    *,
    energy=None,
    beam_energy=None,
    regions="auto",
    n_jobs=None,
    chunk_size=1024,
    random_state=None,
    verbose=0,
    on_error="warn",
):
    """Return the composition of each pixel of a spectrum image.

    Elements are identified in sums of pixels: the whole map, and regions whose spectra differ. Then each
    pixel is one non-negative linear fit of the lines or edges of all these elements and of the background,
    with the shapes that the sums gave.

    Parameters
    ----------
    analysis : EDSComposition or EELSComposition
        Analysis of the sums. Its parameters count for the pixels, too: ``elements``, ``exclude``,
        ``thickness_nm``, ``window``, ``takeoff_angle``, ...
    spectra : array of shape (rows, columns, n_channels) or (n, n_channels), or HyperSpy signal
        NumPy array, memory map, dask array, or lazy or eager HyperSpy signal of counts. The metadata of a
        signal give axis and conditions as in `EDSComposition`.
    energy : array-like of shape (n_channels,) or None, default=None
        Middle of each channel in eV; necessary for arrays.
    beam_energy : float or None, default=None
        Beam energy in keV, for spectra without one.
    regions : {"auto", None}, int, or ndarray of int of the shape of the map, default="auto"
        Regions whose sums are analysed. "auto" finds them, an int is their number, None takes the whole map
        alone. An array holds the region of each pixel, for example a phase map; pixels below 0 have none.
    n_jobs : int or None, default=None
        Number of threads; -1 uses all processors.
    chunk_size : int, default=1024
        Pixels that are read at once. A dask array is read in its own chunks.
    random_state : int, RandomState or None, default=None
        Makes the search for regions repeatable.
    verbose : int, default=0
        Above 0 shows progress bars.
    on_error : {"warn", "raise"}, default="warn"
        What pixels without counts or with NaN channels cause: a warning that names their positions, or an
        error. `CompositionMap.status` marks them.

    Returns
    -------
    CompositionMap

    Raises
    ------
    TypeError
        If ``analysis`` is another estimator.
    ValueError
        If ``spectra`` has another shape, if its energies are unknown or in another unit, if the beam energy
        is unknown, or if no pixel can be used.

    See Also
    --------
    EDSComposition, EELSComposition : Analyse single spectra.

    Notes
    -----
    *Channels.* Channels that are NaN in all pixels count as not measured. A pixel with other NaN channels is
    left out.

    *Regions.* Principal components of Poisson-scaled counts [1]_ that stand out from noise, and a mixture of
    normal distributions, group the pixels. Half of the counts of each pixel define the groups, the other half
    must confirm that they differ. A phase in 0.1% of the pixels is found if its spectrum differs. After the
    first fit, pixels whose counts exceed their fit at the same energy are summed and analysed, too. This
    finds elements that only a few pixels hold.

    *Pixels.* All pixels share the energy axis, the resolution and the deviations of lines that the sums
    calibrate. Each region has its own absorption and background. The fit is repeated once with the variance
    that the first fit expects, so that it is close to the maximum of Poisson's likelihood. Fractions of
    single pixels are not set to 0 below ``min_fraction``, because that would bias means of pixels.

    *Uncertainty.* It is the standard deviation by counting. `CompositionMap.total_uncertainty` adds the
    errors of cross-sections, which are the same in all pixels. Amounts cannot be negative. Therefore the
    fraction of an absent element is 0 in half of the pixels, and about its uncertainty in the others.

    *Energy losses.* The noise of the detector is estimated from the pixels. The background of a pixel is a
    combination of that of its region times three powers of the energy. The zero-loss peak must be
    aligned.

    *Results* do not depend on ``chunk_size`` and ``n_jobs``.

    References
    ----------
    .. [1] M. R. Keenan and P. G. Kotula, Surf. Interface Anal. 36 (2004) 203.

    Examples
    --------
    >>> import numpy as np
    >>> from xtalsk.simulation import EDSConditions, simulate_eds
    >>> from xtalsk.spectra import EDSComposition, map_compositions
    >>> rates = simulate_eds(["MgO", "TiO2"], conditions="ideal", random_state=0)
    >>> phase = np.arange(8 * 8).reshape(8, 8) % 8 // 4  # two halves
    >>> counts = np.random.default_rng(0).poisson(rates[phase] / 1000)
    >>> axis = EDSConditions.ideal().axis()
    >>> compositions = map_compositions(
    ...     EDSComposition(thickness_nm=50, takeoff_angle=20), counts, energy=axis, beam_energy=200,
    ...     random_state=0,
    ... )
    >>> compositions.elements, compositions.fractions.shape
    (['O', 'Mg', 'Ti'], (8, 8, 3))
    >>> compositions.element("Mg")[:, :4].mean().round(1), compositions.element("Mg")[:, 4:].mean().round(1)
    (np.float32(0.5), np.float32(0.0))
    """
    check_scalar(chunk_size, "chunk_size", Integral, min_val=1)
    check_option("on_error", on_error, ("raise", "warn"))
    mapper = Mapper(analysis, spectra, energy, beam_energy, (chunk_size, n_jobs, verbose))
    mapper.report_unusable(on_error)
    mapper.find_regions(regions, check_random_state(random_state))
    mapper.fit()
    return mapper.result()
