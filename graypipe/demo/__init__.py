"""The parts of ``graypipe demo``: images, NumPy references, checks and a picture."""
