"""Classify live: a camera, a video, a watched folder."""
