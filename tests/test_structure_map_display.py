import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from xtalsk import ScanAxis, StructureMap, StructureMapDisplay
from xtalsk.inspection._map_panels import LABEL_COLOURS

mpl.use("agg")
AXES = [ScanAxis("y", 8, 2.0, units="nm"), ScanAxis("x", 12, 2.0, units="nm")]


@pytest.fixture
def found():
    """Return a map: 225 (64 positions), 136 (30), one not indexed and one dead."""
    code = np.ones((8, 12), dtype=int)
    code[:, 8:] = 0
    code[0, 0] = -1
    found = StructureMap.from_codes(code, np.ones((8, 12)), labels=[136, 225], axes=AXES, level="space_group")
    found.status[0, 11] = 2
    found.examples = [
        {"code": 1, "position": (3, 3), "image": np.eye(32), "pixel_size": 0.02, "center": (16, 16)},
        {"code": 0, "position": (3, 9), "image": np.ones((32, 32)), "pixel_size": 0.02, "center": None},
    ]
    return found


def texts(display):
    return [text.get_text() for text in display.axes_["legend"].texts]


def colour_of(display, row, column):
    return display.axes_["map"].images[0].get_array()[row, column]


def test_panels_and_legend(found):
    display = found.plot()
    assert list(display.axes_) == ["map", "legend", "example_0", "example_1"]
    assert texts(display)[:4] == [
        "$Fm\\bar{3}m$ (225)  63", "$P4_{2}/mnm$ (136)  31", "not indexed  1", "not measured  1"
    ]  # fmt: skip
    assert [text.get_text() for text in display.axes_["map"].texts] == ["1", "2", "5 nm"]
    display.figure_.canvas.draw()


def test_confidence_is_lightness(found):
    found.arrays["probability_space_group"][2, 2] *= 0.5
    display = StructureMapDisplay.from_map(found)
    np.testing.assert_allclose(colour_of(display, 1, 1), to_rgb(LABEL_COLOURS[0]))
    pale, full = colour_of(display, 2, 2), colour_of(display, 1, 1)
    assert (pale >= full).all()
    assert pale.mean() > full.mean() + 0.1


def test_given_labels_keep_their_colours(found):
    display = StructureMapDisplay.from_map(found, labels=[136, 225])
    np.testing.assert_allclose(colour_of(display, 1, 1), to_rgb(LABEL_COLOURS[1]))
    display = StructureMapDisplay.from_map(found, labels=[136])
    assert "1 other label  63" in texts(display)


def test_two_phases_are_hatched(found):
    assert not found.plot().axes_["map"].collections
    found.is_mixture[2, 2:4] = True
    display = found.plot()
    assert display.axes_["map"].collections
    assert "two phases  2" in texts(display)


def test_a_line_and_given_axes(found):
    line = StructureMap.from_codes([0, 1, 1], [1, 1, 0.5], labels=["a", "b"])
    display = line.plot(width="column")
    assert display.axes_["map"].get_xlabel() == "3 positions"
    _, ax = mpl.pyplot.subplots()
    display = StructureMapDisplay.from_map(found, ax=ax)
    assert list(display.axes_) == ["map"]
    assert display.figure_ is ax.figure
    mpl.pyplot.close("all")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "genus"}, "level must be one of"),
        ({"width": "poster"}, "width must be one of"),
        ({"n_labels": 8}, "n_labels"),
        ({"labels": range(8)}, "number of labels"),
        ({"ax": 3}, "ax must be Axes"),
    ],
)
def test_invalid_options(found, options, message):
    with pytest.raises(ValueError, match=message):
        StructureMapDisplay.from_map(found, **options)


def test_a_volume_cannot_be_drawn():
    volume = StructureMap.from_codes(np.zeros((2, 2, 2), int), np.ones((2, 2, 2)), labels=["a"])
    with pytest.raises(ValueError, match="one or two axes"):
        volume.plot()
