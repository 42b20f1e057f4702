"""Trained pipelines that come with xtalsk, and their cards."""

from xtalsk.pretrained._load import ModelCard, load_pretrained

__all__ = ["ModelCard", "load_pretrained"]
