"""A mapped dataset can be saved and loaded, and runs in the workers of a tf.data service."""

import numpy as np
import pytest
from adapters.tf_modes import Dataset, tf, unsized

import graypipe as gp
from graypipe.adapters.tf_data import ToBackbone

RNG = np.random.default_rng(9)
GRAY = RNG.integers(0, 4096, (6, 5, 7, 1), np.uint16)
PLAN = gp.plan(
    gp.Source("gray", bits=12, clip=True, nodata=0), gp.preset("imagenet", layout="HWC")
)
MAP = ToBackbone(PLAN)


def mapped(static_size):
    """Return the mapped images, with a static size or without."""
    spec = tf.TensorSpec((None, None, None, 1), tf.uint16)
    images = (
        Dataset.from_tensor_slices(GRAY).batch(2, drop_remainder=True)
        if static_size
        else unsized([GRAY], spec)
    )
    return images.map(MAP, num_parallel_calls=2)


@pytest.mark.parametrize("static_size", [True, False])
def test_a_mapped_dataset_can_be_saved_and_loaded(tmp_path, static_size):
    dataset = mapped(static_size)
    dataset.save(str(tmp_path / "mapped"))
    again = Dataset.load(str(tmp_path / "mapped"))
    assert again.element_spec == dataset.element_spec
    for one, other in zip(again, dataset, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_mapped_dataset_can_be_snapshotted(tmp_path):
    for _ in range(2):
        kept = (
            Dataset.from_tensor_slices(GRAY).map(MAP).snapshot(str(tmp_path / "kept"))
        )
        np.testing.assert_allclose(
            np.stack(list(kept)), PLAN.batch(GRAY[..., 0]), rtol=0, atol=2e-6
        )


@pytest.fixture(scope="module")
def service():
    """Return the address of a tf.data service of one dispatcher and one worker."""
    dispatcher = tf.data.experimental.service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    worker = tf.data.experimental.service.WorkerServer(
        tf.data.experimental.service.WorkerConfig(
            dispatcher_address=address, heartbeat_interval_ms=100
        )
    )
    yield dispatcher.target
    del worker, dispatcher


def test_a_map_runs_in_a_service_worker(service):
    images = Dataset.from_tensor_slices(GRAY).map(MAP)
    unbatched = tf.data.experimental.service.distribute("parallel_epochs", service)
    np.testing.assert_allclose(
        np.stack(list(images.apply(unbatched))),
        PLAN.batch(GRAY[..., 0]),
        rtol=0,
        atol=2e-6,
    )


def test_a_map_of_unknown_sizes_runs_in_a_service_worker(service):
    sizes = Dataset.range(2, 6).map(
        lambda n: tf.cast(tf.fill((n, 2 * n, 1), 7 * n), tf.uint16)
    )
    assert sizes.element_spec.shape.as_list() == [None, None, 1]
    results = list(
        sizes.map(MAP).apply(
            tf.data.experimental.service.distribute("parallel_epochs", service)
        )
    )
    for n, image in enumerate(results, 2):
        np.testing.assert_allclose(
            image, PLAN(np.full((n, 2 * n), 7 * n, np.uint16)), rtol=0, atol=2e-6
        )
