"""Definitions of the presets: inputs of the models of common libraries, and others.

Each entry holds the arguments of a `Target` that differ from its defaults.
"""

from typing import Any

Statistics = tuple[float, ...]

CLAY = "Clay-foundation/model @a5790ce, configs/metadata.yaml"
SATLAS = "allenai/satlas, Normalization.md; torchgeo, models/swin.py"
TERRAMIND = (
    "terrastackai/terratorch @85467a9, "
    "models/backbones/terramind/model/terramind_register.py"
)

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

# Stored values of black and white for which a reflectance of 1 is white. A source with
# the range (0, 10000), or (1000, 11000) since processing baseline 04.00 of Sentinel-2,
# has the same unit intensities, so that statistics in stored values fit both.
REFLECTANCE = {"range": (0, 10000)}

S2_L1C_BANDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11",
    "B12",
)  # fmt: skip
S2_L2A_BANDS = tuple(band for band in S2_L1C_BANDS if band != "B10")

# Bands of the Prithvi models: terratorch, HLSBands
PRITHVI_BANDS = ("BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2")

# Bands of the Landsat models of Clay
CLAY_LANDSAT_BANDS = ("red", "green", "blue", "nir08", "swir16", "swir22")

# allenai/olmoearth_pretrain 0.1.2, data/constants.py: SENTINEL2_L2A
OLMOEARTH_BANDS = (
    "B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "B01", "B09",
)  # fmt: skip
OLMOEARTH_MEAN = (
    1188.9412572078477, 1407.7739105458452, 1513.0573882432757, 2755.481305028308,
    1890.9893042634167, 2483.7812315422448, 2722.728248756412, 2885.570263047681,
    2562.852607796968, 1914.1383249044113, 1115.8494388252218, 3269.812554170875,
)  # fmt: skip
OLMOEARTH_STD = (
    1859.1923971769581, 1727.7387413631088, 1740.7757298757895, 1612.2565699990187,
    1754.7320388511766, 1622.1172720635755, 1621.8226170190276, 1611.3587521042082,
    1441.5471830655151, 1328.8914382756407, 1955.6991794280914, 2651.088425085525,
)  # fmt: skip

# sustainlab-group/SatMAE @e31c11f, util/datasets.py: SentinelIndividualImageDataset
SATMAE_MEAN = (
    1370.19151926, 1184.3824625, 1120.77120066, 1136.26026392, 1263.73947144,
    1645.40315151, 1846.87040806, 1762.59530783, 1972.62420416, 582.72633433,
    14.77112979, 1732.16362238, 1247.91870117,
)  # fmt: skip
SATMAE_STD = (
    633.15169573, 650.2842772, 712.12507725, 965.23119807, 948.9819932, 1108.06650639,
    1258.36394548, 1233.1492281, 1364.38688993, 472.37967789, 14.3114637, 1310.36996126,
    1087.6020813,
)  # fmt: skip


def _two_std_below(means: Statistics, stds: Statistics) -> Statistics:
    """Return mean - 2 std of every band."""
    return tuple(mean - 2 * std for mean, std in zip(means, stds, strict=True))


def _four_std(stds: Statistics) -> Statistics:
    """Return the distance from mean - 2 std to mean + 2 std of every band."""
    return tuple(4 * std for std in stds)


PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": IMAGENET,
    "keras-caffe": {
        "bands": "BGR",
        "layout": "HWC",
        "range": (0, 255),
        "mean": (103.939, 116.779, 123.68),
    },
    "keras-tf": {"layout": "HWC", "range": (-1, 1)},
    "keras-torch": {"layout": "HWC", **IMAGENET},
    "keras-efficientnet": {"layout": "HWC", "range": (0, 255)},
    "inception": {"mean": 0.5, "std": 0.5},
    "openai-clip": {
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
    },
    "unit": {},
    "rgb8": {"layout": "HWC", "dtype": "uint8", "range": (0, 255)},
    "dpn": {
        "mean": (124 / 255, 117 / 255, 104 / 255),
        "std": (1 / (0.0167 * 255),) * 3,
    },
    "dinov3-sat493m": {"mean": (0.430, 0.411, 0.296), "std": (0.213, 0.156, 0.143)},
    "torchxrayvision": {"bands": "gray", "range": (-1024, 1024)},
    "prithvi-eo-1": {
        "bands": PRITHVI_BANDS,
        **REFLECTANCE,
        "mean": (775, 1081, 1229, 2497, 2204, 1611),
        "std": (1282, 1270, 1399, 1368, 1292, 1155),
    },
    "prithvi-eo-2": {
        "bands": PRITHVI_BANDS,
        **REFLECTANCE,
        "mean": (1087, 1342, 1433, 2734, 1958, 1363),
        "std": (2248, 2179, 2178, 1850, 1242, 1049),
    },
    "terramind-1-s2l2a": {
        "bands": S2_L2A_BANDS,
        **REFLECTANCE,
        "mean": (
            1390.458,
            1503.317,
            1718.197,
            1853.91,
            2199.1,
            2779.975,
            2987.011,
            3083.234,
            3132.22,
            3162.988,
            2424.884,
            1857.648,
        ),
        "std": (
            2106.761,
            2141.107,
            2038.973,
            2134.138,
            2085.321,
            1889.926,
            1820.257,
            1871.918,
            1753.829,
            1797.379,
            1434.261,
            1334.311,
        ),
    },
    "terramind-1-s2l1c": {
        "bands": S2_L1C_BANDS,
        **REFLECTANCE,
        "mean": (
            2357.089,
            2137.385,
            2018.788,
            2082.986,
            2295.651,
            2854.537,
            3122.849,
            3040.56,
            3306.481,
            1473.847,
            506.07,
            2472.825,
            1838.929,
        ),
        "std": (
            1624.683,
            1675.806,
            1557.708,
            1833.702,
            1823.738,
            1733.977,
            1732.131,
            1679.732,
            1727.26,
            1024.687,
            442.165,
            1331.411,
            1160.419,
        ),
    },
    "terramind-1-rgb": {
        "range": (0, 255),
        "mean": (87.271, 80.931, 66.667),
        "std": (58.767, 47.663, 42.631),
    },
    "clay-1.5-sentinel-2-l2a": {
        "bands": (
            "blue",
            "green",
            "red",
            "rededge1",
            "rededge2",
            "rededge3",
            "nir",
            "nir08",
            "swir16",
            "swir22",
        ),
        **REFLECTANCE,
        "mean": (1105, 1355, 1552, 1887, 2422, 2630, 2743, 2785, 2388, 1835),
        "std": (1809, 1757, 1888, 1870, 1732, 1697, 1742, 1648, 1470, 1379),
    },
    "clay-1.5-naip": {
        "bands": ("red", "green", "blue", "nir"),
        "range": (0, 255),
        "mean": (110.16, 115.41, 98.15, 139.04),
        "std": (47.23, 39.82, 35.43, 49.86),
    },
    "clay-1.5-landsat-c2l1": {
        "bands": CLAY_LANDSAT_BANDS,
        "range": (0, 65535),
        "mean": (10678, 10563, 11083, 14792, 12276, 10114),
        "std": (6025, 5411, 5468, 6746, 5897, 4850),
    },
    # SentinelNormalize scales from mean - 2 std to mean + 2 std; its saturation and its
    # 8 bits are not included.
    "satmae": {
        "bands": S2_L1C_BANDS,
        **REFLECTANCE,
        "mean": _two_std_below(SATMAE_MEAN, SATMAE_STD),
        "std": _four_std(SATMAE_STD),
    },
    "ssl4eo-s12": {"bands": S2_L1C_BANDS, **REFLECTANCE, "std": 10000},
    "ssl4eo-s12-stats": {
        "bands": S2_L1C_BANDS,
        **REFLECTANCE,
        "mean": (
            1612.9,
            1397.6,
            1322.3,
            1373.1,
            1561.0,
            2108.4,
            2390.7,
            2318.7,
            2581.0,
            837.7,
            22.0,
            2195.2,
            1537.4,
        ),
        "std": (
            791.0,
            854.3,
            878.7,
            1144.9,
            1127.5,
            1164.2,
            1276.0,
            1249.5,
            1345.9,
            577.5,
            47.5,
            1340.0,
            1142.9,
        ),
    },
    # In dB
    "ssl4eo-s12-s1": {
        "bands": ("VV", "VH"),
        "range": (-50, 0),
        "mean": (-12.59, -20.26),
        "std": (5.26, 5.91),
    },
    # (x - low) / (high - low) and then ImageNet, with low = (3, 2, 0) and
    # high = (88, 103, 129)
    "seco": {
        "range": (0, 255),
        "mean": (3 + 0.485 * 85, 2 + 0.456 * 101, 0.406 * 129),
        "std": (0.229 * 85, 0.224 * 101, 0.225 * 129),
    },
    # 8-bit RGB divided by 255 (NAIP, and the true-colour image of Sentinel-2)
    "satlas": {},
    # The true-colour image divided by 255, other bands divided by 8160. The unit
    # intensity of the true-colour bands refers to 255, that of others to 10000.
    "satlas-sentinel-2": {
        "bands": ("B04", "B03", "B02", "B05", "B06", "B07", "B08", "B11", "B12"),
        **REFLECTANCE,
        "std": (10000, 10000, 10000, 8160, 8160, 8160, 8160, 8160, 8160),
    },
    # Level 1, (x - 4000) / 16320
    "satlas-landsat": {
        "bands": (
            "B1",
            "B2",
            "B3",
            "B4",
            "B5",
            "B6",
            "B7",
            "B8",
            "B9",
            "B10",
            "B11",
        ),
        "range": (0, 65535),
        "mean": 4000,
        "std": 16320,
    },
    # The Normalizer scales from mean - 2 std to mean + 2 std.
    "olmoearth-s2l2a": {
        "bands": OLMOEARTH_BANDS,
        **REFLECTANCE,
        "mean": _two_std_below(OLMOEARTH_MEAN, OLMOEARTH_STD),
        "std": _four_std(OLMOEARTH_STD),
    },
}

# Where the numbers of each preset were read. The site shows them beside the numbers.
REFERENCES = {
    "imagenet": "torchvision, transforms/_presets.py, ImageClassification; "
    "timm, data/constants.py, IMAGENET_DEFAULT_MEAN and IMAGENET_DEFAULT_STD",
    "keras-caffe": 'Keras, applications/imagenet_utils.py, mode "caffe"',
    "keras-tf": 'Keras, applications/imagenet_utils.py, mode "tf"',
    "keras-torch": 'Keras, applications/imagenet_utils.py, mode "torch"',
    "keras-efficientnet": "Keras, applications/efficientnet.py: the model contains the "
    "layers that normalise",
    "inception": "timm, data/constants.py, IMAGENET_INCEPTION_MEAN and "
    "IMAGENET_INCEPTION_STD",
    "openai-clip": "openai/CLIP, clip.py, _transform; timm, data/constants.py, "
    "OPENAI_CLIP_MEAN and OPENAI_CLIP_STD",
    "unit": "intensities from 0 to 1, not normalised",
    "rgb8": "8-bit RGB for transforms that follow, such as augmentations",
    "dpn": "timm 1.0.31, data/constants.py, IMAGENET_DPN_MEAN and IMAGENET_DPN_STD",
    "dinov3-sat493m": "facebookresearch/dinov3 @6876159, README.md; timm, "
    "vit_*_dinov3*.sat493m",
    "torchxrayvision": "mlmed/torchxrayvision @f4087a0, utils.py, normalize",
    "prithvi-eo-1": "terrastackai/terratorch @85467a9, models/backbones/prithvi_vit.py",
    "prithvi-eo-2": "terrastackai/terratorch @85467a9, models/backbones/prithvi_vit.py",
    "terramind-1-s2l2a": TERRAMIND,
    "terramind-1-s2l1c": TERRAMIND,
    "terramind-1-rgb": TERRAMIND,
    "clay-1.5-sentinel-2-l2a": CLAY,
    "clay-1.5-naip": CLAY,
    "clay-1.5-landsat-c2l1": CLAY,
    "satmae": "sustainlab-group/SatMAE @e31c11f, util/datasets.py",
    "ssl4eo-s12": "torchgeo @65507dc, models/resnet.py, _ssl4eo_s12_transforms_s2_10k",
    "ssl4eo-s12-stats": "torchgeo @65507dc, models/resnet.py, "
    "_ssl4eo_s12_transforms_s2_stats",
    "ssl4eo-s12-s1": "torchgeo @65507dc, models/resnet.py, _ssl4eo_s12_transforms_s1; "
    "range: olmoearth_pretrain 0.1.2, data/norm_configs/predefined.json",
    "seco": "torchgeo @65507dc, models/resnet.py, _seco_transforms",
    "satlas": SATLAS,
    "satlas-sentinel-2": SATLAS,
    "satlas-landsat": SATLAS,
    "olmoearth-s2l2a": "allenai/olmoearth_pretrain @00d17be, "
    "data/norm_configs/computed.json; order of the bands: data/constants.py",
}

# Preset of the modules of keras.applications that are not named like a model. Names are
# in lower case and without underscores.
KERAS_MODULES = {
    "resnet": "keras-caffe",
    "resnetv2": "keras-tf",
    "nasnet": "keras-tf",
    "densenet": "keras-torch",
    "efficientnet": "keras-efficientnet",
    "efficientnetv2": "keras-efficientnet",
    "mobilenetv3": "keras-efficientnet",
    "convnext": "keras-efficientnet",
}

# Preset that corresponds to the `preprocess_input` of each keras.applications model.
# Model names are in lower case and without underscores.
KERAS_MODELS = {
    "keras-caffe": ("resnet50", "resnet101", "resnet152", "vgg16", "vgg19"),
    "keras-tf": (
        "resnet50v2",
        "resnet101v2",
        "resnet152v2",
        "inceptionv3",
        "inceptionresnetv2",
        "xception",
        "mobilenet",
        "mobilenetv2",
        "nasnetlarge",
        "nasnetmobile",
    ),
    "keras-torch": ("densenet121", "densenet169", "densenet201"),
    "keras-efficientnet": (
        "efficientnetb0",
        "efficientnetb1",
        "efficientnetb2",
        "efficientnetb3",
        "efficientnetb4",
        "efficientnetb5",
        "efficientnetb6",
        "efficientnetb7",
        "efficientnetv2b0",
        "efficientnetv2b1",
        "efficientnetv2b2",
        "efficientnetv2b3",
        "efficientnetv2s",
        "efficientnetv2m",
        "efficientnetv2l",
        "mobilenetv3small",
        "mobilenetv3large",
        "convnexttiny",
        "convnextsmall",
        "convnextbase",
        "convnextlarge",
        "convnextxlarge",
    ),
}
