"""Files of values and tensors."""

import hashlib
import json

import pytest
import torch

from xtalsk.utils._container import ContainerError, read_container, remove_incomplete, write_container

TENSORS = {
    "weights": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "transposed": torch.arange(6).reshape(2, 3).T,
    "number": torch.tensor(7),
    "flags": torch.tensor([True, False]),
    "half": torch.tensor([0.1, float("nan")], dtype=torch.bfloat16),
    "empty": torch.empty(0, 3, dtype=torch.int16),
}


def test_values_and_tensors_return_unchanged(tmp_path):
    values = {"text": "é", "numbers": [1, 0.1 + 0.2, None, True], "nested": {"a": {}}}
    write_container(tmp_path / "file", values, TENSORS)
    again, tensors = read_container(tmp_path / "file")
    assert again == values
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert tensors[name].shape == tensor.shape
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0, equal_nan=True)


def with_checksum(body):
    return b"xtalsk file 1\n" + hashlib.sha256(body).digest() + body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff" * 8,
        b"\xff" * 40,
        (5).to_bytes(8, "little") + b"[1,2]" + bytes(16),
        (2).to_bytes(8, "little") + b"{}" + b"\xff" * 16,
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
        (4).to_bytes(8, "little") + b"\xff\xfe{}",
    ],
)
def test_a_file_with_a_right_checksum_and_a_wrong_content_is_refused(tmp_path, body):
    (tmp_path / "file").write_bytes(with_checksum(body))
    with pytest.raises(ContainerError):
        read_container(tmp_path / "file")


def test_nothing_but_a_value_of_json_is_written(tmp_path):
    write_container(tmp_path / "file", {"a": 1}, {})
    with pytest.raises(TypeError):
        write_container(tmp_path / "file", {"a": object()}, {})
    assert read_container(tmp_path / "file") == ({"a": 1}, {})
    assert len(list(tmp_path.iterdir())) == 1
    assert json.loads((tmp_path / "file").read_bytes()[54:62]) == {"a": 1}


def test_young_incomplete_files_may_belong_to_another_process(tmp_path):
    leftover = tmp_path / "file.0123456789ab.part"
    leftover.touch()
    remove_incomplete(tmp_path / "file", min_age=60)
    assert leftover.exists()
    remove_incomplete(tmp_path / "file")
    assert not leftover.exists()
    remove_incomplete(tmp_path / "absent" / "file")
