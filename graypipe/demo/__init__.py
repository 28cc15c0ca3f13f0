"""The parts of ``graypipe demo``: images, conversions by hand, checks and a picture."""
