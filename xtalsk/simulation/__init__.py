"""What an instrument records of a crystal."""

from xtalsk.simulation._reflections import Reflections, reflections

__all__ = ["Reflections", "reflections"]
