"""The bands of Sentinel-2 images of level 1C, in the order of their wavelengths."""

L1C = (
    "B01",
    "B02",
    "B03",
    "B04",
    "B05",
    "B06",
    "B07",
    "B08",
    "B8A",
    "B09",
    "B10",
    "B11",
    "B12",
)
