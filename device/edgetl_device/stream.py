"""Classification of frames and photos as they arrive, for applications to import."""

from edgetl_device.live.stream import FramePrediction, Smoother, Unread, classify_frames, classify_photos

__all__ = ["Answer", "FramePrediction", "Smoother", "Unread", "classify_frames", "classify_photos"]

# The former name.
Answer = FramePrediction
