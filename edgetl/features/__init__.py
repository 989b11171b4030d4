"""Outputs of the frozen base for photos and their augmented views, and a preview of those views."""
