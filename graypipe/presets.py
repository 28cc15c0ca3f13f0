"""Definitions of the presets: inputs of the models of common libraries, and others.

Each entry holds the arguments of a `Target` that differ from its defaults.
"""

from typing import Any

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

PRESETS: dict[str, dict[str, Any]] = {
    # torchvision.transforms._presets.ImageClassification;
    # timm.data.constants, IMAGENET_DEFAULT_MEAN and IMAGENET_DEFAULT_STD
    "imagenet": IMAGENET,
    # keras.applications.imagenet_utils.preprocess_input, mode "caffe"
    "keras-caffe": {
        "bands": "BGR",
        "layout": "HWC",
        "range": (0, 255),
        "mean": (103.939, 116.779, 123.68),
    },
    # The same function, mode "tf"
    "keras-tf": {"layout": "HWC", "range": (-1, 1)},
    # The same function, mode "torch"
    "keras-torch": {"layout": "HWC", **IMAGENET},
    # keras.applications.efficientnet: the model contains the layers that normalise
    "keras-efficientnet": {"layout": "HWC", "range": (0, 255)},
    # timm.data.constants, IMAGENET_INCEPTION_MEAN and IMAGENET_INCEPTION_STD
    "inception": {"mean": 0.5, "std": 0.5},
    # openai/CLIP, clip.py, _transform;
    # timm.data.constants, OPENAI_CLIP_MEAN and OPENAI_CLIP_STD
    "openai-clip": {
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
    },
    # Intensities from 0 to 1, not normalised
    "unit": {},
    # 8-bit RGB for transforms that follow, such as augmentations
    "rgb8": {"layout": "HWC", "dtype": "uint8", "range": (0, 255)},
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
