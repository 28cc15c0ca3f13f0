"""Plans against the oracle: any source, target, layout, dtype, stride and guard."""

import numpy as np
import oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cases, expected

import graypipe as gp


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
