"""The TFLite file format: structure, metadata, editable object tree, and memory needed on a microcontroller."""
