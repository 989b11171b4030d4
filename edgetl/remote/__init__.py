"""Benchmark and examine boards over the user's own OpenSSH, several at a time."""
