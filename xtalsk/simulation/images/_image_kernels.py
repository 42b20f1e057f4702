"""Compiled rendering and recording of ring and spot images, one image after the other.

`_rings.expected_rings`, `_spots.expected_spots` and `_detector.record` compute the same on a GPU.
"""

import math

import numpy as np

from xtalsk.simulation._counting_kernels import count_line, key_of, random_bits, standard_normal, uniform
from xtalsk.utils._compiled import compiled

COUNTS, NOISE, FAULTS, NUMBERS, GRAINS, VOLUMES = range(6)  # purposes of the random numbers of an image
_FOUR_LN_2, _NARROWEST = 4 * math.log(2), 0.3
# P(n + 2) = ((x² - B) P(n) - C P(n - 2)) A for the Legendre polynomials of even order n
_N = np.arange(0, 16, 2)
_A = ((2 * _N + 1) * (2 * _N + 3) / ((_N + 1) * (_N + 2))).astype(np.float32)
_B = ((_N + 1) ** 2 / ((2 * _N + 1) * (2 * _N + 3)) + _N**2 / (4 * _N**2 - 1)).astype(np.float32)
_C = (_N * (_N - 1) / (4 * _N**2 - 1)).astype(np.float32)
_ONE, _HALF, _ZERO = np.float32(1), np.float32(0.5), np.float32(0)


@compiled
def radius_index(profile_length, c0, c1, c2, x):
    """Return the point of a profile before a pixel and the share of the next point."""
    position = np.sqrt(c0 + c1 * x + c2 * x * x) - _HALF
    position = min(max(position, _ZERO), np.float32(profile_length) - np.float32(1.001))
    point = np.uint32(position)
    return point, position - np.float32(point)


@compiled
def add_smooth(image, profile, one):
    """Write a radial profile to every pixel of an elliptically distorted image; return the sum."""
    total = 0.0
    center_row, center_column, xx, xy, yy = one.center_row, one.center_column, one.xx, one.xy, one.yy
    for row in range(image.shape[0]):
        y = np.float32(row) - center_row
        c0, c1 = yy * y * y + np.float32(1e-2), xy * y
        line = image[row]
        row_total = _ZERO
        for column in range(image.shape[1]):
            x = np.float32(column) - center_column
            point, share = radius_index(len(profile), c0, c1, xx, x)
            start = profile[point]
            value = start + share * (profile[point + np.uint32(1)] - start)
            line[column] = value
            row_total += value
        total += row_total
    return total


@compiled
def add_textured(image, profile, harmonics, one):
    """Write a radial profile and its harmonics of order 2, 4, ... of the azimuth; return the sum."""
    total = 0.0
    center_row, center_column, xx, xy, yy = one.center_row, one.center_column, one.xx, one.xy, one.yy
    along, across = one.tilt * one.texture_cosine, one.tilt * one.texture_sine
    for row in range(image.shape[0]):
        y = np.float32(row) - center_row
        c0, c1 = yy * y * y + np.float32(1e-2), xy * y
        for column in range(image.shape[1]):
            x = np.float32(column) - center_column
            point, share = radius_index(len(profile), c0, c1, xx, x)
            following = point + np.uint32(1)
            value = profile[point] + share * (profile[following] - profile[point])
            numerator = along * x + across * y
            square = numerator * numerator / max(x * x + y * y, np.float32(1e-12))
            previous, current = _ZERO, _ONE
            for k in range(harmonics.shape[1]):
                previous, current = current, ((square - _B[k]) * current - _C[k] * previous) * _A[k]
                harmonic = harmonics[point, k]
                value += current * (harmonic + share * (harmonics[following, k] - harmonic))
            value = max(value, _ZERO)
            image[row, column] = value
            total += value
    return total


@compiled
def gaussian_shares(position, reach, sharpness, decay, shares):
    """Write the shares of a spot of unit sum on pixels to both sides of the nearest; return that pixel.

    The values of a Gaussian on neighbouring pixels have ratios that change by the factor ``decay``.
    """
    center = np.rint(position)
    offset = np.float64(position - center)
    middle = math.exp(-sharpness * offset * offset)
    up = math.exp(-sharpness * (1 - 2 * offset))
    down = decay / up
    shares[reach], total, high, low = middle, middle, middle, middle
    for step in range(1, reach + 1):
        high, low = high * up, low * down
        up, down = up * decay, down * decay
        shares[reach + step], shares[reach - step] = high, low
        total += high + low
    scale = np.float32(1 / total)
    for k in range(2 * reach + 1):
        shares[k] *= scale
    return int(center)


@compiled
def add_spots(image, row, column, weight, fwhm, first, last, stamp_widths):
    """Add the Gaussian spots ``first`` to ``last`` to an image; return the sum of what lies on it."""
    height, width = image.shape
    total, widest, previous, reach, sharpness, decay = 0.0, 0.0, -1.0, 0, 0.0, 0.0
    for spot in range(first, last):
        widest = max(widest, fwhm[spot])
    along = np.empty(2 * int(stamp_widths * widest) + 3, np.float32)
    across = np.empty_like(along)
    for spot in range(first, last):
        y, x = row[spot], column[spot]
        if not (-0.5 < y < height - 0.5 and -0.5 < x < width - 0.5 and weight[spot] > 0):
            continue
        if fwhm[spot] != previous:
            previous = fwhm[spot]
            reach = int(np.float32(stamp_widths) * previous) + 1
            sharpness = _FOUR_LN_2 / max(previous, _NARROWEST) ** 2
            decay = math.exp(-2 * sharpness)
        top = gaussian_shares(y, reach, sharpness, decay, along) - reach
        left = gaussian_shares(x, reach, sharpness, decay, across) - reach
        start, stop = max(0, -left), min(2 * reach + 1, width - left)
        inside_along, inside_across = _ZERO, _ZERO
        for k in range(start, stop):
            inside_across += across[k]
        for j in range(max(0, -top), min(2 * reach + 1, height - top)):
            inside_along += along[j]
            line, height_of_line = image[top + j], weight[spot] * along[j]
            for k in range(start, stop):
                line[left + k] += height_of_line * across[k]
        total += weight[spot] * inside_along * inside_across
    return total


@compiled
def hide(image, one):
    """Set the pixels behind the beam stop to zero."""
    stop_row, stop_column, radius2 = one.stop_row, one.stop_column, one.stop_radius2
    cosine, sine, half_width = one.stop_cosine, one.stop_sine, one.arm_half_width
    for row in range(image.shape[0]):
        y = np.float32(row) - stop_row
        line = image[row]
        for column in range(image.shape[1]):
            x = np.float32(column) - stop_column
            in_disc = (y * y - radius2) + x * x < 0
            in_arm = abs(cosine * y - sine * x) < half_width
            in_arm &= sine * y + cosine * x > 0
            if in_disc | in_arm:
                line[column] = _ZERO


@compiled
def shade(image, one):
    """Multiply an image by the transmission of a soft beam stop; `_beam_stop.shade` describes it."""
    one_row, one_column, cosine, sine = one.stop_row, one.stop_column, one.stop_cosine, one.stop_sine
    tip, disc, reach = one.stop_tip, one.stop_disc, one.stop_reach
    widening = (one.blade_half_width - tip) / one.blade_end
    narrowing = (one.arm - one.blade_half_width) / (one.arm_start - one.blade_end)
    blade_end, gap = one.blade_end, one.arm_start - one.blade_end
    sharpness, transmission = _ONE / max(one.penumbra, np.float32(1e-3)), one.stop_transmission
    for row in range(image.shape[0]):
        y = np.float32(row) - one_row
        line = image[row]
        for column in range(image.shape[1]):
            x = np.float32(column) - one_column
            along = cosine * x + sine * y + reach
            half_width = tip + min(max(along, _ZERO), blade_end) * widening
            half_width += min(max(along - blade_end, _ZERO), gap) * narrowing
            outside = max(abs(cosine * y - sine * x) - half_width, -along)
            outside = min(outside, np.sqrt(x * x + y * y) - disc)
            edge = min(max(outside * sharpness + _HALF, _ZERO), _ONE)
            edge = edge * edge * (np.float32(3) - np.float32(2) * edge)
            line[column] *= _ONE - (_ONE - transmission) * (_ONE - edge)


@compiled
def render(image, profile, harmonics, spots, first, last, one, spots_in_total, stamp_widths):
    """Compute the expected electrons of the pixels of an image.

    Parameters
    ----------
    image : ndarray of float32, shape (size, size)
        Output.
    profile : ndarray of float32, shape (n_points,)
    harmonics : ndarray of float32, shape (n_points, n_harmonics)
        Without columns if there is no texture.
    spots : tuple of ndarray of float32
        Row, column, weight and full width of the spots of all images.
    first, last : int
        Range of the spots of this image.
    one : record
        See `_compiled_images.SETTINGS`.
    spots_in_total : bool
        Whether ``one.smooth_electrons`` include the spots; their weights are on the scale of the profile.
    stamp_widths : float
    """
    if harmonics.shape[1]:
        total = add_textured(image, profile, harmonics, one)
    else:
        total = add_smooth(image, profile, one)
    if spots_in_total:
        total += add_spots(image, *spots, first, last, stamp_widths)
    scale = np.float32(one.smooth_electrons / max(total, 1e-30))
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            image[row, column] *= scale
    if not spots_in_total:
        add_spots(image, *spots, first, last, stamp_widths)
    if one.beam_electrons > 0:
        beam = np.array([one.center_row, one.center_column, one.beam_electrons, one.beam_fwhm])
        add_spots(image, beam[0:1], beam[1:2], beam[2:3], beam[3:4], 0, 1, stamp_widths)
    if one.is_soft > 0:
        shade(image, one)
    elif one.has_stop > 0:
        hide(image, one)


@compiled
def record(image, one, seed, table, hot_electrons, hot_noise):
    """Replace the expected electrons of an image by the counts of a camera."""
    width = image.shape[1]
    key = key_of(seed, COUNTS)
    rates, high = np.empty(width, np.float32), np.empty(width, np.int32)
    for row in range(image.shape[0]):
        rates[:] = image[row]
        count_line(rates, key, row * width, *table, image[row], high)
    is_noisy = one.read_noise > 0 or one.gain != 1 or one.offset != 0
    if is_noisy or one.hot_pixels > 0 or one.dead_pixels > 0 or one.saturation < np.inf:
        spoil(image, one, seed, hot_electrons, hot_noise)


@compiled
def spoil(image, one, seed, hot_electrons, hot_noise):
    """Add gain, read noise, offset, hot and dead pixels and saturation to the counts of an image."""
    width = image.shape[1]
    noise_key, fault_key = key_of(seed, NOISE), key_of(seed, FAULTS)
    bright = one.offset + hot_electrons * one.gain + hot_noise * one.read_noise
    has_faults = one.hot_pixels > 0 or one.dead_pixels > 0
    for row in range(image.shape[0]):
        for column in range(width):
            pixel = row * width + column
            value = image[row, column] * one.gain + one.offset
            if one.read_noise > 0:
                value += one.read_noise * np.float32(standard_normal(random_bits(noise_key, pixel)))
            if has_faults:
                fault = uniform(random_bits(fault_key, pixel))
                if fault > 1 - one.hot_pixels:
                    value += bright * (1 + abs(standard_normal(random_bits(noise_key, pixel))))
                if fault < one.dead_pixels:
                    value = 0.0
            image[row, column] = min(max(np.rint(value), 0.0), np.floor(one.saturation))


@compiled
def render_images(images, rings, harmonics, textured, spots, offsets, settings, spots_in_total, camera,
                  seeds, first, last):  # fmt: skip
    """Render the images ``first`` to ``last``, and record them if there are seeds.

    Parameters
    ----------
    images : ndarray of float32, shape (n, size, size)
        Output.
    rings : ndarray of float32, shape (n, n_points)
    harmonics : ndarray of float32, shape (n_textured, n_points, n_harmonics)
    textured : ndarray of int64, shape (n,)
        Row of ``harmonics`` of each image, -1 for none.
    spots, spots_in_total
        As in `render`.
    offsets : ndarray of int64, shape (n + 1,)
        First spot of each image.
    settings : ndarray of records, shape (n,)
    camera : tuple
        The widths of stamps, the constants of hot pixels and the table of `count_line`.
    seeds : ndarray of uint64, shape (n,) or (0,)
    """
    stamp_widths, hot_electrons, hot_noise, table = camera
    for i in range(first, last):
        row = textured[i]
        own = harmonics[row] if row >= 0 else harmonics[0, :, :0]
        render(
            images[i], rings[i], own, spots, offsets[i], offsets[i + 1], settings[i], spots_in_total,
            stamp_widths,
        )  # fmt: skip
        if len(seeds):
            record(images[i], settings[i], seeds[i], table, hot_electrons, hot_noise)


@compiled
def draw_grain_numbers(expected, offsets, seeds, table, numbers, first, last):
    """Draw the number of grains of each ring of the images ``first`` to ``last`` into ``numbers``."""
    count, high = np.empty(1, np.float32), np.empty(1, np.int32)
    for i in range(first, last):
        key = key_of(seeds[i], NUMBERS)
        for line in range(offsets[i], offsets[i + 1]):
            if expected[line] > 0:
                one = slice(line, line + 1)
                count_line(expected[one], key, line - offsets[i], *table, count, high)
                numbers[line] = np.int64(count[0])


@compiled
def draw_image_grains(lines, poles, offsets, numbers, starts, settings, seeds, grains, first, last):
    """Draw position and strength of the grains of the images ``first`` to ``last``.

    Parameters
    ----------
    lines : tuple of ndarray of float32, shape (m,)
        Radius in pixels and mean strength of a grain of each ring.
    poles : ndarray of float32, shape (m, n_orders) or (0, n_orders)
        Coefficients of the pole density; without rows if there is no texture.
    offsets : ndarray of int64, shape (n + 1,)
        First ring of each image.
    numbers, starts : ndarray of int64, shape (m,)
        Number of grains of each ring and place of the first of them in ``grains``.
    settings : ndarray of records, shape (n,)
    seeds : ndarray of uint64, shape (n,)
    grains : tuple of ndarray of float32
        Output: row, column and strength of each grain.
    """
    radius, mean_strength = lines
    rows, columns, strengths = grains
    for i in range(first, last):
        key, volume_key, one = key_of(seeds[i], GRAINS), key_of(seeds[i], VOLUMES), settings[i]
        turn_cosine, turn_sine = one.turn_cosine, one.turn_sine
        counter = 0
        for line in range(offsets[i], offsets[i + 1]):
            for grain in range(starts[line], starts[line] + numbers[line]):
                azimuth = 2 * math.pi * uniform(random_bits(key, counter))
                strength = -math.log(1 - uniform(random_bits(key, counter + 1))) * mean_strength[line]
                if one.grain_spread > 0:
                    normal = standard_normal(random_bits(volume_key, counter))
                    strength *= math.exp(one.grain_spread * (normal - one.grain_spread / 2))
                counter += 2
                cosine, sine = math.cos(azimuth), math.sin(azimuth)
                if len(poles):
                    on_axis = one.tilt * (one.texture_cosine * cosine + one.texture_sine * sine)
                    strength *= pole_density(poles[line], on_axis)
                along = radius[line] * one.stretch * (cosine * turn_cosine + sine * turn_sine)
                across = radius[line] / one.stretch * (sine * turn_cosine - cosine * turn_sine)
                columns[grain] = along * turn_cosine - across * turn_sine + one.center_column
                rows[grain] = along * turn_sine + across * turn_cosine + one.center_row
                strengths[grain] = strength


@compiled
def legendre_means(cosines, shares, means):
    """Add the weighted means of Legendre polynomials of order 0, 2, 4, ... of the cosines to ``means``.

    Parameters
    ----------
    cosines, shares : ndarray of float32, shape (m, k)
    means : ndarray of float32, shape (m, n_orders)
        Output.
    """
    for line in range(len(cosines)):
        for member in range(cosines.shape[1]):
            share = shares[line, member]
            if share > 0:
                square = cosines[line, member] * cosines[line, member]
                previous, current = _ZERO, _ONE
                means[line, 0] += share
                for k in range(means.shape[1] - 1):
                    previous, current = current, ((square - _B[k]) * current - _C[k] * previous) * _A[k]
                    means[line, k + 1] += share * current


@compiled
def pole_density(coefficients, cosine):
    """Sum Legendre polynomials of order 0, 2, 4, ... with the given coefficients; at least 0."""
    density, previous, current = np.float64(coefficients[0]), 0.0, 1.0
    square = cosine * cosine
    for k in range(len(coefficients) - 1):
        previous, current = current, ((square - _B[k]) * current - _C[k] * previous) * _A[k]
        density += coefficients[k + 1] * current
    return max(density, 0.0)
