"""Seed S18 at small scale: what a network trained on colour makes of gray images, by how the gray is given to it.

``python -m benchmarks.accuracy`` trains and tests, ``python -m benchmarks.accuracy report`` writes the page.
"""
