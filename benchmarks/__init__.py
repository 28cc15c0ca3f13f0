"""graypipe beside its peers: ``python -m benchmarks`` measures, ``python -m benchmarks report`` writes the pages."""
