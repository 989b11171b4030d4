"""Install bundles on a board: checks, an atomic switch, and the way back."""
