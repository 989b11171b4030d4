"""What has no idea of photos or models: cache, CSV tables, array files, progress, quiet, interrupts, extras, cores."""
