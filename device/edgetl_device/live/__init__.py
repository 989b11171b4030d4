"""Classify what comes: a camera, a video, a folder that fills."""
