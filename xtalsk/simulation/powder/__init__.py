"""X-ray powder patterns: conditions, line positions and widths, backgrounds, rendering."""
