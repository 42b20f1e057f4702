"""Files of values and large arrays."""

import hashlib
import json
import pickle

import numpy as np
import pytest

from xtalsk.utils._array_file import is_array_file, read_arrays, write_arrays
from xtalsk.utils._container import ContainerError

ARRAYS = {
    "numbers": np.arange(12.0).reshape(3, 4)[:, ::2],
    "half": np.array([0.1, np.nan], np.float16),
    "masks": np.array([[2**63, 1]], np.uint64),
    "flags": np.array([True, False]),
    "empty": np.empty((0, 3), np.int16),
    "texts": np.array(["", "é\n", "\ud800", 'a"b'], dtype=object),
}
VALUES = {"text": "é", "numbers": [1, 0.1 + 0.2, None]}


@pytest.fixture
def path(tmp_path):
    write_arrays(tmp_path / "file", "Things", 2, VALUES, ARRAYS)
    return tmp_path / "file"


@pytest.mark.parametrize("mapped", [(), ("numbers", "half", "empty")])
def test_values_and_arrays_return_unchanged(path, mapped):
    before = path.read_bytes()
    values, arrays = read_arrays(path, "Things", 2, mapped)
    assert values == VALUES
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    arrays["numbers"][:] = 0
    assert path.read_bytes() == before
    assert is_array_file(path)
    assert len(list(path.parent.iterdir())) == 1


def test_every_altered_byte_of_the_header_and_of_the_arrays_is_found(path):
    data = path.read_bytes()
    for place in range(0, len(data), 3):
        altered = bytearray(data)
        altered[place] ^= 16
        path.write_bytes(altered)
        try:
            _, arrays = read_arrays(path, "Things", 2)
        except ContainerError:
            continue
        for name, array in ARRAYS.items():  # the byte lies between two arrays
            np.testing.assert_array_equal(arrays[name], array)


def test_a_truncated_file_is_refused_without_reading_its_arrays(path):
    data = path.read_bytes()
    for length in (0, 3, 40, 60, 400, len(data) - 64, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ContainerError, match=r"incomplete|checksum"):
            read_arrays(path, "Things", 2, mapped=tuple(ARRAYS))


def test_other_content_is_refused(path, tmp_path):
    with pytest.raises(ContainerError, match="holds Things, not Crystals"):
        read_arrays(path, "Crystals", 2)
    with pytest.raises(ContainerError, match="newer version"):
        read_arrays(path, "Things", 1)
    (tmp_path / "pickle").write_bytes(pickle.dumps([1]))
    with pytest.raises(ContainerError, match="another format"):
        read_arrays(tmp_path / "pickle", "Things", 2)
    with pytest.raises(ContainerError, match="regular"):
        read_arrays(tmp_path, "Things", 2)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "absent", "Things", 2)


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "|O"},
        {"shape": [2**40, 2**40]},
        {"shape": [-3, -2]},
        {"offset": 2**50},
        {"offset": -64},
        {"bytes": None},
        {"shape": None},
    ],
)
def test_a_header_with_a_right_checksum_and_wrong_places_is_refused(path, change):
    entry = {"dtype": "<f8", "shape": [1], "offset": 0, "bytes": 8, "crc32": 0} | change
    header = {"kind": "Things", "version": 1, "values": {}, "arrays": {"a": entry}, "bytes": 64}
    text = json.dumps(header).encode()
    head = b"xtalsk arrays 1\n" + hashlib.sha256(text).digest() + len(text).to_bytes(8, "little")
    path.write_bytes(head + text + bytes(64))
    with pytest.raises(ContainerError, match="header"):
        read_arrays(path, "Things", 2, mapped=("a",))


def test_objects_are_not_written_and_the_old_file_stays(path):
    before = path.read_bytes()
    for array in (np.array([{}], dtype=object), np.array(["a"]), np.array([1j])):
        with pytest.raises(TypeError, match="thing"):
            write_arrays(path, "Things", 2, {}, {"thing": array})
    assert path.read_bytes() == before
