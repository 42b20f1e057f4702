import numpy as np
import pytest

from xtalsk.io import BrokenFileError, Scan, ScanAxis, read_scan


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 99, (6, 7, 16, 20)).astype(np.uint16)


def assert_covers(scan, array, n_images, is_square=False):
    out, count = np.zeros_like(array), np.zeros(array.shape[:2], int)
    for box in scan.boxes(n_images, is_square):
        images, problems = scan.read(box)
        assert not problems
        out[box] = images
        count[box] += 1
    np.testing.assert_array_equal(out, array)
    assert (count == 1).all()


@pytest.mark.parametrize("n_images", [1, 5, 10, 1000])
@pytest.mark.parametrize("is_square", [False, True])
def test_boxes_cover_the_scan_once(array, n_images, is_square):
    assert_covers(read_scan(array), array, n_images, is_square)
    dask = pytest.importorskip("dask.array")
    assert_covers(read_scan(dask.from_array(array, chunks=(2, 3, 8, 20))), array, n_images, is_square)


def test_boxes_follow_the_chunks_of_a_dask_array(array):
    dask = pytest.importorskip("dask.array")
    scan = read_scan(dask.from_array(array, chunks=(2, 3, 16, 20)))
    assert scan.boxes(6)[:3] == [
        (slice(0, 2), slice(0, 3)),
        (slice(0, 2), slice(3, 6)),
        (slice(0, 2), slice(6, 7)),
    ]
    assert scan.boxes(14)[0] == (slice(0, 2), slice(0, 7))


def test_each_chunk_is_read_once(array, monkeypatch):
    dask = pytest.importorskip("dask.array")
    read = []
    lazy = dask.from_array(array, chunks=(2, 3, 16, 20))
    counted = lazy.map_blocks(
        lambda b, block_id=None: read.append(block_id[:2]) or b, dtype=array.dtype, meta=array[:0]
    )
    scan = read_scan(counted)
    for box in scan.boxes(3):
        scan.read(box)
    assert len(read) == len(set(read)) == 9
    monkeypatch.setattr("xtalsk.io._constants.CACHED_BYTES", 0)
    assert_covers(Scan(counted), array, 3)  # chunks that are too large are read in parts


def test_broken_chunks_are_reported_with_their_positions(array):
    dask = pytest.importorskip("dask.array")

    def read(block, block_id=None):
        if block_id[:2] == (1, 0):
            raise OSError("damaged")
        return block

    lazy = dask.from_array(array, chunks=(2, 3, 16, 20)).map_blocks(read, dtype=array.dtype, meta=array[:0])
    scan = read_scan(lazy)
    images, problems = scan.read((slice(1, 4), slice(0, 7)))
    assert sorted(problems) == [(row, column) for row in (2, 3) for column in (0, 1, 2)]
    assert set(problems.values()) == {"OSError: damaged"}
    assert (images[1:, :3] == 0).all()
    np.testing.assert_array_equal(images[:, 3:], array[1:4, 3:])
    with pytest.raises(BrokenFileError, match=r"the scan: the image at \(2, 1\): OSError: damaged"):
        scan.read_frame((2, 1))
    np.testing.assert_array_equal(scan.read_frame((0, 1)), array[0, 1])


def test_arrays_on_disk_are_not_read_at_once(array, tmp_path):
    path = tmp_path / "scan.npy"
    np.save(path, array)
    scan = read_scan(path, pixel_size=0.02)
    assert isinstance(scan.data, np.memmap)
    assert scan.pixel_size == 0.02
    assert_covers(scan, array, 10)
    assert read_scan(scan) is scan


def test_files_and_signals_give_axes_and_calibration(array, tmp_path):
    signals = pytest.importorskip("hyperspy.api").signals
    axes = [
        {"name": "y", "size": 6, "scale": 2.0, "offset": 5.0, "units": "nm", "navigate": True},
        {"size": 7, "scale": 3.0, "navigate": True},
        {"name": "ky", "size": 16, "scale": 0.1, "units": "1/nm", "navigate": False},
        {"name": "kx", "size": 20, "scale": 0.1, "units": "1/nm", "navigate": False},
    ]
    signal = signals.Signal2D(array, axes=axes)
    signal.save(tmp_path / "scan.hspy")
    for source in (signal, signal.as_lazy(), tmp_path / "scan.hspy"):
        scan = read_scan(source)
        assert scan.pixel_size == pytest.approx(0.01)
        assert scan.axes == (ScanAxis("y", 6, 2.0, 5.0, "nm"), ScanAxis("x", 7, 3.0, 0.0, ""))
        assert_covers(scan, array, 10)
    assert type(scan.data).__module__.startswith("dask")
    signal.inav[0, 0].save(tmp_path / "image.hspy")
    with pytest.raises(BrokenFileError, match=r"image\.hspy: .*expected a scan"):
        read_scan(tmp_path / "image.hspy")
    data = bytearray((tmp_path / "scan.hspy").read_bytes())
    (tmp_path / "cut.hspy").write_bytes(data[: len(data) // 2])
    with pytest.raises(BrokenFileError, match=r"cut\.hspy"):
        read_scan(tmp_path / "cut.hspy")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("no/such/file.hspy", OSError, "no such file"),
        (np.zeros((16, 16)), ValueError, r"got shape \(16, 16\)"),
        (np.zeros((2, 2, 2), dtype=object), ValueError, "array of numbers"),
        ([1, 2], ValueError, "expected a scan as an array, a HyperSpy signal or a path"),
    ],
)
def test_no_scan(source, error, message):
    with pytest.raises(error, match=message):
        read_scan(source)


def test_blockfiles_and_merlin_files_open(array, tmp_path):
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.signals.Signal2D(array[..., :16].astype(np.uint8))
    signal.save(tmp_path / "scan.blo")
    assert_covers(read_scan(tmp_path / "scan.blo", pixel_size=0.01), signal.data, 10)

    frames = np.random.default_rng(1).integers(0, 200, (3, 256, 256)).astype(">u2")
    with open(tmp_path / "scan.mib", "wb") as file:
        for k, frame in enumerate(frames):
            words = ["MQ1", f"{k + 1:06d}", "00384", "01", "0256", "0256", "U16", "   1x1", "01"]
            words += ["2024-01-01 00:00:00.000000", "0.001", *["0"] * 30, "MQ1A"]
            words += ["2024-01-01T00:00:00.000000000Z", "1000000ns", "6", ""]
            file.write(",".join(words).encode().ljust(384) + frame.tobytes())
    images, problems = read_scan(tmp_path / "scan.mib", pixel_size=0.01).read((slice(0, 3),))
    assert not problems
    np.testing.assert_array_equal(images, frames[:, ::-1])  # rows of a Merlin file begin at the bottom
