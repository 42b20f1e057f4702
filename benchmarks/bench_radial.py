"""Accuracy of the centre and speed of `RadialProfile` on simulated rings, compared with pyFAI.

Run ``python benchmarks/bench_radial.py``. ``pip install -e ".[test]"`` installs pyFAI, which gets the true
centre. The script prints the error of the centre in pixels (median / 95%) by image size, dose and beam stop,
then the images per second of one thread, and the ratio to pyFAI.
"""

import argparse
import itertools
import time

import numpy as np
import torch
from pyFAI.integrator.azimuthal import AzimuthalIntegrator

from xtalsk import (
    DiffractionImage,
    RadialProfile,
    RingConditions,
    compute_reflections,
    load_amcsd,
    simulate_rings,
)


def center_errors(lines, size, electrons, beam_stop):
    """Return the distance in pixels between the centre from `RadialProfile` and the true one."""
    conditions = RingConditions(image_size=size, electrons=electrons, beam_stop=beam_stop)
    images, truth = simulate_rings(lines, conditions=conditions, random_state=0, return_conditions=True)
    cells = [DiffractionImage(image, pixel_size=2 / size) for image in images]
    batches = [cells[i : i + 4] for i in range(0, len(cells), 4)]
    centers = torch.cat([RadialProfile().find_geometry(batch)[1].center for batch in batches])
    return np.linalg.norm(centers.numpy() - truth[["center_row", "center_column"]].to_numpy(), axis=1)


def images_per_second(work, n, repeats):
    """Return the number of images per second, from the median time of the repeats."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return n / np.median(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=40, help="number of structures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    crystals = load_amcsd()
    chosen = np.random.default_rng(0).choice(len(crystals), options.n, replace=False)
    lines = compute_reflections(crystals[np.sort(chosen)], "electron", 0.7)
    print(f"{options.n} structures; error of the centre in pixels, median / 95%")
    print(f"{'size':>5} {'stop':>5} {'1e4':>15} {'1e5':>15} {'1e6':>15}")
    for size, stop in itertools.product((128, 256), (0.0, 1.0)):
        errors = [center_errors(lines, size, dose, stop) for dose in (1e4, 1e5, 1e6)]
        cells = "".join(f"{np.median(e):>8.3f} / {np.quantile(e, 0.95):.3f}" for e in errors)
        print(f"{size:>5} {'yes' if stop else 'no':>5} {cells}")

    size = 256
    images = simulate_rings(lines, conditions=RingConditions(image_size=size), random_state=0)
    cells = [DiffractionImage(image, pixel_size=2 / size) for image in images]
    integrator = AzimuthalIntegrator(
        dist=1.0, poni1=size / 2 * 1e-4, poni2=size / 2 * 1e-4, pixel1=1e-4, pixel2=1e-4, wavelength=1e-10
    )

    def integrate():
        for image in images:
            integrator.integrate1d(image.astype(np.float32), 512, unit="r_mm", method=("no", "csr", "cython"))

    integrate()  # pyFAI stores its look-up table
    own = {
        "centre, ellipse and beam stop unknown": RadialProfile(),
        "centre known, rings circular": RadialProfile(center="image", ellipticity=None),
    }
    peer = images_per_second(integrate, len(images), 5)
    print(f"\n{size}² images per second on one thread: pyFAI (CSR, centre known) {peer:.0f}")
    for name, transformer in own.items():
        rate = images_per_second(lambda t=transformer: t.fit_transform(cells), len(cells), 5)
        print(f"RadialProfile, {name}: {rate:.0f} ({rate / peer:.2f} of pyFAI)")


if __name__ == "__main__":
    main()
