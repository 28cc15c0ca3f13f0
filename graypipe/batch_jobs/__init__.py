"""Batch jobs: process a folder of images in chunks, with processes or with Ray.

`chunks` splits the files, `local` and `ray` distribute the chunks and return the
results in the order of the files, and `work` holds the functions that a worker runs.
The outputs are byte-identical for any number of workers and for either backend.
"""
