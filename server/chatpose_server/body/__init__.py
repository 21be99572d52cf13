"""Bodies in the SMPL-X file format."""

from .model import BodyFileError, BodyModel, BodyState, default_body, load_body

__all__ = ["BodyFileError", "BodyModel", "BodyState", "default_body", "load_body"]
