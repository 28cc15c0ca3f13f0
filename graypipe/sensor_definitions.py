"""Definitions of the sensors: the bands of common products, and facts about them.

Each entry holds the fields of a `Sensor`. ``bands`` has one row per band, in the order
of the files: its official name, its central wavelength in nm or None, and its aliases,
the common name of STAC first. Case, spaces, hyphens and underscores do not matter in
aliases, so "swir1" also stands for "SWIR_1".

Common names: stac-extensions/eo @09f6527, README.md; rededge071, rededge075 and
rededge078: its version 2.0.0.
"""

from typing import Any

# Names and order: Sentinel-2 Products Specification Document, the order of the band
# identifiers 0 to 12. Common names and wavelengths: stactools-packages/sentinel2
# @07bbbad, constants.py, SENTINEL_BANDS. Other aliases: Earth Engine (B2), terratorch
# @85467a9 HLSBands (nir_narrow, swir_1), OlmoEarth and torchgeo (B02, rededge).
S2_BANDS = (
    ("B01", 443, ("coastal", "B1", "coastal_aerosol")),
    ("B02", 490, ("blue", "B2", "B")),
    ("B03", 560, ("green", "B3", "G")),
    ("B04", 665, ("red", "B4", "R")),
    ("B05", 704, ("rededge1", "B5", "rededge071")),
    ("B06", 740, ("rededge2", "B6", "rededge075")),
    ("B07", 783, ("rededge3", "B7", "rededge078")),
    ("B08", 842, ("nir", "B8", "nir_broad")),
    ("B8A", 865, ("nir08", "B08A", "nir_narrow", "rededge4")),
    ("B09", 945, ("nir09", "B9", "water_vapor", "water_vapour")),
    ("B10", 1373.5, ("cirrus",)),
    ("B11", 1610, ("swir16", "swir1")),
    ("B12", 2190, ("swir22", "swir2")),
)
# Level 2A has no cirrus band, which shows no surface.
S2_L2A_BANDS = S2_BANDS[:10] + S2_BANDS[11:]

# Sentinel-2 Products Specification Document 14.9: quantification value 10000, special
# values 0 (nodata) and 65535 (saturated), 16-bit unsigned integers.
S2 = {"dtype": "uint16", "nodata": 0}
# Since processing baseline 04.00 of 25 January 2022, RADIO_ADD_OFFSET and
# BOA_ADD_OFFSET are -1000: reflectance = (value - 1000) / 10000.
S2_RANGE = (1000, 11000)
S2_RANGE_BEFORE_04 = (0, 10000)
# Published statistics of the bands: presets, with their sources there
S2_L1C = {"bands": S2_BANDS, "statistics": "ssl4eo-s12-stats", **S2}
S2_L2A = {"bands": S2_L2A_BANDS, "statistics": "terramind-1-s2l2a", **S2}

# Names: USGS, LSDS-1822 (OLI and TIRS, level 1), LSDS-1328 (level 2). Common names and
# wavelengths: stactools-packages/landsat @1ad6f86, fragments/oli_tirs; pan, cirrus and
# lwir: the Landsat 8 example of stac-extensions/eo. "nir" is the older common name.
OLI_TIRS_L1_BANDS = (
    ("B1", 440, ("coastal", "B01", "coastal_aerosol")),
    ("B2", 480, ("blue", "B02", "B")),
    ("B3", 560, ("green", "B03", "G")),
    ("B4", 650, ("red", "B04", "R")),
    ("B5", 870, ("nir08", "B05", "nir")),
    ("B6", 1610, ("swir16", "B06", "swir1")),
    ("B7", 2200, ("swir22", "B07", "swir2")),
    ("B8", 590, ("pan", "B08")),
    ("B9", 1370, ("cirrus", "B09")),
    ("B10", 10900, ("lwir11",)),
    ("B11", 12000, ("lwir12",)),
)
OLI_TIRS_L2_BANDS = (
    ("SR_B1", 440, ("coastal", "B1", "B01", "coastal_aerosol")),
    ("SR_B2", 480, ("blue", "B2", "B02", "B")),
    ("SR_B3", 560, ("green", "B3", "B03", "G")),
    ("SR_B4", 650, ("red", "B4", "B04", "R")),
    ("SR_B5", 870, ("nir08", "B5", "B05", "nir")),
    ("SR_B6", 1610, ("swir16", "B6", "B06", "swir1")),
    ("SR_B7", 2200, ("swir22", "B7", "B07", "swir2")),
    ("ST_B10", 10900, ("lwir11", "B10")),
)

# Names: USGS, LSDS-1415 (TM, level 1), LSDS-1414 (ETM+, level 1), LSDS-1618 (level 2).
# Common names and wavelengths: stactools-packages/landsat @1ad6f86, fragments/tm and
# fragments/etm. Pan of ETM+: the middle of 0.52 to 0.90 um, USGS band designations.
TM_L1_BANDS = (
    ("B1", 490, ("blue", "B01", "B")),
    ("B2", 560, ("green", "B02", "G")),
    ("B3", 660, ("red", "B03", "R")),
    ("B4", 830, ("nir08", "B04", "nir")),
    ("B5", 1650, ("swir16", "B05", "swir1")),
    ("B6", 11450, ("lwir", "B06")),
    ("B7", 2220, ("swir22", "B07", "swir2")),
)
TM_L2_BANDS = (
    ("SR_B1", 490, ("blue", "B1", "B01", "B")),
    ("SR_B2", 560, ("green", "B2", "B02", "G")),
    ("SR_B3", 660, ("red", "B3", "B03", "R")),
    ("SR_B4", 830, ("nir08", "B4", "B04", "nir")),
    ("SR_B5", 1650, ("swir16", "B5", "B05", "swir1")),
    ("SR_B7", 2220, ("swir22", "B7", "B07", "swir2")),
    ("ST_B6", 11450, ("lwir", "B6", "B06")),
)
ETM_L1_BANDS = (
    ("B1", 480, ("blue", "B01", "B")),
    ("B2", 560, ("green", "B02", "G")),
    ("B3", 660, ("red", "B03", "R")),
    ("B4", 840, ("nir08", "B04", "nir")),
    ("B5", 1650, ("swir16", "B05", "swir1")),
    # The same band with low and with high gain
    ("B6_VCID_1", 11340, ("lwir_low_gain",)),
    ("B6_VCID_2", 11340, ("lwir_high_gain",)),
    ("B7", 2200, ("swir22", "B07", "swir2")),
    ("B8", 710, ("pan", "B08")),
)
ETM_L2_BANDS = (
    ("SR_B1", 480, ("blue", "B1", "B01", "B")),
    ("SR_B2", 560, ("green", "B2", "B02", "G")),
    ("SR_B3", 660, ("red", "B3", "B03", "R")),
    ("SR_B4", 840, ("nir08", "B4", "B04", "nir")),
    ("SR_B5", 1650, ("swir16", "B5", "B05", "swir1")),
    ("SR_B7", 2200, ("swir22", "B7", "B07", "swir2")),
    ("ST_B6", 11340, ("lwir", "B6", "B06")),
)

# Level 1 is calibrated radiance whose factors differ between scenes, so black and white
# are those of the dtype. LSDS-1822: 16 bits, fill 0; LSDS-1414 and LSDS-1415: 8 bits,
# fill 0.
LANDSAT_8_L1 = {
    "dtype": "uint16",
    "nodata": 0,
    "range": (0, 65535),
    "statistics": "clay-1.5-landsat-c2l1",
}
LANDSAT_5_L1 = {"dtype": "uint8", "nodata": 0, "range": (0, 255)}
# Level 2: reflectance = value * 0.0000275 - 0.2, fill 0 (LSDS-1328, LSDS-1618;
# stactools-packages/landsat @1ad6f86, sr-raster-bands.json). White is a reflectance of
# 1. The temperature, value * 0.00341802 + 149 in kelvin (st-raster-bands.json), has the
# range of its dtype.
LANDSAT_REFLECTANCE = (0.2 / 0.0000275, 1.2 / 0.0000275)
LANDSAT_TEMPERATURE = (0, 65535)

# Names and scale: NASA, HLS Product User Guide 2.0, tables of the data layers: int16,
# scale 0.0001, fill -9999. The bands of S30 are those of Sentinel-2, in its order.
HLS = {
    "dtype": "int16",
    "nodata": -9999,
    "range": (0, 10000),
    "statistics": "prithvi-eo-2",
}
# The thermal bands have a scale of 0.01 degrees Celsius, so their unit intensities
# are 0 and 1 at 0 and 100 degrees. Wavelengths: those of OLI and TIRS. NIR is narrow in
# L30, as B8A of S30 (terratorch @85467a9, HLSBands).
HLS_L30_BANDS = (
    ("B01", 440, ("coastal", "B1", "coastal_aerosol")),
    ("B02", 480, ("blue", "B2", "B")),
    ("B03", 560, ("green", "B3", "G")),
    ("B04", 650, ("red", "B4", "R")),
    ("B05", 870, ("nir08", "B5", "nir", "nir_narrow")),
    ("B06", 1610, ("swir16", "B6", "swir1")),
    ("B07", 2200, ("swir22", "B7", "swir2")),
    ("B09", 1370, ("cirrus", "B9")),
    ("B10", 10900, ("lwir11",)),
    ("B11", 12000, ("lwir12",)),
)

SENSORS: dict[str, dict[str, Any]] = {
    "sentinel-2-l1c": {"range": S2_RANGE, **S2_L1C},
    "sentinel-2-l1c-before-04.00": {"range": S2_RANGE_BEFORE_04, **S2_L1C},
    "sentinel-2-l2a": {"range": S2_RANGE, **S2_L2A},
    "sentinel-2-l2a-before-04.00": {"range": S2_RANGE_BEFORE_04, **S2_L2A},
    "landsat-5-c2-l1": {"bands": TM_L1_BANDS, **LANDSAT_5_L1},
    "landsat-5-c2-l2": {
        "bands": TM_L2_BANDS,
        "range": (LANDSAT_REFLECTANCE,) * 6 + (LANDSAT_TEMPERATURE,),
        "nodata": 0,
        "dtype": "uint16",
    },
    "landsat-7-c2-l1": {"bands": ETM_L1_BANDS, **LANDSAT_5_L1},
    "landsat-7-c2-l2": {
        "bands": ETM_L2_BANDS,
        "range": (LANDSAT_REFLECTANCE,) * 6 + (LANDSAT_TEMPERATURE,),
        "nodata": 0,
        "dtype": "uint16",
    },
    "landsat-8-c2-l1": {"bands": OLI_TIRS_L1_BANDS, **LANDSAT_8_L1},
    "landsat-8-c2-l2": {
        "bands": OLI_TIRS_L2_BANDS,
        "range": (LANDSAT_REFLECTANCE,) * 7 + (LANDSAT_TEMPERATURE,),
        "nodata": 0,
        "dtype": "uint16",
    },
    "landsat-9-c2-l1": {"bands": OLI_TIRS_L1_BANDS, **LANDSAT_8_L1},
    "landsat-9-c2-l2": {
        "bands": OLI_TIRS_L2_BANDS,
        "range": (LANDSAT_REFLECTANCE,) * 7 + (LANDSAT_TEMPERATURE,),
        "nodata": 0,
        "dtype": "uint16",
    },
    "hls-s30": {"bands": S2_BANDS, **HLS},
    "hls-l30": {"bands": HLS_L30_BANDS, **HLS},
    # Order and names: stactools-packages/naip @315dc5b, NAIP_BANDS. Wavelengths:
    # Clay-foundation/model @a5790ce, configs/metadata.yaml; cameras differ.
    "naip": {
        "bands": (
            ("red", 650, ("R",)),
            ("green", 560, ("G",)),
            ("blue", 480, ("B",)),
            ("nir", 842, ("N", "near_infrared")),
        ),
        "range": (0, 255),
        "dtype": "uint8",
        "statistics": "clay-1.5-naip",
    },
    # Dual polarisation over land (IW), backscatter converted to decibels: 10 * log10.
    # The range is that of olmoearth_pretrain 0.1.2, data/norm_configs/predefined.json,
    # and of the preset ssl4eo-s12-s1. The wavelength (5.5 cm) has nothing in common
    # with those of optical bands.
    "sentinel-1-grd-db": {
        "bands": (("VV", None, ()), ("VH", None, ())),
        "range": (-50, 0),
    },
    # Kaggle, Human Protein Atlas Image Classification, data: filters of the file names.
    # Files have 8 or 16 bits. The colours are those of the display.
    "human-protein-atlas": {
        "bands": (
            ("R", None, ("red", "microtubules")),
            ("G", None, ("green", "protein")),
            ("B", None, ("blue", "nucleus", "nuclei")),
            ("Y", None, ("yellow", "er", "endoplasmic_reticulum")),
        ),
    },
}
