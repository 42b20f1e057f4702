import sys

import numpy as np
import pytest

from xtalsk.io import read_image, read_profile

DATA = "20.00 5\n20.02 9\n20.04 6\n"


@pytest.mark.parametrize(
    "text",
    [
        DATA,
        DATA.replace(" ", "\t"),
        DATA.replace(" ", ","),
        DATA.replace(" ", " ; ").replace("\n", "\r\n"),
        "# header\n2theta  counts\n\n" + DATA,
        "\ufeff2theta,counts\n" + DATA.replace(" ", ","),
        DATA.replace("\n", " 0.5\n"),
        DATA.replace("20.0", "+2.00").replace(" ", "e1 "),
        "".join(sorted(DATA.splitlines(keepends=True), reverse=True)),
        "! Å\n" + DATA + "# end\n",
    ],
    ids=[
        "blanks",
        "tabs",
        "commas",
        "windows",
        "header",
        "bom",
        "xye",
        "exponents",
        "descending",
        "comments",
    ],
)
def test_dialects_of_text(tmp_path, text):
    path = tmp_path / "scan.xy"
    path.write_text(text, encoding="utf-8", newline="")
    profile = read_profile(path, wavelength=1.5406)
    np.testing.assert_allclose(profile.two_theta, [20, 20.02, 20.04])
    np.testing.assert_allclose(profile.intensity, [5, 9, 6])
    assert profile.wavelength == 1.5406


def test_latin_1_comments_and_repeated_points(tmp_path):
    path = tmp_path / "scan.dat"
    path.write_bytes("# λ".encode() + b" \xc5\n20 5\n20 7\n21 1\n")
    with pytest.warns(UserWarning, match=r"^scan\.dat: .* copper Kα1, 1\.5406 Å, is assumed"):
        profile = read_profile(str(path))
    np.testing.assert_allclose(profile.intensity, [6, 1])
    assert profile.wavelength == 1.5406


def test_axis_q(tmp_path):
    path = tmp_path / "scan.txt"
    path.write_text("0.1 5\n0.2 6\n")
    assert read_profile(path, axis="q").q.tolist() == [0.1, 0.2]
    with pytest.raises(ValueError, match="axis"):
        read_profile(path, axis="d")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found 0"),
        ("nothing here\n", "found 0"),
        ("1 2\n", r"two or more lines with two numbers \(2θ or q, and intensity\), found 1"),
        ("10 5\n20 x\n30 6\n", "expected two numbers in line 2, got '20 x'"),
        ("10 5\n190 6\n", "two_theta must be from 0 to below 180 degrees, got 10 to 190"),
    ],
)
def test_errors_of_text_files_name_the_file(tmp_path, text, message):
    path = tmp_path / "bad.xy"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"bad\.xy.*{message}"):
        read_profile(path)


@pytest.mark.parametrize("read", [read_profile, read_image])
def test_missing_file(tmp_path, read):
    with pytest.raises(OSError, match=r"absent\.dm3.*no such file"):
        read(tmp_path / "absent.dm3")


def test_numpy_files(tmp_path):
    data = np.arange(64.0).reshape(8, 8)
    np.save(tmp_path / "a.npy", data)
    np.savez(tmp_path / "b.npz", data=data, pixel_size=0.02, center=[3.0, 4.0])
    np.savez(tmp_path / "c.npz", other=data)
    np.save(tmp_path / "d.npy", np.arange(3))
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy").data, data)
    assert read_image(tmp_path / "a.npy", pixel_size=0.5).pixel_size == 0.5
    image = read_image(tmp_path / "b.npz", pixel_size=0.5)
    assert (image.pixel_size, image.center) == (0.02, (3.0, 4.0))
    with pytest.raises(ValueError, match=r"c\.npz.*'data'"):
        read_image(tmp_path / "c.npz")
    with pytest.raises(ValueError, match=r"d\.npy.*2-D"):
        read_image(tmp_path / "d.npy")


@pytest.mark.parametrize("name", ["text.npy", "text.npz", "text.png", "cut.npz", "array.npz"])
def test_errors_of_unreadable_files_name_the_file(tmp_path, name):
    path = tmp_path / name
    if name == "cut.npz":
        np.savez(path, data=np.ones((8, 8)))
        path.write_bytes(path.read_bytes()[:100])
    elif name == "array.npz":
        with path.open("wb") as file:
            np.save(file, np.ones((8, 8)))
    else:
        path.write_text("no image")
    with pytest.raises(ValueError, match=rf"^{name}: "):
        read_image(path)


@pytest.mark.parametrize(("suffix", "dtype"), [(".png", np.uint8), (".tif", np.uint16), (".tif", np.float32)])
def test_grey_images(tmp_path, suffix, dtype):
    from PIL import Image

    data = np.arange(64).reshape(8, 8).astype(dtype)
    Image.fromarray(data).save(tmp_path / f"grey{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"grey{suffix}").data, data)


def test_colours_are_summed_without_transparency(tmp_path):
    from PIL import Image

    colours = np.full((8, 8, 4), (1, 2, 3, 255), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "colour.png")
    assert (read_image(tmp_path / "colour.png").data == 6).all()


def test_microscope_formats_name_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rsciio", None)
    (tmp_path / "rings.dm3").write_bytes(b"")
    with pytest.raises(ImportError, match=r"rings\.dm3.*xtalsk\[microscopy\]"):
        read_image(tmp_path / "rings.dm3")


def test_microscope_formats(tmp_path):
    pytest.importorskip("rsciio")
    from rsciio.mrc import file_reader  # noqa: F401  the reader used below exists

    header = np.zeros(256, dtype="<i4")
    header[:4] = 6, 5, 1, 1  # columns, rows, sections, int16
    header[7:10] = 6, 5, 1
    data = np.arange(30, dtype="<i2").reshape(5, 6)
    (tmp_path / "rings.mrc").write_bytes(header.tobytes() + data.tobytes())
    image = read_image(tmp_path / "rings.mrc", pixel_size=0.01)
    np.testing.assert_array_equal(image.data, data)
    assert image.pixel_size == 0.01
    (tmp_path / "broken.dm3").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.dm3"):
        read_image(tmp_path / "broken.dm3")
    (tmp_path / "rings.unknown").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no reader.*unknown"):
        read_image(tmp_path / "rings.unknown")


def test_pixel_size_in_reciprocal_angstrom():
    from xtalsk.io._pixel_sizes import pixel_size

    def axes(units, scales=(0.1, 0.1)):
        return [{"units": units, "scale": s} for s in scales]

    assert pixel_size(axes("1/nm"), "a.dm3")[0] == pytest.approx(0.01)
    assert pixel_size(axes("Å⁻¹"), "a.dm3")[0] == pytest.approx(0.1)
    assert pixel_size(axes("nm"), "a.dm3") == (None, "")
    with pytest.raises(ValueError, match="expected square pixels"):
        pixel_size(axes("1/nm", (0.1, 0.2)), "a.dm3")
