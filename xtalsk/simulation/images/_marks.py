"""Scale bars, labels and stripes on exported images."""

from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from xtalsk.simulation.images._constants import (
    BAR_LENGTH,
    LABEL_HEIGHT,
    LABELS,
    MARK_MARGIN,
    STRIPE_FACTOR,
)


def add_marks(images, column):
    """Burn stripes and a scale bar with its label into images, in place.

    Parameters
    ----------
    images : tensor of shape (n, size, size)
    column : dict of str to tensor of shape (n,)
        ``marks``, ``stripes``, ``levels`` and ``mark_seed``.
    """
    marks, stripes, levels, seeds = (
        column[name].cpu().numpy() for name in ("marks", "stripes", "levels", "mark_seed")
    )
    for i in np.flatnonzero((marks > 0) | (stripes > 0)):
        rng = np.random.RandomState(int(seeds[i]))
        white = float(levels[i] - 1 if np.isfinite(levels[i]) else images[i].max())
        _add_stripes(images[i], rng.poisson(stripes[i]), white, rng)
        if marks[i] > 0:
            _add_scale_bar(images[i], white, rng)


def _add_stripes(image, number, white, rng):
    """Multiply a few rows and columns of an image by a factor; half of them cross near the middle."""
    size = len(image)
    for _ in range(number):
        near = rng.uniform() < 0.5
        place = int(size * (rng.uniform(0.4, 0.6) if near else rng.uniform()))
        width = 1 + int(rng.uniform() * size / 200)
        lines = image if rng.uniform() < 0.5 else image.T
        lines = lines[place : place + width]
        lines.mul_(rng.uniform(*STRIPE_FACTOR)).round_().clamp_max_(white)


def _add_scale_bar(image, white, rng):
    """Draw a bar and its label in a corner of an image: light on dark, dark on light or on the image."""
    size = len(image)
    label = _label(LABELS[rng.randint(len(LABELS))], max(8, int(rng.uniform(*LABEL_HEIGHT) * size)))
    height, width = label.shape
    length = int(rng.uniform(*BAR_LENGTH) * size)
    thickness = max(1, height // 4)
    margin = max(1, int(rng.uniform(*MARK_MARGIN) * size))
    box_height, box_width = height + thickness + 3, max(length, width) + 4
    top = margin if rng.uniform() < 0.3 else size - margin - box_height
    left = margin if rng.uniform() < 0.6 else size - margin - box_width
    if min(top, left) < 0:
        return
    ink, ground = (white, 0.0) if rng.uniform() < 0.7 else (0.0, white)
    box = image[top : top + box_height, left : left + box_width]
    if rng.uniform() < 0.5:
        box.fill_(ground)
    box[1 : 1 + thickness, 2 : 2 + length] = ink
    letters = torch.from_numpy(label).to(image.device)
    box[thickness + 2 : thickness + 2 + height, 2 : 2 + width].masked_fill_(letters, ink)


@cache
def _label(text, height):
    """Return the pixels of a text as a bool array of at most ``height`` rows."""
    font = ImageFont.load_default(height)
    left, top, right, bottom = font.getbbox(text)
    picture = Image.new("L", (int(np.ceil(right - left)), int(np.ceil(bottom - top))))
    ImageDraw.Draw(picture).text((-left, -top), text, fill=255, font=font)
    return np.asarray(picture) > 127
