"""Frame sources, for applications to import."""

from edgetl_device.live.frames import FrameSource, open_camera, open_video

__all__ = ["FrameSource", "open_camera", "open_video"]
