"""The contract: every public name and signature. A change here changes docs/design.md in the same commit."""

import dataclasses
import inspect

import pytest

import graypipe as gp

SIGNATURES = {
    "BandStats": "(source)",
    "BandStats.update": "(self, image, *, frame=None, alpha='error', orientation='error')",
    "BandStats.merge": "(self, other)",
    "BandStats.percentile": "(self, q)",
    "BandStats.window": "(self, low, high)",
    "BandStats.normalization": "(self)",
    "BandStats.pca": "(self, outputs='RGB', like='imagenet')",
    "BandStats.check": "(self, sensor)",
    "BandStats.to_json": "(self)",
    "BandStats.from_json": "(text)",
    "ChannelMap": "(matrix, offset=None, *, inputs, outputs)",
    "ChannelMap.__call__": "(self, image, *, layout, out_layout=None, dtype=None, copy=True, out=None)",
    "ChannelMap.__rshift__": "(self, other)",
    "ChannelMap.inverse": "(self)",
    "ChannelMap.to_json": "(self)",
    "ChannelMap.from_json": "(text)",
    "replicate": "(bands='RGB', *, of='gray', gains=None)",
    "select": "(bands, *, of)",
    "mix": "(weights, *, of)",
    "luminance": "(standard='rec601', *, of='RGB')",
    "Source": "(bands='gray', layout=None, *, dtype=None, bits=None, range=None, clip=False, nodata=None, sensor=None)",
    "Source.from_sensor": "(name, bands=None, **source)",
    "Sensor": "(name, bands, aliases, wavelengths, range, nodata, dtype, statistics)",
    "Sensor.band": "(self, name)",
    "sensor": "(name)",
    "sensors": "()",
    "Source.from_dicom": "(dataset, *, window=None)",
    "Source.from_rasterio": "(dataset, *, physical=None, indexes=None, **source)",
    "Target": "(bands='RGB', layout='CHW', dtype='float32', *, range=(0, 1), mean=0, std=1)",
    "Target.of": "(x)",
    "Target.from_timm": "(cfg)",
    "Target.from_torchvision": "(weights)",
    "Target.from_hf": "(config)",
    "Target.from_keras": "(name)",
    "preset": "(name, **overrides)",
    "presets": "()",
    "plan": "(source, target, via=None)",
    "Plan.__call__": "(self, image, *more, out=None)",
    "Plan.batch": "(self, images, *, out=None, threads=1)",
    "Plan.view": "(self, image)",
    "Plan.invert": "(self, x, *, dtype=None)",
    "Plan.explain": "(self, shape=None, dtype=None)",
    "Plan.show": "(self, image)",
    "Plan.with_layouts": "(self, source=None, target=None)",
    "Plan.check": "(self, stored)",
    "Plan.to_json": "(self)",
    "Plan.from_json": "(text)",
    "Plans": "(*plans)",
    "Plans.__call__": "(self, image, *more, out=None)",
    "Plans.batch": "(self, images, *, out=None, threads=1)",
    "read": "(file, *, select=None, frame=None, alpha='error', orientation='error', **source)",
    "read_bands": "(files, *, bands=None, pattern=None, alpha='error', orientation='error', frame=None, **source)",
    "weights.extend": "(kernel, bias, bands, *, of='RGB', new='zero', layout, sensor=None)",
    "weights.fold": "(kernel, bias, channel_map, *, layout, groups=1)",
    "weights.fold_exact": "(kernel, bias, channel_map, *, layout, groups=1)",
    "weights.transfer": "(target, source, *, rename=None, adapt=None)",
}

FIELDS = {
    "ChannelMap": ["matrix", "offset", "inputs", "outputs"],
    "Sensor": [
        "name",
        "bands",
        "aliases",
        "wavelengths",
        "range",
        "nodata",
        "dtype",
        "statistics",
    ],
    "Source": [
        "bands",
        "layout",
        "dtype",
        "bits",
        "range",
        "clip",
        "nodata",
        "sensor",
    ],
    "Target": ["bands", "layout", "dtype", "range", "mean", "std"],
    "Plan": ["source", "target", "via"],
    "Plans": ["plans"],
}


def signature(path):
    held = gp
    for name in path.split("."):
        held = getattr(held, name)
    found = inspect.signature(held)
    bare = [
        part.replace(annotation=inspect.Parameter.empty)
        for part in found.parameters.values()
    ]
    return str(
        found.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    )


@pytest.mark.parametrize("path", SIGNATURES)
def test_signatures_are_the_ones_of_the_contract(path):
    assert signature(path) == SIGNATURES[path]


@pytest.mark.parametrize("name", FIELDS)
def test_frozen_values_have_the_fields_of_the_contract(name):
    assert [field.name for field in dataclasses.fields(getattr(gp, name))] == FIELDS[
        name
    ]
    assert getattr(gp, name).__dataclass_params__.frozen


def test_public_names_are_sorted_and_all_pinned():
    assert gp.__all__ == sorted(gp.__all__)
    errors = {
        name
        for name in gp.__all__
        if isinstance(getattr(gp, name), type)
        and issubclass(getattr(gp, name), Exception)
    }
    assert set(gp.__all__) - errors == {path.split(".")[0] for path in SIGNATURES} | {
        "Plan"
    }
    public = {
        f"{cls}.{name}"
        for cls in FIELDS
        for name in vars(getattr(gp, cls))
        if not name.startswith("_")
    }
    plain = {
        "Plan.unit_map",
        "Plan.map",
        "Plan.fingerprint",
        "Plans.target",
        "Source.black",
    }
    unpinned = (
        public
        - set(SIGNATURES)
        - plain
        - {f"{cls}.{name}" for cls in FIELDS for name in FIELDS[cls]}
    )
    assert unpinned == set()


def test_every_public_name_is_documented():
    for path in [*SIGNATURES, *gp.__all__]:
        held = gp
        for name in path.split("."):
            held = getattr(held, name)
        assert inspect.getdoc(held), path
