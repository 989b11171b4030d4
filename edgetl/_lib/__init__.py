"""Utilities independent of photos and models: cache, CSV, array files, progress, interrupts, extras, cores."""
