"""Data sets as people have them (folders, tables, arrays), each read into one list of photos."""
