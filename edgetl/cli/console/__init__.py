"""Every table and number that the command line prints."""
