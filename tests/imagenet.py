"""ImageNet's channel statistics, the numbers behind the preset ``imagenet``.

They are spelled out here, and not read from the package, so that the tests notice a
change of the preset.
"""

# Mean and standard deviation of R, G and B in 0..1, as torchvision publishes them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
