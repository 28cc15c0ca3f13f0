"""Derive the keywords of a `Source` from DICOM data sets and rasters.

Data sets are read by pydicom, rasters by rasterio. Both are duck-typed: only their
attributes are used, and neither library is imported.
"""
