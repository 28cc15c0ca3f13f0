"""ToBackbone in Dataset.map: elements, static shapes, errors and compilation."""

import pickle
from typing import NamedTuple

import numpy as np
import pytest
from adapters.tf_modes import Dataset, only, tf, unsized

import graypipe as gp
from graypipe.adapters import tf_data
from graypipe.adapters.tf_data import ToBackbone

RNG = np.random.default_rng(31)
GRAY = RNG.integers(0, 256, (5, 7, 9, 1), np.uint8)
EIGHT = gp.Source("gray", range=(0, 255))
PLAN = gp.plan(EIGHT, gp.preset("imagenet", layout="HWC"))
RGB = gp.plan(gp.Source("RGB", range=(0, 255)), PLAN.target)
EXPECTED = PLAN.batch(GRAY[..., 0])
MAP = ToBackbone(PLAN)


def assert_near(result, expected):
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6)


def test_it_replaces_grayscale_to_rgb():
    for dtype in ("uint8", "float32"):
        images = Dataset.from_tensor_slices(GRAY.astype(dtype)).batch(2)
        plan = gp.plan(EIGHT, gp.preset("rgb8", dtype=dtype))
        mapped = images.map(ToBackbone(plan), num_parallel_calls=tf.data.AUTOTUNE)
        peer = images.map(tf.image.grayscale_to_rgb)
        assert mapped.element_spec == peer.element_spec
        for ours, theirs in zip(mapped, peer, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_uint16_is_repeated_unlike_by_grayscale_to_rgb():
    deep = GRAY.astype(np.uint16) * 257
    with pytest.raises(tf.errors.UnimplementedError, match="uint16"):
        tf.image.grayscale_to_rgb(tf.constant(deep))
    plan = gp.plan(
        gp.Source("gray", bits=16), gp.preset("rgb8", dtype="uint16", range=(0, 65535))
    )
    for batch in (
        Dataset.from_tensors(deep),
        unsized([deep], tf.TensorSpec((None, None, None, 1), tf.uint16)),
    ):
        result = only(batch.map(ToBackbone(plan)))
        assert result.dtype == tf.uint16
        np.testing.assert_array_equal(result, np.repeat(deep, 3, -1))


def test_other_components_of_a_tuple_are_unchanged():
    labels, masks = np.arange(5), RNG.integers(0, 2, (5, 7, 9, 1), np.uint8)
    alone = Dataset.from_tensor_slices(GRAY).map(MAP)
    pairs = Dataset.from_tensor_slices((GRAY, labels)).map(MAP)
    nested = Dataset.from_tensor_slices((GRAY, {"mask": masks}, (labels, labels))).map(
        MAP
    )
    assert_near(np.stack(list(alone)), EXPECTED)
    for i, (image, label) in enumerate(pairs):
        assert_near(image, EXPECTED[i])
        assert label == i
    for i, (image, more, (label, _)) in enumerate(nested):
        assert_near(image, EXPECTED[i])
        np.testing.assert_array_equal(more["mask"], masks[i])
        assert label == i


def test_the_image_of_a_dict_is_found_by_its_key():
    element = {"image": GRAY, "mask": GRAY, "id": np.arange(5)}
    by_key = ToBackbone(PLAN, key="image")
    for i, result in enumerate(Dataset.from_tensor_slices(element).map(by_key)):
        assert sorted(result) == ["id", "image", "mask"]
        assert_near(result["image"], EXPECTED[i])
        np.testing.assert_array_equal(result["mask"], GRAY[i])
    result, label = only(Dataset.from_tensors((element, 3)).map(by_key))
    assert_near(result["image"], EXPECTED)
    assert label == 3


@pytest.mark.parametrize(
    ("shape", "result_shape"),
    [
        ((7, 9, 1), (7, 9, 3)),
        ((None, 7, 9, 1), (None, 7, 9, 3)),
        ((None, None, 1), (None, None, 3)),
        ((None, None, None, 1), (None, None, None, 3)),
        ((4, None, 9, None), (4, None, 9, 3)),
    ],
)
def test_static_shape_and_dtype_are_known(shape, result_shape):
    spec = tf.TensorSpec(shape, tf.uint8)
    assert unsized([], spec).map(MAP).element_spec == tf.TensorSpec(
        result_shape, tf.float32
    )
    moved = tf.TensorSpec((*shape[:-3], shape[-1], *shape[-3:-1]), tf.uint8)
    first = unsized([], moved).map(ToBackbone(PLAN, data_format="channels_first"))
    assert first.element_spec == tf.TensorSpec(
        (*result_shape[:-3], 3, *result_shape[-3:-1]), tf.float32
    )


def test_the_band_count_chooses_the_plan():
    both, colour = ToBackbone(PLAN, RGB), RNG.integers(0, 256, (2, 7, 9, 3), np.uint8)
    assert_near(only(Dataset.from_tensors(GRAY).map(both)), EXPECTED)
    assert_near(only(Dataset.from_tensors(colour).map(both)), RGB.batch(colour))


def test_arrays_and_tensors_work_outside_of_a_dataset():
    for image in (
        GRAY,
        tf.constant(GRAY),
        tf.Variable(GRAY),
        GRAY.astype(">u2"),
        GRAY[:, ::-1, ::-1],
    ):
        result = MAP(image)
        assert isinstance(result, tf.Tensor)
        assert_near(result, PLAN.batch(np.asarray(image)[..., 0].astype(np.uint8)))


def test_a_transform_can_be_pickled():
    again = pickle.loads(pickle.dumps(MAP))
    assert repr(again) == repr(MAP)
    assert "layout='HWC'" in repr(MAP)
    np.testing.assert_array_equal(again(GRAY), MAP(GRAY))


def compiled(spec, transform=MAP):
    """Return whether a graph for ``spec`` has a part that XLA compiles."""
    graph = (
        tf.function(transform, input_signature=[spec])
        .get_concrete_function()
        .graph.as_graph_def()
    )
    return any(part.attr["_XlaMustCompile"].b for part in graph.library.function)


def test_xla_compiles_only_known_static_shapes():
    assert compiled(tf.TensorSpec((7, 9, 1), tf.uint8))
    assert compiled(tf.TensorSpec((64, 7, 9, 1), tf.uint8))
    for shape in [
        (None, 7, 9, 1),
        (None, None, 1),
        (7, None, 1),
        (7, None, None),
        (None, None, None, 1),
    ]:
        assert not compiled(tf.TensorSpec(shape, tf.uint8)), shape
        assert not compiled(tf.TensorSpec(shape, tf.float32)), shape


def test_images_of_many_sizes_are_traced_once(monkeypatch):
    traced = []
    run = tf_data._run
    monkeypatch.setattr(
        tf_data,
        "_run",
        lambda execution, x, axis: traced.append(x.shape) or run(execution, x, axis),
    )
    images = [RNG.integers(0, 256, (3 + i, 60 - i, 1), np.uint8) for i in range(50)]
    dataset = unsized(images, tf.TensorSpec((None, None, 1), tf.uint8)).map(
        MAP, num_parallel_calls=2
    )
    for _ in range(2):
        for image, result in zip(images, dataset, strict=True):
            assert_near(result, PLAN(image[..., 0]))
    assert [shape.as_list() for shape in traced] == [[None, None, 1]]


def test_a_smaller_last_batch_is_not_traced_again(monkeypatch):
    traced = []
    run = tf_data._run
    monkeypatch.setattr(
        tf_data,
        "_run",
        lambda execution, x, axis: traced.append(x.shape) or run(execution, x, axis),
    )
    batches = list(Dataset.from_tensor_slices(GRAY).batch(2).map(MAP))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert_near(np.concatenate(batches), EXPECTED)
    assert [shape.as_list() for shape in traced] == [[None, 7, 9, 1]]


def test_the_graph_contains_no_python_function():
    for shape in [(7, 9, 1), (None, None, 1), (None, None, None)]:
        spec = tf.TensorSpec(shape, tf.float32)
        graph = (
            tf.function(MAP, input_signature=[spec])
            .get_concrete_function()
            .graph.as_graph_def()
        )
        nodes = [
            *graph.node,
            *(node for part in graph.library.function for node in part.node_def),
        ]
        assert nodes
        assert not [node.op for node in nodes if "PyFunc" in node.op]


REFUSED = {
    "rows without bands": (
        gp.LayoutError,
        GRAY[0, ..., 0],
        r"\(7, 9\), read as HW \(H=7 W=9\).*expand_dims\(x, -1\)",
    ),
    "a gray batch": (
        gp.ChannelError,
        np.zeros((8, 16, 16), np.uint8),
        r"got 16 bands in shape \(8, 16, 16\), read as HWC \(H=8 W=16 C=16\) or as NHW \(N=8 H=16 W=16\)",
    ),
    "a column": (
        gp.LayoutError,
        np.zeros((5, 1), np.uint8),
        r"read as HW \(H=5 W=1\)",
    ),
    "four bands": (
        gp.ChannelError,
        np.zeros((7, 9, 4), np.uint8),
        r"'gray' \(1\), got 4",
    ),
    "files not decoded": (gp.DTypeError, "scan.png", r"got string: decode it"),
    "complex numbers": (gp.DTypeError, GRAY.astype(np.complex64), "got complex64"),
    "bfloat16": (gp.DTypeError, tf.cast(GRAY, tf.bfloat16), "got bfloat16"),
    "a dict": (
        gp.DTypeError,
        {"image": GRAY},
        r"got a dict: pass the key of the image as key=, one of \['image'\]",
    ),
    "a tuple": (
        gp.DTypeError,
        ((GRAY, GRAY), 3),
        "got a tuple.*must be a component of the element, the first one",
    ),
    "ragged": (
        gp.DTypeError,
        tf.RaggedTensor.from_row_lengths(GRAY[0], [3, 4]),
        "dense tensor, got RaggedTensor",
    ),
    "sparse": (
        gp.DTypeError,
        tf.sparse.from_dense(GRAY[0]),
        "dense tensor, got SparseTensor",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_elements_without_an_image_are_refused_by_map(what):
    error, element, message = REFUSED[what]
    with pytest.raises(error, match=message) as raised:
        Dataset.from_tensors(element).map(MAP)
    assert raised.type is error


def test_unknown_rank_or_choice_of_plan_is_refused_by_map():
    with pytest.raises(gp.LayoutError, match=r"unknown rank.*expand_animations=False"):
        unsized([], tf.TensorSpec(None, tf.uint8)).map(MAP)
    with pytest.raises(gp.ChannelError, match="selects one of 2 plans"):
        unsized([], tf.TensorSpec((None, None, None), tf.uint8)).map(
            ToBackbone(PLAN, RGB)
        )


def test_an_unknown_band_count_is_checked_at_run_time():
    spec = tf.TensorSpec((None, None, None), tf.uint8)
    assert_near(only(unsized(GRAY[:1], spec).map(MAP)), EXPECTED[0])
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=r"expected the bands .*gray.* \(1\) on axis -1, got another number",
    ):
        only(unsized([np.repeat(GRAY[0], 3, -1)], spec).map(MAP))


def test_a_missing_key_is_refused():
    with pytest.raises(
        gp.DTypeError,
        match=r"under the key 'image', got dict: pass one of \['scan'\] as key=",
    ):
        Dataset.from_tensors({"scan": GRAY}).map(ToBackbone(PLAN, key="image"))
    with pytest.raises(
        gp.DTypeError, match=r"got S\w+Tensor: omit key= if the element"
    ):
        Dataset.from_tensors(GRAY).map(ToBackbone(PLAN, key="image"))
    for key in ("image", 2, -1):
        with pytest.raises(
            gp.DTypeError, match=r"tuple of 2 components.*its position, such as key=1"
        ):
            Dataset.from_tensors((3, GRAY)).map(ToBackbone(PLAN, key=key))
    with pytest.raises(
        gp.DTypeError, match=r"pass one of \['image', 'label'\] as key="
    ):
        Dataset.from_tensors(Sample(GRAY, 3)).map(ToBackbone(PLAN, key="scan"))


class Sample(NamedTuple):
    image: object
    label: object


SAMPLES = {
    "dict": ({"label": 3, "image": GRAY}, "image"),
    "named tuple": (Sample(GRAY, 3), "image"),
    "tuple": ((3, GRAY), 1),
    "first of a tuple": ((GRAY, 3), 0),
    "dict with a label": (({"image": GRAY}, 3), "image"),
    "named tuple with weights": ((Sample(GRAY, 3), 0.5), "image"),
    "image alone": (GRAY, 0),
    "dict with integer keys": ({1: GRAY, 0: 3}, 1),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_key_finds_the_image_and_keeps_the_rest(kind):
    sample, key = SAMPLES[kind]
    before = Dataset.from_tensors(sample)
    after = before.map(ToBackbone(PLAN, key=key))
    tf.nest.assert_same_structure(before.element_spec, after.element_spec)
    pairs = zip(
        tf.nest.flatten(only(before)), tf.nest.flatten(only(after)), strict=True
    )
    for stored, result in pairs:
        if stored.shape == GRAY.shape:
            assert_near(result, EXPECTED)
        else:
            assert stored == result


def test_a_label_in_place_of_the_image_leads_to_key():
    for labels in (3, [3, 4]):
        with pytest.raises(
            gp.LayoutError, match=r"another component.*position as key="
        ):
            Dataset.from_tensors((labels, GRAY)).map(MAP)


def test_mapping_a_plan_names_the_adapter():
    for element in (GRAY, (GRAY, 3), {"image": GRAY}, Sample(GRAY, 3)):
        with pytest.raises(
            gp.DTypeError, match=r"ToBackbone.*graypipe\.adapters\.tf_data"
        ):
            Dataset.from_tensors(element).map(PLAN)
    with pytest.raises(gp.DTypeError, match=r"got 2 arguments.*labels unchanged.*key="):
        Dataset.from_tensors((GRAY, 3)).map(PLAN)


@pytest.mark.parametrize("image", [[[1, 2]], np.ma.masked_equal(GRAY, 3), None])
def test_lists_and_masked_arrays_are_refused(image):
    with pytest.raises(gp.DTypeError, match=r"expected a .*NumPy array"):
        MAP(image)


def test_an_undeclared_range_is_refused_with_the_cure():
    with pytest.raises(
        gp.RangeError,
        match=r"image_dataset_from_directory.*gp.Source\('gray', range=\(0, 255\)\)",
    ):
        ToBackbone(gp.plan("gray", "imagenet"))


def test_plans_and_data_format_are_checked():
    with pytest.raises(gp.ChannelError, match="at least one plan"):
        ToBackbone()
    with pytest.raises(
        gp.LayoutError, match="'channels_last' or 'channels_first', got 'NHWC'"
    ):
        ToBackbone(PLAN, data_format="NHWC")


def test_the_dtype_must_be_declared_and_hold_the_range():
    eight = gp.plan(gp.Source("gray", dtype="uint8", range=(0, 255)), "imagenet")
    with pytest.raises(gp.DTypeError, match="declares dtype uint8, got float32"):
        Dataset.from_tensors(GRAY.astype(np.float32)).map(ToBackbone(eight))
    with pytest.raises(
        gp.RangeError,
        match="uint8 can only represent 0 to 255, but the source declares a black, "
        "white or nodata value of 65535",
    ):
        Dataset.from_tensors(GRAY).map(
            ToBackbone(gp.plan(gp.Source("gray", bits=16), "imagenet"))
        )


def test_normalising_twice_is_refused():
    with pytest.raises(gp.ChannelError, match=r"'gray' \(1\), got 3"):
        Dataset.from_tensors(GRAY).map(MAP).map(MAP)
    stored = gp.plan(gp.Source("RGB", dtype="uint8", range=(0, 255)), PLAN.target)
    with pytest.raises(gp.DTypeError, match="declares dtype uint8, got float32"):
        Dataset.from_tensors(GRAY).map(MAP).map(ToBackbone(stored))


def test_the_static_shape_has_the_bands_of_the_target():
    rescaled = Dataset.from_tensors(GRAY.astype(np.float32)).map(
        lambda x: x * [1, 2, 3]
    )
    assert rescaled.element_spec.shape[-1] == 3
    mapped = Dataset.from_tensors(GRAY).map(MAP)
    assert mapped.element_spec.shape == only(mapped).shape == (5, 7, 9, 3)
