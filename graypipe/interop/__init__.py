"""Derive the fields of a `Source` from the metadata that other libraries read.

DICOM data sets are read by pydicom, rasters by rasterio. Both are duck-typed: only
their attributes are used, and neither library is imported.
"""
