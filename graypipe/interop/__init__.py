"""What other libraries say of an image beside its pixels, read into the fields of a `Source`.

Duck-typed: a DICOM data set as pydicom reads it, a raster as rasterio opens it; neither is imported.
"""
