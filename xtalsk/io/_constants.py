"""Limits that the readers use to detect a wrong calibration. All are set by eye; none was tuned on data."""

HIGHEST_ENERGY = 1e6  # eV; a spectrum that ends above has its units mixed up
LOWEST_XRAY_END = 100.0  # eV; an X-ray spectrum that ends below has its units mixed up
KEV_AXIS_END = 100.0  # with energy_unit="auto", an axis that ends below this number is in keV
SQUARE_PIXEL_TOLERANCE = 1e-3  # largest relative difference between the two sides of a pixel
UNITLESS_WAVELENGTHS = (0.3, 3.0)  # Å; a wavelength without a unit in a heading is in Å between these
DIRECTION_CHANGES = 0.1  # an axis changes its direction at fewer of its points, unless it is no axis
MANY_COLUMNS = 5  # numbers on a line; lines without an axis have as many, tables of columns fewer
LARGEST_STEP_ERROR = 0.51  # of a step, between the last point of a scan in steps and the given end
GREY_TOLERANCE = 4.0  # levels of 255; JPEG changes the colours of a grey picture by less
LARGEST_COLOUR_ERROR = 10.0  # levels of 255, between a pixel and the nearest colour of a colour map
LARGEST_QUANTISED_ERROR = 40.0  # the same, for the few colours that a palette or JPEG merges
OTHER_COLOURS = 0.01  # largest share of the pixels with other colours: a scale bar, text
FEWEST_LEVELS = 8  # different levels in a coloured picture, below which its colour map is not sure
COLORMAPS = (  # of matplotlib, from dark to bright where they have such a direction, not cyclic
    *("viridis", "plasma", "inferno", "magma", "cividis", "turbo", "jet", "rainbow", "nipy_spectral"),
    *("hot", "afmhot", "gist_heat", "gist_earth", "gist_stern", "gist_ncar", "gnuplot", "gnuplot2", "CMRmap"),
    *("cubehelix", "copper", "bone", "pink", "terrain", "ocean", "cool", "spring", "summer", "autumn"),
    *("winter", "coolwarm", "bwr", "seismic", "Spectral", "RdBu", "RdYlBu", "Blues", "Greens", "Reds"),
    *("Oranges", "Purples", "YlOrRd", "YlGnBu", "PuBuGn", "GnBu", "BuPu", "OrRd", "YlGn"),
)
OVERLAY_SHARE = 0.3  # largest share of coloured pixels in a grey picture with coloured notes
# Of 1,791 simulated ring images of typical, harsh and measured conditions, as 8-bit pictures, the correlation
# of the positives is below 0.1, and that of 99% of the negatives above 0.3.
NEGATIVE_RINGS = 24  # rings, from the middle to the nearest edge, whose mean levels are compared
NEGATIVE_RISE = 0.3  # least rank correlation of levels with radius in a negative
LARGEST_ARCHIVE = 4 * 2**30  # bytes of the arrays of a .npz file, unpacked
FOREIGN_TIME_LIMIT = 60.0  # s for reading a file with rosettasciio, and
FOREIGN_SECONDS_PER_BYTE = 2e-7  # s more for each byte of the file, a disk of 5 MB/s
CACHED_BYTES = 2**29  # bytes of the chunks of a scan that stay in memory; a larger chunk is read in parts
FOREIGN_MEMORY = 2 * 2**30  # bytes that reading a powder file of a vendor may take
LARGEST_MEMBER = 64 * 2**20  # bytes of a file in a .rasx or .brml archive; 2,000 points take 150,000
SNIFFED_BYTES = 4096  # at the start of a file, in which the mark of its format is looked for
COPPER_WAVELENGTH = 1.5406  # Å, Kα1 (1.540593 Å: G. Hölzer et al., Phys. Rev. A 56, 4554, 1997), as rounded
SAME_POSITION = 1e-5  # degrees; points of two ranges that are nearer are one point
LARGEST_SPREADSHEET = 256 * 2**20  # bytes of a manifest as spreadsheet, unpacked; a million rows take fewer
LARGEST_PICTURE = 2**30  # bytes of the pixels of a picture
LARGEST_RATIO = 1100  # bytes of pixels for each byte of a file; deflate packs at most 1032 into one
