"""ChatPose inference server: words and pictures in, SMPL-X poses out."""

__version__ = "0.1.0"
