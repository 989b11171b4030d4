"""Install bundles on a board: check, switch atomically, roll back on failure."""
