"""Let a bundle tell photos of nothing that its model was taught: feature bank, thresholds, measured rates."""
