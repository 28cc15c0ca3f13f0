"""Whole data sets: files cut into chunks, worked on by processes or by Ray, results in the order of the files.

What becomes of a file never depends on who works: one process, several, and Ray give the same bytes.
"""
