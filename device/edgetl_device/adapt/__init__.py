"""Teach a bundle a class, or more of a class that it has, from a few photos on the board: ``run.adapt``."""
