"""Accuracy of the centre and speed of `RadialProfile` on simulated rings, compared with pyFAI.

Run ``python benchmarks/bench_radial.py``. ``pip install -e ".[test]"`` installs pyFAI, which gets the true
centre. The script prints the error of the centre in pixels (median / 95%) by image size, dose and beam stop,
then the images per second of processor time on one thread, and the ratio to pyFAI. All programs run in turn;
the times are medians of the runs. Processor time hardly depends on what else the machine does.
"""

import argparse
import itertools
import time
from functools import partial

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


def images_per_second(works, n, repeats):
    """Return the images per second of each function in the dict ``works``, from medians of runs in turn."""
    seconds = {name: [] for name in works}
    for name in list(works) * repeats:
        start = time.process_time()
        works[name]()
        seconds[name].append(time.process_time() - start)
    return {name: n / np.median(times) for name, times in seconds.items()}


def print_speeds(lines, size=256, repeats=9):
    """Print the images per second of `RadialProfile` and of pyFAI on the same images."""
    integrator = AzimuthalIntegrator(
        dist=1.0, poni1=size / 2 * 1e-4, poni2=size / 2 * 1e-4, pixel1=1e-4, pixel2=1e-4, wavelength=1e-10
    )
    cells = {}
    for stop in (0.0, 1.0):
        conditions = RingConditions(image_size=size, beam_stop=stop)
        images = simulate_rings(lines, conditions=conditions, random_state=0)
        cells[stop] = [DiffractionImage(image, pixel_size=2 / size) for image in images]
    finder = RadialProfile().fit([None])
    own = {
        "geometry found, no beam stop": (finder, cells[0.0]),
        "geometry found, beam stop": (finder, cells[1.0]),
        "centre given, rings circular": (RadialProfile(center="image", ellipticity=None), cells[0.0]),
        "geometry given": (RadialProfile(geometry=finder.geometry_of(cells[0.0][:4])), cells[0.0]),
    }

    def integrate():
        for cell in cells[0.0]:
            image = cell.data.astype(np.float32)
            integrator.integrate1d(image, 512, unit="r_mm", method=("no", "csr", "cython"))

    works = {"pyFAI": integrate}
    works |= {name: partial(transformer.fit_transform, images) for name, (transformer, images) in own.items()}
    for work in works.values():  # look-up tables are stored, loops are compiled
        work()
    rates = images_per_second(works, len(cells[0.0]), repeats)
    print(f"\n{size}² images per second of processor time")
    for name, rate in rates.items():
        print(f"{name:<30} {rate:>7.0f} ({rate / rates['pyFAI']:.2f} of pyFAI)")


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
    print_speeds(lines)


if __name__ == "__main__":
    main()
