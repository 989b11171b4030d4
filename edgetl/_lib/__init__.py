"""Utilities that know neither photos nor models: cache, CSV, array files, progress, interrupts, extras, cores."""
