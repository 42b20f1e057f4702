"""Rings with the artefacts of cameras and pictures: the lines must be those of the sound image."""

import numpy as np
import pytest

from xtalsk.diffraction import RadialProfile, locate_peaks
from xtalsk.diffraction._artefacts import clean_image, find_artefacts, find_clusters
from xtalsk.diffraction._marks import find_marks
from xtalsk.io import DiffractionImage

PIXEL = 0.0035
GOLD = np.sqrt([3, 4, 8, 11, 12, 16]) / 4.078
CENTER = (255.3, 250.9)


@pytest.fixture(scope="module")
def sound(draw_rings):
    rings = [(q, h) for q, h in zip(GOLD, (1, 0.7, 0.6, 0.7, 0.3, 0.2), strict=True)]
    return draw_rings(rings, size=512, pixel_size=PIXEL, center=CENTER, electrons=2e7, beam=0.3)


def streak(image, angle, offset, width, counts):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    y, x = y - CENTER[0], x - CENTER[1]
    distance = -np.sin(np.deg2rad(angle)) * x + np.cos(np.deg2rad(angle)) * y - offset
    return image + counts * np.exp(-0.5 * (distance / width) ** 2)


def bar(image, value):
    image = image.copy()
    image[480:486, 30:130] = value
    for column in range(60, 100, 10):  # digits beside the bar
        image[458:470, column : column + 3] = value
        image[458:460, column : column + 6] = value
    return image


def hits(image, n, side):
    image, rng = image.copy(), np.random.default_rng(side)
    for row, column in rng.integers(20, 480, (n, 2)):
        image[row : row + side, column : column + side] = rng.uniform(1e4, 6e4, (side, side))
    return image


def gap(image, value):
    image = image.copy()
    image[250:256] = value
    image[:, 262:268] = value
    return image


def part(image, rows, columns, value):
    image = image.copy()
    image[rows, columns] = value
    return image


def bloom(image):
    image = streak(image, 90, 0, 2.0, 4000)
    return np.minimum(image, np.percentile(image, 99.9))


SPOILT = {
    "streak through the centre": lambda i: streak(i, 90, 0, 1.5, 3000),
    "inclined streak": lambda i: streak(i, 33, 0, 2.0, 2000),
    "streak off centre": lambda i: streak(i, 120, 60, 2.0, 3000),
    "level streak off centre": lambda i: streak(i, 0, -90, 1.5, 3000),
    "bloom of a saturated beam": bloom,
    "white bar": lambda i: bar(i, i.max()),
    "brighter bar": lambda i: bar(i, 65535),
    "black bar": lambda i: bar(i, 0),
    "hot 3 x 3": lambda i: part(i, slice(100, 103), slice(400, 403), 60000),
    "hits 2 x 2": lambda i: hits(i, 30, 2),
    "hits 3 x 3": lambda i: hits(i, 20, 3),
    "hits 5 x 5": lambda i: hits(i, 10, 5),
    "dead column": lambda i: part(i, slice(None), 333, 0),
    "dead row": lambda i: part(i, 140, slice(None), 0),
    "half a dead column": lambda i: part(i, slice(256, None), 300, 0),
    "three dead rows": lambda i: part(i, slice(140, 143), slice(None), 0),
    "gaps between chips": lambda i: gap(i, 0),
    "marked gaps between chips": lambda i: gap(i, 65535),
    "white frame": lambda i: np.pad(i[:-8, :-8], ((0, 8), (0, 8)), constant_values=255),
}


def lines(image):
    transformer = RadialProfile().fit([None])
    cell = DiffractionImage(image, pixel_size=PIXEL)
    profile = transformer.transform([cell])[0]
    geometry = transformer.find_geometry([cell])[1]
    peaks = locate_peaks(transformer.q_, profile)[0]
    return peaks[peaks < 1.0], profile, geometry


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("scale", [1.0, 1e-4], ids=["counts", "scaled"])
def test_artefacts_make_no_lines(sound, spoil, scale):
    peaks, profile, geometry = lines((spoil(sound) * scale).astype(np.float32))
    expected = lines(sound)[1]
    np.testing.assert_allclose(peaks, GOLD[GOLD < 1.0], atol=0.002)
    np.testing.assert_allclose(geometry.center[0].numpy(), CENTER, atol=0.2)
    assert geometry.valid.numpy().mean() > 0.9
    shown = np.isfinite(profile) & np.isfinite(expected) & (np.arange(512) > 30)
    assert shown.sum() > 440
    assert np.abs(profile - expected)[shown].max() < 0.5


def test_nothing_is_found_in_sound_images(sound, draw_rings):
    assert not find_artefacts(sound).any()
    for electrons in (1e3, 1e4, 1e6):
        assert not find_artefacts(draw_rings(stop=(1, 2, 8, 5, 30), beam=0, electrons=electrons)).any()


@pytest.mark.parametrize("width", [0.8, 1.2, 2.0])
def test_diffraction_spots_are_no_hits(width):
    y, x = np.mgrid[:256, :256].astype(float)
    image = np.full((256, 256), 12.0)
    rng = np.random.default_rng(0)
    for row, column in rng.uniform(5, 250, (60, 2)):
        image += rng.uniform(100, 2e4) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
    assert not find_clusters(rng.poisson(image).astype(np.float32)).any()


def boxed(image, ink, ground):
    """A bar with letters on a box of one value, in a corner; the letters touch neither box nor bar."""
    image = image.copy()
    image[440:500, 20:150] = ground
    image[488:492, 30:130] = ink
    for column in range(50, 110, 12):
        image[455:480, column : column + 3] = ink
        image[455:458, column : column + 8] = ink
    return image


@pytest.mark.parametrize("ink", ["highest", "lowest"])
def test_boxes_with_bar_and_text_are_found_whole(sound, ink):
    values = (sound.max(), sound.min())
    image = boxed(sound, *(values if ink == "highest" else values[::-1]))
    found = find_marks(image)
    assert found[440:500, 20:150].mean() > 0.95
    assert found.sum() < 1.3 * 60 * 130
    with pytest.warns(UserWarning, match="burnt-in scale bar"):
        RadialProfile().fit_transform([DiffractionImage(image, pixel_size=PIXEL)])


def test_letters_beside_a_bar_do_not_hide_it(sound):
    image = sound.copy()
    image[480:482, 30:100] = image.max()
    image[483:495, 30:60] = image.max()  # a row of text as wide as half of the bar, a pixel below it
    assert find_marks(image)[480:482, 30:100].all()


def test_bars_of_jpeg_pictures_are_found(sound):
    levels = 255 * np.sqrt(sound / np.percentile(sound, 99.9)).clip(0, 0.9)
    levels[470:480, 30:130] = 253 + np.random.default_rng(0).integers(0, 3, (10, 100))
    assert find_marks(levels.astype(np.float32))[470:480, 30:130].mean() > 0.9


def test_saturated_beam_is_no_scale_bar(sound):
    clipped = np.minimum(sound, np.percentile(sound, 99.5))
    assert not find_marks(clipped).any()


def seam(image, kind):
    """A straight seam between two chips, over the whole width or height; its pixels differ a little."""
    image, rng = image.astype(float), np.random.default_rng(0)
    if kind == "dark":
        image[150:153] = rng.poisson(0.3, (3, 512))
    elif kind == "bright":
        image[:, 150:153] = image.max() * rng.uniform(0.985, 1, (512, 3))
    else:  # wider pixels at the edges of the chips, clipped near the beam
        image[:, 230:234] *= 2.5
        image = np.minimum(image, np.percentile(image, 97))
    return image.astype(np.float32)


@pytest.mark.parametrize("kind", ["dark", "bright", "wide pixels"])
def test_seams_between_chips_are_no_scale_bars(sound, kind):
    image = seam(sound, kind)
    assert not clean_image(image)[1]
    assert clean_image(bar(image, image.max()))[1]  # a bar beside it is one


def test_clusters_are_found_with_their_rim():
    rng = np.random.default_rng(0)
    image = rng.poisson(30, (96, 96)).astype(np.float32)
    image[40:43, 50:52], image[70, 20], image[10:12, 10:12] = 9000, 5000, ((4000, 60), (4000, 4000))
    expected = np.zeros(image.shape, bool)
    for box in ((slice(39, 44), slice(49, 53)), (slice(9, 13), slice(9, 13))):
        expected[box] = True
    expected[9, 12] = False  # the weak pixel of the second cluster is none of it
    np.testing.assert_array_equal(find_clusters(image), expected)
