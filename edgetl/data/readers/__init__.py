"""Readers of data sets: folders, tables and arrays, each into one list of photos."""
