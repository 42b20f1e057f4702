"""The command ``xtalsk``: answers for people who do not write code."""

from xtalsk.cli._command import main

__all__ = ["main"]
