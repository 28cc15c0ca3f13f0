"""Derive a `Source` from DICOM data sets and rasters, and a `Target` from models.

The objects of pydicom, rasterio, timm, torchvision, transformers and Keras are
duck-typed: only their attributes are used, and no library is imported.
"""
