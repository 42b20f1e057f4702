"""Diffraction images: units, stacks, colours, and signals of HyperSpy."""

import warnings

import numpy as np
import pytest
from PIL import Image

from xtalsk.diffraction import PowderProfile, RadialProfile
from xtalsk.io import (
    BrokenFileError,
    image_from_signal,
    is_signal,
    profile_from_signal,
    read_image,
)
from xtalsk.io._pixel_sizes import choose_image, pixel_size

ROWS, COLUMNS = np.mgrid[:96, :96]
Q = 0.01 * np.hypot(ROWS - 47.3, COLUMNS - 48.6)
RINGS = np.exp(-(((Q - 0.3) / 0.012) ** 2)) + 0.8 * np.exp(-Q / 0.1)
WAVELENGTH_200_KV = 0.0250793  # Å


def axes(unit, scale=0.05, n=2):
    return [{"size": 96, "navigate": False, "scale": scale, "offset": 0.0, "units": unit}] * n


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("1/nm", 0.1),
        ("1 / nm", 0.1),
        ("nm^-1", 0.1),
        ("nm⁻¹", 0.1),
        ("$nm^{-1}$", 0.1),
        ("k_nm^-1", 0.1),
        ("1/Å", 1),
        ("1/A", 1),
        ("Å^-1", 1),
        ("\u212b⁻¹", 1),
        ("$A^{-1}$", 1),
        ("k_A^-1", 1),
        ("q_A^-1", 1 / (2 * np.pi)),
        ("q_nm^-1", 0.1 / (2 * np.pi)),
        ("1/m", 1e-10),
        ("mrad", 1e-3 / WAVELENGTH_200_KV),
        ("rad", 1 / WAVELENGTH_200_KV),
        ("2th_deg", np.pi / 180 / WAVELENGTH_200_KV),
    ],
)
def test_units_of_pixels(unit, factor):
    size, problem = pixel_size(axes(unit), "a.hspy", beam_energy=200)
    assert size == pytest.approx(0.05 * factor, rel=1e-5)
    assert problem == ""


@pytest.mark.parametrize("unit", ["nm", "Å", "px", "", None, "<undefined>", "m", "s"])
def test_units_that_give_no_pixel_size(unit):
    assert pixel_size(axes(unit), "a.hspy", beam_energy=200) == (None, "")


def signal(data, unit="1/nm", scale=0.05, **metadata):
    dims = [
        {"size": n, "navigate": i < np.ndim(data) - 2, "scale": scale, "offset": 0.0, "units": unit}
        for i, n in enumerate(np.shape(data))
    ]
    return {"data": np.asarray(data), "axes": dims, "metadata": metadata}


def test_angles_need_the_beam_energy():
    tem = {"Acquisition_instrument": {"TEM": {"beam_energy": 200.0}}}
    _, size, _ = choose_image([signal(RINGS, "mrad", 0.25, **tem)], "a.dm3")
    assert size == pytest.approx(0.25e-3 / WAVELENGTH_200_KV, rel=1e-5)
    _, size, problem = choose_image([signal(RINGS, "mrad", 0.25)], "a.dm3")
    assert size is None
    assert problem == "its axes are in mrad, and the file does not give the beam energy"


def test_one_image_is_chosen_or_asked_for():
    diffraction, specimen = signal(RINGS), signal(2 * RINGS, "nm", General={"title": "HAADF"})
    image, size, _ = choose_image([specimen, diffraction], "a.emd")
    np.testing.assert_array_equal(image, RINGS)
    assert size == pytest.approx(0.005)
    np.testing.assert_array_equal(choose_image([specimen, diffraction], "a.emd", index=0)[0], 2 * RINGS)
    with pytest.raises(ValueError, match=r"expected one image, found 2; give index .* 0: 'HAADF'"):
        choose_image([specimen, specimen], "a.emd")
    with pytest.raises(ValueError, match="signal 3 is not an image"):
        choose_image([specimen], "a.emd", index=3)


STACK = np.stack([RINGS, 2 * RINGS, 3 * RINGS]).astype(np.float32)


def save_stack(path):
    if path.suffix == ".npy":
        np.save(path, STACK)
    elif path.suffix == ".npz":
        np.savez(path, data=STACK)
    elif path.suffix == ".mrc":
        header = np.zeros(256, dtype="<i4")
        header[:4] = 96, 96, 3, 2
        header[7:10] = 96, 96, 3
        path.write_bytes(header.tobytes() + STACK.tobytes())
    else:
        first, *others = [Image.fromarray(frame) for frame in STACK]
        first.save(path, save_all=True, append_images=others)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tif", ".mrc"])
def test_stacks_ask_for_a_frame(tmp_path, suffix):
    if suffix == ".mrc":
        pytest.importorskip("rsciio")
    path = tmp_path / f"stack{suffix}"
    save_stack(path)
    with pytest.raises(BrokenFileError, match=rf"stack\{suffix}: .*stack of 3 images of 96 x 96 .* frame=0"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, frame=1).data, STACK[1])
    with pytest.raises(BrokenFileError, match=r"frame must lie within a stack of shape \(3,\), got 3"):
        read_image(path, frame=3)


def test_one_image_in_a_stack(tmp_path):
    np.save(tmp_path / "a.npy", STACK[:1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy").data, STACK[0])


LEVELS = np.rint(255 * RINGS / RINGS.max()).astype(np.uint8)


@pytest.mark.parametrize("name", ["viridis", "inferno", "jet", "turbo", "hot", "Blues"])
@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA"])
def test_colour_maps_are_turned_back_into_levels(tmp_path, name, mode):
    import matplotlib as mpl

    colours = np.rint(255 * mpl.colormaps[name](LEVELS)).astype(np.uint8)
    if mode == "P":
        picture = Image.fromarray(LEVELS)
        table = np.rint(255 * mpl.colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)
        picture.putpalette(table.ravel().tolist())
    else:
        picture = Image.fromarray(colours[..., : len(mode)])
    picture.save(tmp_path / "rings.png")
    with pytest.warns(UserWarning, match=rf"rings\.png: the colours of {name} were turned back"):
        image = read_image(tmp_path / "rings.png")
    assert np.abs(image.data - LEVELS).max() <= 2  # a few neighbours in a map have one colour of 8 bits


def test_merged_colours_of_a_small_palette(tmp_path):
    import matplotlib as mpl

    colours = np.rint(255 * mpl.colormaps["viridis"](LEVELS)[..., :3]).astype(np.uint8)
    Image.fromarray(colours).quantize(32).save(tmp_path / "rings.png")
    with pytest.warns(UserWarning, match="viridis"):
        image = read_image(tmp_path / "rings.png", pixel_size=0.01)
    assert np.isfinite(image.data).all()
    assert np.corrcoef(image.data.ravel(), LEVELS.ravel())[0, 1] > 0.99
    profile = RadialProfile(n_bins=60, q_range=(0.05, 0.6)).fit([None])
    features = profile.transform([image])[0]
    near = (profile.q_ > 0.2) & (profile.q_ < 0.4)
    assert profile.q_[near][features[near].argmax()] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tif"])
def test_grey_pictures_in_colour_formats(tmp_path, suffix):
    path = tmp_path / f"rings{suffix}"
    picture = Image.fromarray(LEVELS)
    picture = picture.convert("P" if suffix == ".gif" else "RGB")
    picture.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(path)
    error = np.abs(image.data / 3 - LEVELS)
    assert error.mean() < 3 if suffix == ".jpg" else error.max() == 0


def test_other_colours_are_refused(tmp_path):
    random = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(random).save(tmp_path / "photo.png")
    with pytest.raises(BrokenFileError, match=r"photo\.png: the picture is coloured, .* fit no known"):
        read_image(tmp_path / "photo.png")


def test_coloured_notes_in_grey_pictures_are_masked(tmp_path):
    picture = np.repeat(LEVELS[..., None], 3, axis=2)
    picture[80:90, 5:60] = 255, 0, 0
    Image.fromarray(picture).save(tmp_path / "rings.png")
    with pytest.warns(
        UserWarning, match=r"rings\.png: coloured notes in a grey picture, 6\.0% of the pixels"
    ):
        data = read_image(tmp_path / "rings.png").data
    assert np.isnan(data[80:90, 5:60]).all()
    assert np.isnan(data).sum() == 12 * 57
    np.testing.assert_array_equal(data[:70] / 3, LEVELS[:70])


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_transparent_pixels_are_not_measured(tmp_path, mode):
    opacity = np.full(LEVELS.shape, 255, dtype=np.uint8)
    opacity[:, :10] = 0
    alpha = Image.fromarray(opacity)
    picture = Image.fromarray(LEVELS).convert("RGBA" if mode == "RGBA" else "LA")
    picture.putalpha(alpha)
    if mode == "PA":  # Pillow before 12 loses the opacity in convert("PA")
        picture = Image.merge("PA", [picture.getchannel("L"), alpha])
        picture.putpalette([level for grey in range(256) for level in (grey, grey, grey)])
    path = tmp_path / ("rings.tif" if mode == "PA" else "rings.png")
    picture.save(path)
    data = read_image(path).data
    assert np.isnan(data[:, :10]).all()
    assert np.isfinite(data[:, 10:]).all()
    opacity[:] = 0  # an opacity of 0 everywhere says nothing
    picture.putalpha(Image.fromarray(opacity))
    picture.save(path)
    assert np.isfinite(read_image(path).data).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures_of_16_bits_keep_their_levels(tmp_path, suffix):
    levels = np.rint(65535 * RINGS / RINGS.max()).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / f"rings{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"rings{suffix}").data, levels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_negatives_are_inverted(tmp_path, dtype):
    levels = np.rint(np.iinfo(dtype).max * RINGS / RINGS.max()).astype(dtype)
    inverted = np.iinfo(dtype).max - levels
    path = tmp_path / "film.tif"
    Image.fromarray(inverted).save(path)
    with pytest.warns(UserWarning, match=r"film\.tif: .* was taken as a negative and inverted"):
        found = read_image(path)
    np.testing.assert_array_equal(found.data, levels - levels.min())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_image(path, negative=False).data, inverted)
        np.testing.assert_array_equal(read_image(path, negative=True).data, levels - levels.min())
        Image.fromarray(levels).save(path)
        np.testing.assert_array_equal(read_image(path).data, levels)
    np.save(tmp_path / "film.npy", inverted)
    np.testing.assert_array_equal(read_image(tmp_path / "film.npy").data, inverted)
    np.testing.assert_array_equal(
        read_image(tmp_path / "film.npy", negative=True).data, levels - levels.min()
    )


def test_tiff_of_64_bits(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", RINGS)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, RINGS)
    tifffile.imwrite(tmp_path / "b.tif", np.stack([RINGS, RINGS]))
    with pytest.raises(BrokenFileError, match="give frame"):
        read_image(tmp_path / "b.tif")


class Axis:
    def __init__(self, number, size, scale, units, navigate):
        self.index_in_array, self.size, self.units, self.navigate = number, size, units, navigate
        self.axis = scale * np.arange(size)


class Manager:
    def __init__(self, every):
        self.navigation_axes = [a for a in every if a.navigate]
        self.signal_axes = [a for a in every if not a.navigate]


class Metadata(dict):
    def as_dictionary(self):
        return dict(self)


class Signal:
    """The attributes of a HyperSpy signal that the package uses."""

    def __init__(self, data, scale, units, n_signal_axes, beam_energy=None):
        n = np.ndim(data)
        self.data = data
        self.axes_manager = Manager(
            [Axis(i, size, scale, units, i < n - n_signal_axes) for i, size in enumerate(np.shape(data))]
        )
        tem = {} if beam_energy is None else {"beam_energy": beam_energy}
        self.metadata = Metadata(Acquisition_instrument={"TEM": tem})


def test_signals_are_cells_of_rings():
    cell = Signal(RINGS, 0.01, "k_A^-1", 2)
    assert is_signal(cell)
    image = image_from_signal(cell)
    assert image.pixel_size == pytest.approx(0.01)
    transformer = RadialProfile(n_bins=50).fit([None])
    np.testing.assert_array_equal(transformer.transform([cell]), transformer.transform([image]))
    assert image_from_signal(Signal(RINGS, 1, "px", 2), pixel_size=0.02).pixel_size == 0.02
    with pytest.raises(ValueError, match="stack of 3 images"):
        image_from_signal(Signal(STACK, 0.01, "k_A^-1", 2))
    with pytest.raises(ValueError, match="Signal: unknown pixel size, its axes are in mrad"):
        image_from_signal(Signal(RINGS, 0.25, "mrad", 2))
    energetic = image_from_signal(Signal(RINGS, 0.25, "mrad", 2, beam_energy=200))
    assert energetic.pixel_size == pytest.approx(0.25e-3 / WAVELENGTH_200_KV, rel=1e-5)


def test_signals_are_cells_of_profiles():
    counts = 20 + 500 * np.exp(-(((np.arange(200) - 90) / 3) ** 2))
    np.testing.assert_allclose(
        profile_from_signal(Signal(counts, 0.05, "k_nm^-1", 1)).q, 0.005 * np.arange(200)
    )
    np.testing.assert_allclose(
        profile_from_signal(Signal(counts, 0.05, "q_A^-1", 1)).q, 0.05 / (2 * np.pi) * np.arange(200)
    )
    angles = profile_from_signal(Signal(counts, 0.2, "2th_deg", 1), wavelength=1.5406)
    np.testing.assert_allclose(angles.two_theta, 0.2 * np.arange(200))
    assert angles.wavelength == 1.5406
    mrad = profile_from_signal(Signal(counts, 0.1, "mrad", 1, beam_energy=200))
    assert mrad.wavelength == pytest.approx(WAVELENGTH_200_KV, rel=1e-5)
    assert mrad.two_theta[-1] == pytest.approx(np.degrees(0.0199))
    transformer = PowderProfile(n_bins=20).fit([None])
    assert np.isfinite(transformer.transform([Signal(counts, 0.05, "k_nm^-1", 1)])).any()
    with pytest.raises(ValueError, match=r"expected an axis in 1/Å, .* got the unit 'eV'"):
        profile_from_signal(Signal(counts, 1, "eV", 1))
    with pytest.raises(ValueError, match="one profile"):
        profile_from_signal(Signal(STACK[0], 1, "k_nm^-1", 1))


def test_files_and_signals_of_hyperspy(tmp_path):
    hs = pytest.importorskip("hyperspy.api")
    pattern = hs.signals.Signal2D(RINGS)
    for axis in pattern.axes_manager.signal_axes:
        axis.scale, axis.units = 0.0035, "k_A^-1"
    pattern.save(tmp_path / "a.hspy")
    for image in (read_image(tmp_path / "a.hspy"), image_from_signal(pattern)):
        assert image.pixel_size == pytest.approx(0.0035)
        np.testing.assert_array_equal(image.data, RINGS)
    stack = hs.stack([pattern, pattern * 2])
    stack.save(tmp_path / "b.hspy")
    with pytest.raises(BrokenFileError, match=r"b\.hspy: .*stack of 2 images"):
        read_image(tmp_path / "b.hspy")
    np.testing.assert_array_equal(read_image(tmp_path / "b.hspy", frame=1).data, 2 * RINGS)
