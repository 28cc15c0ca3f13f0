"""What a network with ImageNet weights makes of gray photographs, by how the gray is passed to it.

``python -m benchmarks.imagenet --images DIR`` measures, ``python -m benchmarks.accuracy report`` writes the page.
"""
