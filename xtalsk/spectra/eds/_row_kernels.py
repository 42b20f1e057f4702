"""Compiled products of sparse rows; see `Rows`."""

from xtalsk.utils._compiled import compiled_any_order as compiled


@compiled
def row_product(rows, row, vector):
    """Return the product of one row and a vector."""
    total = 0.0
    for run in range(rows.starts[row], rows.starts[row + 1]):
        values = rows.values[rows.ends[run] : rows.ends[run + 1]]
        part = vector[rows.bins[run] : rows.bins[run] + len(values)]
        for k in range(len(values)):
            total += values[k] * part[k]
    return total


@compiled
def multiply(rows, vector, out):
    """Write the product of each row and a vector into ``out`` (n_rows,)."""
    for row in range(len(out)):
        out[row] = row_product(rows, row, vector)


@compiled
def row_sum(rows, row):
    """Return the sum of one row."""
    total = 0.0
    for k in range(rows.ends[rows.starts[row]], rows.ends[rows.starts[row + 1]]):
        total += rows.values[k]
    return total


@compiled
def add_row(rows, row, factor, out):
    """Add one row times a factor to ``out`` (n_bins,)."""
    for run in range(rows.starts[row], rows.starts[row + 1]):
        values = rows.values[rows.ends[run] : rows.ends[run + 1]]
        part = out[rows.bins[run] : rows.bins[run] + len(values)]
        for k in range(len(values)):
            part[k] += factor * values[k]


@compiled
def add_rows(rows, chosen, out):
    """Add each chosen row to one row of ``out`` (n_chosen, n_bins)."""
    for i in range(len(chosen)):
        add_row(rows, chosen[i], 1.0, out[i])


@compiled
def weigh(rows, net, weights, amount, information):
    """Write for each row what it explains alone, and how well that is known.

    ``amount`` (n_rows,) is the product of the row and the weighted net counts, ``information`` (n_rows,) that
    of its square and the weights.
    """
    weighted = net * weights
    for row in range(len(amount)):
        total, square = 0.0, 0.0
        for run in range(rows.starts[row], rows.starts[row + 1]):
            values = rows.values[rows.ends[run] : rows.ends[run + 1]]
            first, end = rows.bins[run], rows.bins[run] + len(values)
            part, weight = weighted[first:end], weights[first:end]
            for k in range(len(values)):
                total += values[k] * part[k]
                square += values[k] * values[k] * weight[k]
        amount[row] = total
        information[row] = square
