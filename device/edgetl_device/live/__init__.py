"""Live classification of a camera, a video, or a watched folder."""
