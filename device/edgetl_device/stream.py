"""Classification of frames and photos as they come, under the path that applications import."""

from edgetl_device.live.stream import FramePrediction, Smoother, Unread, classify_frames, classify_photos

__all__ = ["Answer", "FramePrediction", "Smoother", "Unread", "classify_frames", "classify_photos"]

# The name of the first version.
Answer = FramePrediction
