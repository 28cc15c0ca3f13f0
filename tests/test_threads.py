"""One plan, called by many threads at once.

``GRAYPIPE_THREAD_ROUNDS`` repeats the tests more often.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import graypipe as gp
from graypipe.engine import MAX_CACHED_RUNS

THREADS = 8
ROUNDS = int(os.environ.get("GRAYPIPE_THREAD_ROUNDS", "20"))

MIX = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}
PLANS = {
    "repeated": lambda: gp.plan("gray", "imagenet"),
    "copied": lambda: gp.plan("gray", "rgb8"),
    "normalised": lambda: gp.plan("RGB", "imagenet"),
    "guarded": lambda: gp.plan(gp.Source("gray", clip=True, nodata=0), "imagenet"),
    "mixed": lambda: gp.plan(gp.Source("RGBY", "CHW", range=(0, 255)), "unit", MIX),
}


@pytest.fixture(autouse=True)
def frequent_switches():
    """Let threads take turns every few instructions of Python."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(function):
    """Call ``function`` in several threads that start together; return the results."""
    barrier = threading.Barrier(THREADS)

    def start_together(number):
        barrier.wait()
        return function(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(start_together, range(THREADS)))


def images_of(plan, count, dtypes=("uint8", "uint16", "float32")):
    """Return images of different shapes, strides and dtypes."""
    rng = np.random.default_rng(5)
    images = []
    for index in range(count):
        dtype = np.dtype(dtypes[index % len(dtypes)])
        sizes = {"H": 3 + index % 17, "W": 3 + index // 17, "C": len(plan.source.bands)}
        shape = [sizes[axis] for axis in plan.source.layout]
        if dtype.kind == "f":
            image = rng.random(shape).astype(dtype)
        else:
            image = rng.integers(0, 256, shape).astype(dtype)
        images.append(np.flip(image) if index % 2 else image)
    return images


@pytest.mark.parametrize("name", PLANS)
def test_a_new_plan_is_called_by_many_threads(name):
    images = images_of(PLANS[name](), 6)
    expected = [PLANS[name]()(image) for image in images]
    for _ in range(ROUNDS):
        plan = PLANS[name]()  # all threads choose its kernels at the same time

        def convert(number, plan=plan):
            order = np.roll(np.arange(len(images)), number)
            return {int(i): plan(images[i]) for i in order}

        for results in in_threads(convert):
            for i, result in results.items():
                np.testing.assert_array_equal(result, expected[i])


@pytest.mark.parametrize("name", ["repeated", "mixed"])
def test_many_shapes_are_converted_by_many_threads(name):
    """More than an execution caches, so that threads empty its cache under others."""
    plan = PLANS[name]()
    images = images_of(plan, MAX_CACHED_RUNS + 40, ("uint8",))
    expected = [PLANS[name]()(image) for image in images]

    def convert(number):
        order = np.random.default_rng(number).permutation(len(images))
        return {int(i): plan(images[i]) for i in order}

    for results in in_threads(convert):
        for i, result in results.items():
            np.testing.assert_array_equal(result, expected[i])


@pytest.mark.parametrize("name", PLANS)
def test_properties_are_computed_by_many_threads(name):
    reference = PLANS[name]()
    image = images_of(reference, 1, ("uint8",))[0]
    expected = reference(image)
    for _ in range(ROUNDS):
        plan = PLANS[name]()

        def use(number, plan=plan):
            if number % 2:
                return plan.fingerprint, plan.to_json(), plan(image)
            batch = plan.batch([image] * 2, threads=2)
            return plan.fingerprint, gp.Plan.from_json(plan.to_json()), batch[1]

        for fingerprint, loaded, result in in_threads(use):
            assert fingerprint == reference.fingerprint
            assert loaded in (reference, reference.to_json())
            np.testing.assert_array_equal(result, expected)


def test_threads_fill_their_own_part_of_one_array():
    plan = gp.plan("gray", "imagenet")
    images = np.random.default_rng(6).integers(0, 256, (THREADS, 40, 50), np.uint8)
    expected = np.stack([plan(image) for image in images])
    for _ in range(ROUNDS):
        out = np.zeros_like(expected)
        in_threads(lambda number, out=out: plan(images[number], out=out[number]))
        np.testing.assert_array_equal(out, expected)
