"""Results of worker processes that are handed over in files."""

import os

import numpy as np
import pytest

from xtalsk.io import DiffractionImage
from xtalsk.utils import _handover
from xtalsk.utils._handover import StoredResult, receive_result, store_result

IMAGES = np.arange(5 * 7 * 3, dtype=np.uint16).reshape(5, 7, 3)
RESULT = {
    "images": [DiffractionImage(image, pixel_size=0.01) for image in IMAGES],
    "turned": IMAGES[0].T[::2],
    "nothing": None,
}


def check(result):
    for image, expected in zip(result["images"], IMAGES, strict=True):
        np.testing.assert_array_equal(image.data, expected)
        assert image.data.dtype == np.uint16
        assert image.pixel_size == 0.01
    np.testing.assert_array_equal(result["turned"], RESULT["turned"])
    assert result["nothing"] is None


def test_arrays_go_through_a_file_that_is_removed(tmp_path):
    stored = store_result(RESULT, str(tmp_path))
    assert isinstance(stored, StoredResult)
    assert len(stored.pickled) < IMAGES.nbytes + 1000
    assert len(os.listdir(tmp_path)) == 1
    check(receive_result(stored))
    assert not os.listdir(tmp_path)


def test_other_machines_and_full_disks_get_the_result_itself(tmp_path, monkeypatch):
    assert receive_result(store_result(RESULT, None)) is RESULT
    assert receive_result(store_result(RESULT, str(tmp_path / "elsewhere"))) is RESULT

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(_handover, "open", full, raising=False)
    assert store_result(RESULT, str(tmp_path)) is RESULT
    assert not os.listdir(tmp_path)


def test_arrays_can_be_changed(tmp_path):
    image = receive_result(store_result(RESULT, str(tmp_path)))["images"][1]
    image.data[0, 0] = 9
    assert image.data[0, 0] == 9


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 0)])
def test_small_arrays(tmp_path, shape):
    array = receive_result(store_result(np.zeros(shape, np.float32), str(tmp_path)))
    assert array.shape == shape
