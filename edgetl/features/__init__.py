"""The frozen base's outputs on photos and on augmented views of them, and a preview of those views."""
