"""Numbers of this room. All are set by eye, unless they say on what they were tuned."""

# Status of a position of a map
OK, NOT_INDEXED, NOT_MEASURED, BROKEN = range(4)
STATUS = ("ok", "not indexed", "not measured", "broken")

# Reasons that positions have no label
NO_PIXEL = "no pixel was measured"
BLANK = "blank frame: all pixels hold one value"
NO_FEATURES = "the transformers of the pipeline found nothing to measure"
NO_CHEMISTRY = "no composition"
NO_ANSWER = "the classifier has no answer: no entry of the library fits"
LOW_CONFIDENCE = "the confidence is below min_confidence"
UNLIKELY = "no entry of the library is likely to be the measured phase"
AMORPHOUS = "only broad haloes, as of an amorphous film"
NO_GROUP = "the clusterer gave it to no group"
CHANGED = "pixels with infinite values were left out"

PIXELS_PER_CHUNK = 2**24  # of the images of one chunk by default: 1024 images of 128 x 128, 67 MB as float32

# Geometry of a scan (`_geometry`)
TILES = 4  # parts along each axis of a scan, whose mean images show the geometry
DRIFT_TILES = 6  # the same, for the drift of the centre
ELECTRONS_OF_MEAN = 1e5  # intensity that a mean image needs: 100 patterns of 1,000 electrons
IMAGES_OF_MEAN = 256  # most images in a mean
DRIFT_STEP = 0.25  # pixels between two centres for which the features are computed separately

# Amorphous films (`_identify`)
SURE = 0.7  # patterns of a higher confidence are not looked at
FILM_RANGE = (0.05, 1.25)  # q in 1/Å in which broad haloes and rings are looked for
FILM_BINS = 512

# Averages over neighbours (`_average`)
REACH = 2.5  # standard deviations at which the Gaussian of the neighbours ends

# Groups of alike patterns (`_groups`)
GROUP_BINS = 96  # bins of the radial profiles that are grouped
GROUP_PIXELS = 32  # rows and columns of the images that are grouped, if spots are read
GROUP_COMPONENTS = 16  # principal components that are grouped
FIT_IMAGES = 20_000  # most patterns on which the components are found

# Two phases (`_candidates`). The least gain is exceeded by 2% of simulated single phases, by 49% of mixtures
# of equal parts, and by 30% of those of 7 to 3: `python benchmarks/bench_scans.py mixtures`.
MIXED_CANDIDATES = 20  # best entries among which the second phase is looked for
MIXED_LABELS = 3  # other labels than the first that are tried
MIXED_SIMILARITY = 0.4  # of the best entry, below which no second phase is looked for
MIXED_SHARE = 0.1  # least share of the second phase in the intensity of the lines
MIXED_GAIN = 0.5  # least part of the squared misfit of one phase that the second one removes

EXAMPLES = 6  # labels of which an example pattern is kept
