"""Channel maps: making them, composing them, inverting them, and applying them in an array's own units."""

import json
import pickle
from fractions import Fraction

import numpy as np
import oracle
import pytest
import strategies as draws
from hypothesis import given, settings
from hypothesis import strategies as st

import graypipe as gp

RNG = np.random.default_rng(7)
BATCH = RNG.integers(0, 256, (64, 224, 224), np.uint8)
GRAY = BATCH[0]


def test_the_ways_to_make_a_map_give_the_matrix_they_say():
    assert gp.replicate().matrix == ((1.0,), (1.0,), (1.0,))
    assert gp.replicate("BGR", of=("NIR",), gains=(1, 0.5, 2)).matrix == (
        (1.0,),
        (0.5,),
        (2.0,),
    )
    assert gp.select("BGR", of="RGBY").matrix == (
        (0.0, 0.0, 1.0, 0.0),
        (0.0, 1.0, 0.0, 0.0),
        (1.0, 0.0, 0.0, 0.0),
    )
    renamed = gp.select({"R": "B04", "G": "B03"}, of=("B03", "B04"))
    assert (renamed.matrix, renamed.outputs) == (((0.0, 1.0), (1.0, 0.0)), ("R", "G"))
    mixed = gp.mix({"R": {"R": 0.5, "Y": 0.5}, "G": "G"}, of="RGBY")
    assert mixed.matrix == ((0.5, 0.0, 0.0, 0.5), (0.0, 1.0, 0.0, 0.0))
    assert gp.luminance().matrix == ((0.299, 0.587, 0.114),)
    assert gp.luminance("rec709", of="BGR").matrix == ((0.0722, 0.7152, 0.2126),)
    assert gp.luminance().outputs == ("gray",)


@pytest.mark.parametrize(
    "make",
    [
        lambda: gp.replicate(of="RG"),
        lambda: gp.replicate(gains=(1, 2)),
        lambda: gp.select("RX", of="RGB"),
        lambda: gp.mix({"R": {"Z": 1}}, of="RGB"),
        lambda: gp.mix({"R": 3}, of="RGB"),
        lambda: gp.mix({"R": {"R": float("nan")}}, of="RGB"),
        lambda: gp.mix(["R"], of="RGB"),
        lambda: gp.mix({}, of="RGB"),
        lambda: gp.luminance("rec1"),
        lambda: gp.luminance(of="RGY"),
        lambda: gp.ChannelMap([[1, 2]], inputs="R", outputs="R"),
        lambda: gp.ChannelMap([[1]], [1, 2], inputs="R", outputs="R"),
        lambda: gp.ChannelMap([1], inputs="R", outputs="R"),
        lambda: gp.ChannelMap([["1"]], inputs="R", outputs="R"),
        lambda: gp.ChannelMap([[float("inf")]], inputs="R", outputs="R"),
        lambda: gp.ChannelMap([[1]], inputs="Rr", outputs="R"),
        lambda: gp.replicate() >> gp.luminance(of="BGRX"),
        lambda: gp.luminance().inverse(),
        lambda: gp.ChannelMap([[1, 1], [1, 1]], inputs="RG", outputs="RG").inverse(),
        lambda: gp.ChannelMap(
            [[0.1, 0.3], [0.2, 0.6]], inputs="RG", outputs="RG"
        ).inverse(),
        lambda: gp.ChannelMap([[1, 0], [0, 0]], inputs="RG", outputs="RG").inverse(),
    ],
)
def test_what_makes_no_map_is_a_channel_error(make):
    with pytest.raises(gp.ChannelError):
        make()


def test_maps_are_frozen_hashable_and_survive_json_and_pickle():
    one = gp.ChannelMap(
        [[-0.0, 2], [1, 0.1]], [0, -1.5], inputs="RG", outputs=("a", "b")
    )
    assert str(one.matrix[0][0]) == "0.0"
    for twin in (
        gp.ChannelMap.from_json(one.to_json()),
        pickle.loads(pickle.dumps(one)),
    ):
        assert (twin, hash(twin)) == (one, hash(one))
    with pytest.raises(AttributeError):
        one.matrix = ((1.0,),)
    assert '"offset"' not in gp.replicate().to_json()


@pytest.mark.parametrize(
    "text",
    [
        '{"format":2}',
        "[]",
        '{"format":1,"inputs":"R"}',
        '{"format":1,"extra":1}',
        "nonsense",
    ],
)
def test_json_that_holds_no_map_is_an_error(text):
    with pytest.raises((ValueError, TypeError)):
        gp.ChannelMap.from_json(text)


def test_composition_matches_bands_by_name_not_by_position():
    swapped = gp.select("BGR", of="RGB")
    image = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    gray = (swapped >> gp.luminance())(image[..., ::-1], layout="HWC", dtype="float64")
    by_hand = image[..., ::-1].astype(float) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(gray[..., 0], by_hand, rtol=1e-14)
    again = gp.luminance()(
        swapped(image[..., ::-1], layout="HWC")[..., ::-1],
        layout="HWC",
        dtype="float64",
    )
    np.testing.assert_array_equal(gray, again)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)
)
def test_a_then_b_equals_b_of_a(seed, n, k, m):
    rng = np.random.default_rng(seed)
    a = gp.ChannelMap(
        rng.normal(size=(k, n)),
        rng.normal(size=k),
        inputs=tuple("abcd"[:n]),
        outputs=tuple("efgh"[:k]),
    )
    order = rng.permutation(k)
    b = gp.ChannelMap(
        rng.normal(size=(m, k)),
        rng.normal(size=m),
        inputs=[a.outputs[i] for i in order],
        outputs=tuple("ijkl"[:m]),
    )
    x = rng.normal(size=(4, 5, n))
    middle = a(x, layout="HWC")[..., order]
    np.testing.assert_allclose(
        (a >> b)(x, layout="HWC"), b(middle, layout="HWC"), rtol=1e-12, atol=1e-12
    )


def test_composition_is_exact_where_float64_is_not():
    inexact = [d for d in range(1, 65_536) if (1 / d) * d != 1]
    assert len(inexact) > 9_000
    for d in inexact[::8]:
        plan = gp.plan(
            gp.Source("gray", range=(0, d)),
            gp.Target("gray", "HW", "uint16", range=(0, d)),
        )
        assert plan.map.matrix == ((1.0,),)


def test_inverses_undo_permutations_and_average_replicas():
    image = RNG.integers(0, 65536, (6, 5, 4), dtype=np.uint16)
    turned = gp.select("YBGR", of="RGBY")
    np.testing.assert_array_equal(
        turned.inverse()(turned(image, layout="HWC"), layout="HWC"), image
    )
    three = RNG.normal(size=(3, 6, 5))
    mean = gp.replicate().inverse()(three, layout="CHW", out_layout="HW")
    np.testing.assert_allclose(mean, three.mean(axis=0), rtol=1e-14)
    gained = gp.replicate(gains=(1, 2, 3))
    np.testing.assert_allclose(
        gained.inverse().matrix, np.linalg.pinv(np.array(gained.matrix)), rtol=1e-14
    )
    tall = gp.ChannelMap(
        RNG.normal(size=(5, 3)),
        RNG.normal(size=5),
        inputs="RGB",
        outputs=tuple("abcde"),
    )
    np.testing.assert_allclose(
        tall.inverse().matrix,
        np.linalg.pinv(np.array(tall.matrix)),
        rtol=1e-9,
        atol=1e-12,
    )
    scaled = gp.ChannelMap([[1, 0], [0, 1e-30]], inputs="RG", outputs="RG")
    assert scaled.inverse().matrix == ((1.0, 0.0), (0.0, float(1 / Fraction(1e-30))))


@pytest.mark.parametrize("dtype", draws.DTYPES)
@pytest.mark.parametrize("order", draws.ORDERS)
def test_moves_keep_the_dtype_and_every_bit(dtype, order):
    image = draws.strided(draws.stored(RNG, (4, 5, 3), dtype), "crop", order)
    if image.dtype.kind == "f":
        image[0, 0] = np.nan, np.inf, -0.0
    picked = gp.select("BRG", of="RGB")(image, layout="HWC", out_layout="CHW")
    assert picked.dtype == image.dtype
    assert (
        picked.tobytes()
        == np.ascontiguousarray(image[..., [2, 0, 1]].transpose(2, 0, 1)).tobytes()
    )


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("uint8", "float32"), ("int64", "float32"), ("float64", "float64")],
)
def test_maps_that_compute_give_float32_or_float64(dtype, expected):
    image = draws.stored(RNG, (4, 5, 3), dtype, 0, 100)
    result = gp.luminance()(image, layout="HWC")
    assert (result.dtype, result.shape) == (expected, (4, 5, 1))
    oracle.assert_matches(
        result[..., 0],
        *(part[0] for part in oracle.affine(oracle.planes(image, "HWC"), *_numbers())),
    )


def _numbers():
    return gp.luminance().matrix, gp.luminance().offset


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_maps_equal_the_oracle_in_the_units_of_the_array(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    layout = data.draw(st.sampled_from(draws.LAYOUTS))
    count, made = (
        data.draw(st.integers(1, 5)) if "C" in layout else 1,
        data.draw(st.integers(1, 5)),
    )
    out_layout = data.draw(st.none() | draws.target_layouts(layout, made > 1))
    dtype, wanted = (
        data.draw(st.sampled_from(draws.DTYPES)),
        data.draw(st.none() | st.sampled_from(draws.DTYPES)),
    )
    m = gp.ChannelMap(
        rng.integers(-3, 4, (made, count)) / 2,
        rng.integers(-9, 9, made),
        inputs="RGBNY"[:count],
        outputs="ABCDE"[:made],
    )
    image = draws.stored(rng, draws.shape_of(layout, count, rng), dtype, -100, 100)
    image = draws.strided(
        image,
        data.draw(st.sampled_from(draws.STRIDES)),
        data.draw(st.sampled_from(draws.ORDERS)),
    )
    before = image.tobytes()
    result = m(image, layout=layout, out_layout=out_layout, dtype=wanted)
    y, scale = oracle.affine(oracle.planes(image, layout), m.matrix, m.offset)
    out_layout = out_layout or (layout if "C" in layout else layout + "C")
    kept = (
        "".join(letter for letter in layout if letter not in out_layout + "C")
        + out_layout
    )
    oracle.assert_matches(result, oracle.arrange(y, kept), oracle.arrange(scale, kept))
    assert image.tobytes() == before


def test_out_fixes_memory_and_dtype_and_excludes_copy_and_dtype():
    image = RNG.integers(0, 256, (4, 5), dtype=np.uint8)
    out = np.empty((4, 5, 3), np.float64)
    assert gp.replicate()(image, layout="HW", out=out) is not None
    np.testing.assert_array_equal(out, np.repeat(image[..., None], 3, -1))
    for extra in ({"dtype": "float64"}, {"copy": None}, {"copy": False}):
        with pytest.raises(gp.DTypeError, match="out="):
            gp.replicate()(image, layout="HW", out=out, **extra)


def test_a_band_that_is_not_read_spreads_no_nan():
    image = np.ones((3, 4, 2), np.float32)
    image[..., 1] = np.nan
    result = gp.mix({"A": {"R": 2}, "B": {"R": 1, "G": 0}}, of="RG")(
        image, layout="HWC"
    )
    np.testing.assert_array_equal(
        result, np.stack([np.full((3, 4), 2.0), np.ones((3, 4))], -1)
    )


def test_replicate_equals_repeat_along_a_last_axis():
    x = gp.replicate()(BATCH, layout="NHW")
    assert x.shape == (64, 224, 224, 3)
    assert x.dtype == np.uint8
    np.testing.assert_array_equal(x, np.repeat(BATCH[..., None], 3, -1))


def test_replicate_without_a_copy_shares_the_memory():
    x = gp.replicate()(BATCH, layout="NHW", copy=False)
    assert np.shares_memory(x, BATCH)
    np.testing.assert_array_equal(x, np.repeat(BATCH[..., None], 3, -1))


def test_replicate_equals_dstack_and_concatenate():
    np.testing.assert_array_equal(
        gp.replicate()(GRAY, layout="HW"), np.dstack((GRAY, GRAY, GRAY))
    )
    planes = gp.replicate()(GRAY, layout="HW", out_layout="CHW")
    np.testing.assert_array_equal(planes, np.concatenate([GRAY[None]] * 3))
    batch = BATCH[:5, ..., None]
    x = gp.replicate()(batch, layout="NHWC", out_layout="NCHW")
    np.testing.assert_array_equal(
        x, np.concatenate([batch] * 3, -1).transpose(0, 3, 1, 2)
    )


def test_replicate_fills_an_rgb_array():
    dummy = np.full((224, 224, 3), 7, np.uint8)
    returned = gp.replicate()(GRAY, layout="HW", out=dummy)
    assert np.shares_memory(returned, dummy)
    for channel in range(3):
        np.testing.assert_array_equal(dummy[..., channel], GRAY)


def test_replicate_keeps_dtype_and_values():
    for dtype in (
        "bool",
        "uint8",
        "uint16",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
    ):
        image = GRAY.astype(dtype)
        rgb = gp.replicate()(image, layout="HW")
        assert rgb.dtype == image.dtype
        np.testing.assert_array_equal(rgb, np.stack([image] * 3, -1))


def test_a_map_of_too_many_coefficients_is_refused_at_once():
    names = tuple(f"b{i}" for i in range(3000))
    text = gp.plan(
        gp.Source(names, range=(0, 1)), gp.Target("R"), {"R": names[0]}
    ).to_json()
    record = json.loads(text)
    record["target"]["bands"] = list(names)
    del record["via"]
    for build in (
        lambda: gp.select(names, of=names),
        lambda: gp.Plan.from_json(json.dumps(record)),
    ):
        with pytest.raises(
            gp.ChannelError, match=r"3000 to 3000 bands .* select the bands"
        ):
            build()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"format":1,,}', "line 1 column 13"),
        ("[" * 100_000, "nested too deeply"),
        ('{"format":1,"offset":NaN}', "NaN is not JSON"),
        ('{"format":1,"format":1}', "a key is repeated"),
        ('{"format":' + "1" * 5000 + "}", "integer"),
        (None, "must be str"),
    ],
)
@pytest.mark.parametrize("cls", [gp.ChannelMap, gp.Plan, gp.BandStats])
def test_text_that_is_not_json_is_refused_with_the_place(cls, text, place):
    with pytest.raises(gp.ChannelError, match=place) as caught:
        cls.from_json(text)
    assert len(str(caught.value)) < 600
