"""Analytic ring patterns, drawn independently of the package's simulator."""

import numpy as np
import pytest


def draw_rings(
    rings=((0.20, 0.5), (0.32, 1.0), (0.38, 0.7), (0.52, 0.5), (0.61, 0.4), (0.75, 0.3), (0.9, 0.2)),
    *,
    size=128,
    pixel_size=0.0155,
    center=None,
    electrons=1e5,
    sharpness=0.008,
    ellipticity=(0.0, 0.0),
    background=1.0,
    beam=0.3,
    stop=None,
    seed=0,
):
    """Rings of Gaussian section on a decaying background, with Poisson noise.

    ``stop`` is (row offset, column offset, radius, arm width, arm angle in degrees) from the centre, pixels.
    """
    rng = np.random.default_rng(seed)
    rows, cols = (size, size) if np.ndim(size) == 0 else size
    if center is None:
        center = ((rows - 1) / 2, (cols - 1) / 2)
    image = np.zeros((rows, cols))
    sub = (np.arange(3) - 1) / 3
    for dy in sub:
        for dx in sub:
            y, x = np.mgrid[:rows, :cols].astype(float)
            y, x = y + dy - center[0], x + dx - center[1]
            phi = np.arctan2(y, x)
            stretch = 1 + ellipticity[0] * np.cos(2 * phi) + ellipticity[1] * np.sin(2 * phi)
            q = np.hypot(y, x) * pixel_size / stretch
            for q0, strength in rings:
                image += strength / q0 * np.exp(-0.5 * ((q - q0) / sharpness) ** 2)
            image += background * (2 * np.exp(-q / 0.12) + 0.15 * np.exp(-q / 0.8))
            image += beam * 300 * np.exp(-0.5 * (q / (1.2 * pixel_size)) ** 2)
    if stop is not None:
        y, x = np.mgrid[:rows, :cols].astype(float)
        y, x = y - center[0] - stop[0], x - center[1] - stop[1]
        angle = np.deg2rad(stop[4])
        along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
        image *= np.where((np.hypot(y, x) < stop[2]) | ((along > 0) & (abs(across) < stop[3] / 2)), 0.01, 1)
    return rng.poisson(image * electrons / image.sum()).astype(np.float32)


@pytest.fixture(name="draw_rings", scope="session")
def draw_rings_fixture():
    return draw_rings
