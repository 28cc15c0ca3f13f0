"""Public objects have the sections of a numpydoc docstring that they need."""

import importlib
import inspect

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import pytest
from numpydoc.validate import validate

import graypipe
import graypipe.adapters.keras
import graypipe.adapters.onnx
import graypipe.adapters.torch
import graypipe.adapters.torchvision
import graypipe.adapters.transformers

# Where they are public: as graypipe.<name>, graypipe.weights.<name> and so on.
PUBLIC_NAMES = {
    "graypipe": graypipe.__all__,
    "graypipe.weights": graypipe.weights.__all__,
    "graypipe.adapters.albumentations": ["ToBackbone"],
    "graypipe.adapters.jax": ["apply"],
    "graypipe.adapters.keras": graypipe.adapters.keras.__all__,
    "graypipe.adapters.onnx": graypipe.adapters.onnx.__all__,
    "graypipe.adapters.tf_data": ["ToBackbone"],
    "graypipe.adapters.torch": graypipe.adapters.torch.__all__,
    "graypipe.adapters.transformers": ["ImageProcessor"],
    "graypipe.adapters.torchvision": graypipe.adapters.torchvision.__all__,
}

# Codes of numpydoc.validate. GL08: no docstring; SS01: no summary; PR01: a parameter
# is not documented; PR02: an unknown parameter is; PR10: the colon before its type is
# not surrounded by spaces; RT01: no Returns section; EX01: no Examples section.
REQUIRED = {"GL08", "SS01", "PR01", "PR02", "PR10", "RT01", "EX01"}

# A property is shown in the examples of its class.
REQUIRED_OF_PROPERTIES = REQUIRED - {"RT01", "EX01"}

# An exception is raised by the package, never made by its users.
REQUIRED_OF_EXCEPTIONS = REQUIRED - {"PR01", "EX01"}


# Its users get a plan from graypipe.plan or from_json, never from the class.
REQUIRED_OF_PLAN = REQUIRED - {"PR01"}

# A method that the framework calls is documented by the framework.
REQUIRED_OF_HOOKS = {"GL08", "SS01", "PR02", "PR10"}


def is_hook(cls, attribute):
    """Return whether a method overrides one of a class of another package."""
    for base in cls.__mro__[1:]:
        if attribute in vars(base) and not base.__module__.startswith("graypipe"):
            return True
    return False


def members(class_name, cls):
    """Return the public methods and properties that a class defines, by full name."""
    required = {}
    for attribute, member in vars(cls).items():
        if attribute.startswith("_"):
            continue
        if isinstance(member, property):
            required[f"{class_name}.{attribute}"] = REQUIRED_OF_PROPERTIES
        elif is_hook(cls, attribute):
            required[f"{class_name}.{attribute}"] = REQUIRED_OF_HOOKS
        elif inspect.isroutine(member):
            required[f"{class_name}.{attribute}"] = REQUIRED
    return required


def required_codes():
    """Return the codes that must not be reported for each public object."""
    required = {}
    for module_name, public_names in PUBLIC_NAMES.items():
        module = importlib.import_module(module_name)
        for public_name in public_names:
            name = f"{module_name}.{public_name}"
            obj = getattr(module, public_name)
            if inspect.ismodule(obj):
                continue
            if not inspect.isclass(obj):
                required[name] = REQUIRED
            elif obj is graypipe.Plan:
                required[name] = REQUIRED_OF_PLAN
                required |= members(name, obj)
            elif issubclass(obj, Exception):
                required[name] = REQUIRED_OF_EXCEPTIONS
            else:
                required[name] = REQUIRED
                required |= members(name, obj)
    return required


CODES = required_codes()


@pytest.mark.parametrize("name", CODES)
def test_docstring_has_the_sections_it_needs(name):
    errors = []
    for code, message in validate(name)["errors"]:
        if code in CODES[name]:
            errors.append(f"{code}: {message}")
    assert not errors, "\n".join(errors)
