"""Label photos in a browser, on this machine alone."""
