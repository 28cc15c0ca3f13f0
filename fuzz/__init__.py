"""Random files, JSON and arrays: no crash, no hang, no wrong value, no unexpected exception.

``python -m fuzz`` runs every target for a minute; ``python -m fuzz --help`` lists the options. A case depends only on
its target, the seed and its number, so each failure is reported with the command that repeats it.
"""
