"""How kernels for new bands are best initialised: a network with ImageNet weights on rendered Sentinel-2 scenes.

``python -m benchmarks.new_bands --images DIR`` measures, ``python -m benchmarks.accuracy report`` writes the page.
"""
