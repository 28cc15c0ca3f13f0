"""Plans against the oracle: any source, target, layout, dtype, stride and guard."""

import numpy as np
import oracle
import strategies as draws
from hypothesis import given, settings
from hypothesis import strategies as st

import graypipe as gp

NAMES = "RGBYN"


def ranges_for(data, dtype, count, rng):
    """Draw one (black, white) per band that ``dtype`` can hold, reversed at times."""
    info = (
        None
        if np.dtype(dtype).kind == "f"
        else np.iinfo(dtype)
        if dtype != "bool"
        else None
    )
    low, high = (
        (0.0, 1.0)
        if info is None
        else (float(max(info.min, -(2**40))), float(min(info.max, 2**40)))
    )
    pairs = []
    for _ in range(count):
        a, b = sorted(rng.uniform(low, high, 2))
        a, b = (round(a), round(b)) if info is not None else (a, b)
        pairs.append((b, a) if data.draw(st.booleans()) else (a, b))
    return [pair if pair[0] != pair[1] else (low, high) for pair in pairs]


@st.composite
def cases(draw):
    """Draw a source, a target, the map between them and an image."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(draws.DTYPES))
    layout = draw(st.sampled_from(draws.LAYOUTS))
    count = draw(st.integers(1, 5)) if "C" in layout else 1
    made = draw(st.integers(1, 4))
    out_layout = draw(draws.target_layouts(layout, made > 1))
    bands, outputs = tuple(NAMES[:count]), tuple("XYZV"[:made])
    via = rng.uniform(-1, 1, (made, count)) * rng.integers(0, 2, (made, count))
    ranges = ranges_for(_Drawn(draw), dtype, count, rng)
    shape = draws.shape_of(layout, count, rng)
    low, high = min(map(min, ranges)), max(map(max, ranges))
    image = draws.stored(rng, shape, dtype, low, high)
    values = [None, None, image.ravel()[0].item(), float("nan")]
    nodata = draw(st.sampled_from(values))
    if draw(st.booleans()):
        nodata = tuple(draw(st.sampled_from(values)) for _ in range(count))
    if np.dtype(dtype).kind == "f" and draw(st.booleans()):
        image.ravel()[rng.integers(0, image.size)] = np.nan
    image = draws.strided(
        image, draw(st.sampled_from(draws.STRIDES)), draw(st.sampled_from(draws.ORDERS))
    )
    source = gp.Source(
        bands, layout, range=ranges, clip=draw(st.booleans()), nodata=nodata
    )
    target = gp.Target(
        outputs,
        out_layout,
        draw(st.sampled_from(draws.DTYPES)),
        range=draw(st.sampled_from([(0, 1), (0, 255), (-1, 1), (1, 0)])),
        mean=draw(st.sampled_from([0, 0.5, tuple(rng.uniform(0, 1, made))])),
        std=draw(st.sampled_from([1, 0.5, tuple(rng.uniform(0.1, 1, made))])),
    )
    return image, source, target, gp.ChannelMap(via, inputs=bands, outputs=outputs)


class _Drawn:
    def __init__(self, draw):
        self.draw = draw


def expected(image, source, target, via):
    kept = "".join(
        letter for letter in source.layout if letter not in target.layout + "C"
    )
    return oracle.plan(
        image,
        layout=source.layout,
        out_layout=kept + target.layout,
        ranges=source.range
        if isinstance(source.range[0], tuple)
        else [source.range] * len(source.bands),
        via=via.matrix,
        mean=target.mean,
        std=target.std,
        target_range=target.range,
        clip=source.clip,
        nodata=source.nodata,
    )


@settings(max_examples=200, deadline=None)
@given(cases())
def test_a_plan_equals_the_oracle_and_leaves_the_image_alone(case):
    image, source, target, via = case
    before = image.tobytes()
    result = gp.plan(source, target, via)(image)
    assert image.tobytes() == before
    assert result.dtype == target.dtype
    assert result.flags.c_contiguous
    assert result.flags.writeable
    oracle.assert_matches(result, *expected(image, source, target, via))


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 5), st.sampled_from([1, 2, 3]))
def test_a_batch_equals_its_singles_bit_for_bit(case, count, threads):
    image, source, target, via = case
    if "N" in source.layout:
        source = gp.Source(
            source.bands,
            source.layout.replace("N", "D" if "D" not in source.layout else "T"),
            range=source.range,
            clip=source.clip,
            nodata=source.nodata,
        )
        target = gp.Target(
            target.bands,
            target.layout.replace("N", ""),
            target.dtype,
            range=target.range,
            mean=target.mean,
            std=target.std,
        )
    plan = gp.plan(source, target, via)
    images = [np.roll(image, shift, axis=-1) for shift in range(count)]
    singles = np.stack([plan(one) for one in images])
    for batch in (
        plan.batch(images, threads=threads),
        plan.batch(np.stack(images), threads=threads),
    ):
        assert batch.tobytes() == singles.tobytes()


def inside(room, how):
    """Return a window into ``room`` with two elements to spare on every side."""
    if how == "every other":
        return room[(slice(2, -2, 2),) * room.ndim]
    window = room[(slice(2, -2),) * room.ndim]
    return window[(slice(None, None, -1),) * room.ndim] if how == "flip" else window


@settings(max_examples=100, deadline=None)
@given(cases(), st.sampled_from(["crop", "flip", "every other"]))
def test_out_equals_fresh_memory_and_nothing_else_changes(case, how):
    image, source, target, via = case
    plan = gp.plan(source, target, via)
    fresh = plan(image)
    shape = [4 + size * (2 if how == "every other" else 1) for size in fresh.shape]
    room = np.ones(shape, fresh.dtype)
    covered = np.zeros(shape, bool)
    inside(covered, how)[...] = True
    result = plan(image, out=inside(room, how))
    assert result.tobytes() == fresh.tobytes()
    assert np.shares_memory(result, room)
    assert (room[~covered] == 1).all()


@settings(max_examples=100, deadline=None)
@given(cases())
def test_json_pickle_and_hash_round_trips_are_equal(case):
    import copy
    import pickle

    image, source, target, via = case
    plan = gp.plan(source, target, via)
    plan(image)
    for twin in (
        gp.Plan.from_json(plan.to_json()),
        pickle.loads(pickle.dumps(plan)),
        copy.deepcopy(plan),
    ):
        assert twin == plan
        assert hash(twin) == hash(plan)
        assert twin.to_json() == plan.to_json()
        assert twin.fingerprint == plan.fingerprint
        assert twin(image).tobytes() == plan(image).tobytes()
