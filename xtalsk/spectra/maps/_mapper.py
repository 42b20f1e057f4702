"""The steps of `map_compositions`."""

import warnings
from numbers import Integral

import numpy as np

from xtalsk.spectra._signal_kind import check_is_loss_spectrum, check_is_xray_spectrum
from xtalsk.spectra.eds._composition import EDSComposition
from xtalsk.spectra.eels._composition import EELSComposition
from xtalsk.spectra.maps._composition_map import STATUS, CompositionMap
from xtalsk.spectra.maps._constants import (
    EXCESS_ERROR,
    GRADIENT_TOLERANCE,
    LEAST_REGION_COUNTS,
    LEAST_REGION_PIXELS,
    MOST_SAMPLED,
    PASSES,
    PRIOR_COUNTS,
    RIDGE,
    WINDOW_REACH,
)
from xtalsk.spectra.maps._evidence import evidence_of, found_elements
from xtalsk.spectra.maps._excess import excess_groups
from xtalsk.spectra.maps._models import WHOLE_MAP
from xtalsk.spectra.maps._regions import Bands, Regions
from xtalsk.spectra.maps._spectrum_image import check_spectrum_image, each_block
from xtalsk.spectra.maps._survey import MAPPED, NO_ELEMENT, learn_unit, survey
from xtalsk.utils import BrokenCellWarning, check_option
from xtalsk.utils._formula import SYMBOLS


class Mapper:
    """The steps of `map_compositions`.

    Parameters
    ----------
    analysis, spectra, energy, beam_energy
        See `map_compositions`.
    running : tuple of (chunk_size, n_jobs, verbose)
    """

    def __init__(self, analysis, spectra, energy, beam_energy, running):
        shapes, check_kind = _shapes_of(analysis)
        analysis._check_params()
        self._running = running
        self.image = check_spectrum_image(spectra, energy)
        self.survey = survey(self.image, *running)
        self.usable = usable = self.survey.status == MAPPED
        if not usable.any():
            raise ValueError(f"none of the {usable.size} pixels holds counts without NaN channels")
        is_whole = learn_unit(self.image, self.survey) if isinstance(analysis, EDSComposition) else False
        total = self.image.spectrum(self.survey.total, beam_energy=beam_energy)
        check_kind(spectra, total)
        self.shapes = shapes(analysis, analysis._check_cell(total), is_whole)
        self.analyses = [self.shapes.analyse(None, WHOLE_MAP, int(usable.sum()))]
        self.regions = np.where(usable, 0, -1)
        self.model_of = np.zeros(1, int)
        self._learn_noise()

    def _each(self, function, label):
        """Yield the blocks of the image, and the results of ``function(block, counts)``; see `each_block`."""
        size, n_jobs, verbose = self._running
        return each_block(self.image.counts, self.image.blocks(size), function, n_jobs, label, verbose)

    def _models(self):
        """Return the number of the model of each pixel, -1 for those that are not mapped, (rows, columns)."""
        model = np.where(self.regions >= 0, self.model_of[self.regions], 0)
        return np.where(self.usable, model, -1)

    def _learn_noise(self):
        """Estimate the noise from pixels that are spread over the map."""
        n = self.shapes.n_noise_pixels
        if not n:
            return
        model = self._models()
        usable = np.flatnonzero(self.usable.ravel())
        spread = np.linspace(0, len(usable) - 1, min(n, len(usable))).round().astype(int)
        chosen = np.isin(np.arange(model.size), usable[spread]).reshape(model.shape)

        def take(block, counts):
            return counts[chosen[block.place].ravel()], model[block.place][chosen[block.place]]

        counts, models = zip(*(parts for _, parts in self._each(take, "noise")), strict=True)
        self.shapes.learn_noise(np.concatenate(counts), np.concatenate(models), self.analyses)

    def report_unusable(self, on_error):
        """Warn of pixels without a spectrum, or raise ValueError that names them."""
        status, parts = self.survey.status.ravel(), []
        for kind in (1, 2):
            numbers = np.flatnonzero(status == kind)
            if len(numbers):
                parts.append(f"{len(numbers)} with {STATUS[kind]} ({self.image.name_positions(numbers)})")
        if not parts:
            return
        message = f"pixels that cannot be used: {', '.join(parts)}"
        if on_error == "raise":
            raise ValueError(message)
        warnings.warn(f"map_compositions: {message}", BrokenCellWarning, stacklevel=3)

    # Regions

    def find_regions(self, regions, rng):
        """Find the regions, and analyse the sum of each."""
        if regions is None:
            return
        if isinstance(regions, str | Integral):
            check_option("regions", regions, ("auto", *range(1, 100)))
            self._find_regions(None if regions == "auto" else int(regions), rng)
        else:
            self._take_regions(np.asarray(regions))
        self._analyse_regions(np.unique(self.regions[self.regions >= 0]))
        if len(self.analyses) > 1:
            self._learn_noise()

    def _take_regions(self, regions):
        """Use the regions of the user."""
        if regions.shape != self.image.navigation or not np.issubdtype(regions.dtype, np.integer):
            raise ValueError(
                f"regions must be whole numbers of the shape of the map, {self.image.navigation}, got "
                f"{regions.dtype} of shape {regions.shape}"
            )
        regions = regions.reshape(self.regions.shape)
        self.regions = np.where(self.usable & (regions >= 0), regions, -1)

    def _find_regions(self, n_regions, rng):
        """Find regions by their spectra."""
        usable = chosen = np.flatnonzero(self.usable.ravel())
        if len(usable) > MOST_SAMPLED:
            chosen = np.sort(rng.choice(usable, MOST_SAMPLED, replace=False))
        is_chosen = np.zeros(self.regions.size, bool)
        is_chosen[chosen] = True
        is_chosen = is_chosen.reshape(self.regions.shape)
        bands = Bands(self.survey.total, np.diff(self.shapes.binning.starts) > 0)
        numbers = np.arange(self.regions.size).reshape(self.regions.shape)
        sample = np.empty((len(chosen), len(bands.share)), np.float32)

        def take(block, counts):
            own = is_chosen[block.place].ravel()
            return numbers[block.place].ravel()[own], bands.counts(counts[own])

        for _, (own, part) in self._each(take, "regions"):
            sample[np.searchsorted(chosen, own)] = part
        found = Regions(sample, bands.share, self.shapes.gain, n_regions, rng)
        if len(found) == 1:
            return

        def label(block, counts):
            return found.labels(bands.counts(counts))

        for block, labels in self._each(label, "labels"):
            own = self.regions[block.place]
            self.regions[block.place] = np.where(self.usable[block.place], labels.reshape(own.shape), -1)

    def _sums(self, labels, n):
        """Return the sums of the pixels of each label, ndarray of shape (n, n_channels)."""

        def add(block, counts):
            own = labels[block.place].ravel()
            return [(k, counts[own == k].sum(0, dtype=float)) for k in np.unique(own[own >= 0])]

        sums = np.zeros((n, self.image.shape[2]))
        for _, parts in self._each(add, "sums"):
            for k, part in parts:
                sums[k] += part
        sums[:, np.isnan(self.survey.total)] = np.nan
        return sums

    def _analyse_regions(self, labels):
        """Analyse the sums of the regions of some labels; the model of the others is that of the map."""
        place = np.full(self.regions.max() + 1, -1)
        n_more = max(len(place) - len(self.model_of), 0)
        self.model_of = np.concatenate([self.model_of, np.zeros(n_more, int)])
        if len(labels) < 2:
            return
        place[labels] = np.arange(len(labels))
        sums = self._sums(np.where(self.regions >= 0, place[self.regions], -1), len(labels))
        n_pixels = np.bincount(self.regions[self.regions >= 0], minlength=len(place))
        for k, counts in zip(labels, sums, strict=True):
            if np.nansum(counts) >= LEAST_REGION_COUNTS and n_pixels[k] >= LEAST_REGION_PIXELS:
                analysis = self.shapes.analyse(counts, f"region {k}", int(n_pixels[k]))
                if analysis is not None:
                    self.model_of[k] = len(self.analyses)
                    self.analyses.append(analysis)

    # Pixels

    def fit(self):
        """Fit all pixels; if some of them hold more elements, fit all again with these."""
        self._fit_pixels()
        if self._add_excess():
            self._fit_pixels()

    def _fit_pixels(self):
        """Fit all pixels with the elements of all sums."""
        from xtalsk.spectra.maps._pixel_kernels import fit_pixels

        own, excluded = found_elements(self.analyses, self.shapes)
        self.numbers = own
        models = self.shapes.models(self.analyses, np.concatenate([own, excluded]), len(own))
        noise = PRIOR_COUNTS * self.shapes.noise.gain, self.shapes.noise.gain, self.shapes.noise.readout
        numbers, window = (PASSES, RIDGE, GRADIENT_TOLERANCE), (WINDOW_REACH, EXCESS_ERROR)
        model = self._models()

        def fit(block, counts):
            n = len(counts)
            fractions, uncertainty = np.full((2, n, len(own)), np.nan, np.float32)
            largest, place = np.zeros(n), np.zeros(n, int)
            fit_pixels(
                np.ascontiguousarray(counts, np.float32), model[block.place].ravel(),
                tuple(self.shapes.binning), models.columns, models.means, models.atoms, models.n_free,
                noise, numbers, window, fractions, uncertainty, largest, place,
            )  # fmt: skip
            return fractions, uncertainty, largest, place

        shape = self.regions.shape
        self.fractions, self.uncertainty = np.empty((2, *shape, len(own)), np.float32)
        self.largest, self.place = np.zeros(shape), np.zeros(shape, int)
        outputs = self.fractions, self.uncertainty, self.largest, self.place
        for block, parts in self._each(fit, "pixels"):
            for output, part in zip(outputs, parts, strict=True):
                output[block.place] = part.reshape(output[block.place].shape)

    def _add_excess(self):
        """Analyse pixels whose counts exceed their fit; return whether they hold more elements."""
        groups = excess_groups(self.largest, self.place, self.usable, self.shapes.n_bins)
        if not groups:
            return False
        labels, known, n_before = np.full(self.usable.shape, -1), set(self.numbers), len(self.analyses)
        for k, group in enumerate(groups):
            labels[group] = k
        for k, (group, counts) in enumerate(zip(groups, self._sums(labels, len(groups)), strict=True)):
            analysis = self.shapes.analyse(counts, f"excess {k}", int(group.sum()))
            if analysis is None or not set(found_elements([analysis], self.shapes)[0]) - known:
                continue
            self.regions[group] = len(self.model_of)
            self.model_of = np.append(self.model_of, len(self.analyses))
            self.analyses.append(analysis)
        return len(self.analyses) > n_before

    def result(self):
        """Return the `CompositionMap`."""
        status = self.survey.status.copy()
        is_empty = (status == MAPPED) & np.isnan(self.fractions).all(-1)
        status[is_empty] = NO_ELEMENT
        shape = self.image.navigation
        absent, systematic = self.shapes.absent(self.analyses, self.numbers)
        return CompositionMap(
            fractions=self.fractions.reshape(*shape, len(self.numbers)),
            uncertainty=self.uncertainty.reshape(*shape, len(self.numbers)),
            elements=[SYMBOLS[z - 1] for z in self.numbers],
            evidence=evidence_of(self.analyses, self.numbers),
            counts=self.survey.counts.reshape(shape).astype(np.float32),
            regions=self.regions.reshape(shape),
            status=status.reshape(shape),
            absent=absent,
            systematic=systematic,
            axes=self.image.axes,
        )


def _shapes_of(analysis):
    """Return the class of the shapes for an analysis, and the check of the kind of spectra."""
    if isinstance(analysis, EDSComposition):
        from xtalsk.spectra.maps._eds_shapes import EDSShapes

        return EDSShapes, check_is_xray_spectrum
    if isinstance(analysis, EELSComposition):
        from xtalsk.spectra.maps._eels_shapes import EELSShapes

        return EELSShapes, check_is_loss_spectrum
    raise TypeError(f"analysis must be EDSComposition() or EELSComposition(), got {type(analysis).__name__}")
