"""The numba engine: against float64, against the NumPy engine bit for bit, and within the memory it was given."""

import numpy as np
import oracle
import pytest

from graypipe.engine import numba_engine, numpy_engine, value_tests
from graypipe.engine.spec import AffineSpec
from graypipe.errors import RangeError

RNG = np.random.default_rng(11)
ENGINES = {"numba": numba_engine, "numpy": numpy_engine}
NAN = float("nan")

SPECS = {
    "replicate": AffineSpec(((0.5,), (0.25,), (-1.5,)), (1.0, -2.0, 0.0), (3.0,)),
    "one band": AffineSpec(((0.1,),), (0.0,), (0.0,)),
    "pick": AffineSpec(
        ((0, 0, 0.5, 0), (0, 0.3, 0, 0), (0.1, 0, 0, 0)),
        (1.0, 2.0, 0.0),
        (0.0, 1.0, 0.0, 4.0),
    ),
    "mix": AffineSpec(
        ((0.5, 0, 0, 0.5), (0.2, 0.3, 0.5, 0), (0.1, 0.2, 0.3, 0.4)),
        (1.0, 0.0, -7.0),
        (2.0, 0, 0, 1.0),
    ),
    "mix of three": AffineSpec(
        ((0.5, 0.1, 0.2), (0.2, 0.3, -0.5), (0.1, 0.2, 0.3)),
        (1.0, 0.0, -7.0),
        (2.0, 0, 1.0),
    ),
    "mix of four": AffineSpec(
        ((0.5, 0.1, 0.2, -0.5), (0.2, 0.3, 0.5, 1), (0.1, 0.2, 0.3, 0.4)),
        (0.0, 0.0, 1.0),
        (0.0,) * 4,
    ),
    "wide mix": AffineSpec(
        ((0.3, -0.2, 0.5, 0.1, -1.0, 2.0), (0, 0, 0, 0, 0, 0)), (0.5, 2.5), (0.0,) * 6
    ),
    "guards": AffineSpec(
        ((0.5, 0), (0.2, 0), (-1.0, 0)),
        (1.0, 2.0, 3.0),
        (1.0, 0.0),
        ((2.0, 9.0), (0.0, 1.0)),
        5.0,
    ),
    "guarded mix": AffineSpec(
        ((0.5, 0.5), (0.2, -0.2)), (1.0, 0.0), (0.0, 0.0), ((2.0, 9.0), (3.0, 8.0)), 5.0
    ),
    "nan nodata": AffineSpec(((0.5, 0.5, 1.0),), (1.0,), (0.0, 0.0, 2.0), None, NAN),
    "moves": AffineSpec(
        ((0, 0, 1.0), (0, 1.0, 0), (0, 0, 1.0)), (0.0,) * 3, (0.0,) * 3
    ),
    "repeats": AffineSpec(((1.0,), (1.0,), (1.0,)), (0.0,) * 3, (0.0,)),
}

SOURCES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
]
PAIRS = [
    *((source, "float32") for source in [*SOURCES, ">u2", ">f4"]),
    ("uint8", "uint8"),
    ("float32", "uint8"),
]
PAIRS += [
    ("uint8", "float16"),
    ("uint8", ">f4"),
    ("float32", "float64"),
    ("float32", "int16"),
    ("uint16", "bool"),
]
PAIRS += [
    ("float16", "float16"),
    ("bool", "bool"),
    (">u2", ">u2"),
    ("float64", "float64"),
    ("uint16", "uint16"),
]

VIEWS = {
    "whole": lambda planes: planes,
    "crop": lambda planes: planes[:, 3:-2, 5:-7],
    "rows flipped": lambda planes: planes[:, ::-1],
    "columns flipped": lambda planes: planes[:, :, ::-1],
    "both flipped": lambda planes: planes[:, ::-1, ::-1],
    "bands flipped": lambda planes: planes[::-1],
    "transposed": lambda planes: planes.swapaxes(1, 2),
    "every fifth": lambda planes: planes[:, ::2, ::5],
    "one pixel": lambda planes: planes[:, :1, :1],
    "one row": lambda planes: planes[:, 4:5],
    "one column": lambda planes: planes[:, :, 6:7],
    "no row": lambda planes: planes[:, :0],
    "no column": lambda planes: planes[:, :, :0],
    "one pixel repeated": lambda planes: np.broadcast_to(
        planes[:, :1, :1], planes.shape
    ),
}

TARGETS = {
    "planar": lambda shape, dtype: np.full(shape, 77, dtype),
    "interleaved": lambda shape, dtype: np.full(
        (*shape[1:], shape[0]), 77, dtype
    ).transpose(2, 0, 1),
    "every second": lambda shape, dtype: np.full((*shape[:2], 2 * shape[2]), 77, dtype)[
        :, :, ::-2
    ],
}


def planes(dtype, bands, shape=(23, 101), interleaved=False):
    """Return planes with nodata, NaN, infinities and both zeros in them, read-only."""
    made = RNG.integers(0, 12, (bands, *shape)).astype(np.float64) - (
        4 if np.dtype(dtype).kind in "if" else 0
    )
    if np.dtype(dtype).kind == "f":
        made += RNG.integers(0, 4, made.shape) / 4
        for value in (NAN, np.inf, -np.inf, -0.0, 5.0):
            made.reshape(-1)[RNG.integers(0, made.size, 9)] = value
    made = made.astype(dtype)
    made = (
        np.moveaxis(np.ascontiguousarray(np.moveaxis(made, 0, -1)), -1, 0)
        if interleaved
        else made
    )
    made.flags.writeable = False
    return made


def execute(engine, spec, source, target):
    bind = ENGINES[engine].prepare(spec, source.dtype, target.dtype)
    if bind(source, target)(source, target):
        value_tests.check_values(spec, source.dtype, source)
    return target


def reference(spec, source, target="float32"):
    """Return (y, scale) in float64, from the definition of a pass; near integer targets ties are ties to 2^-31."""
    x = source.astype(np.float64)
    same = np.isnan(x) if spec.nodata != spec.nodata else x == spec.nodata
    empty = same.any(axis=0)
    if spec.clip is not None:
        low, high = np.transpose(spec.clip)[:, :, None, None]
        x = np.where(x < low, low, np.where(x > high, high, x))
    with np.errstate(invalid="ignore"):
        y, scale = oracle.affine(x, spec.matrix, spec.offset, spec.black_levels)
    y[:, empty], scale[:, empty] = 0, 0
    return (
        y if np.dtype(target).kind == "f" else np.round(y * 2.0**30) / 2.0**30
    ), scale


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("spec", SPECS)
def test_every_pass_is_what_float64_says(engine, source, target, spec):
    spec = SPECS[spec]
    for interleaved in (False, True):
        x = planes(source, len(spec.black_levels), interleaved=interleaved)
        for layout in ("planar", "interleaved"):
            out = TARGETS[layout]((len(spec.matrix), *x.shape[1:]), target)
            with np.errstate(all="ignore"):
                oracle.assert_matches(
                    execute(engine, spec, x, out), *reference(spec, x, target)
                )


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    ("source", "target"),
    [("uint8", "float32"), ("float32", "float32"), ("float32", "uint8")],
)
def test_both_engines_agree_bit_for_bit_whatever_the_strides(
    source, target, spec, view
):
    spec = SPECS[spec]
    for interleaved in (False, True):
        x = VIEWS[view](planes(source, len(spec.black_levels), interleaved=interleaved))
        for layout in TARGETS.values():
            shape = (len(spec.matrix), *x.shape[1:])
            outs = [
                execute(engine, spec, x, layout(shape, target)) for engine in ENGINES
            ]
            assert outs[0].tobytes() == outs[1].tobytes()


@pytest.mark.parametrize(
    "pair",
    [("uint8", "float32"), ("uint8", "uint8"), ("float16", "float16"), (">u2", ">u2")],
)
@pytest.mark.parametrize(
    "width", [1, 2, 15, 16, 17, 63, 64, 65, 2047, 2049, 4099, 9000]
)
def test_vectors_and_their_remainders_give_the_same_pixels(pair, width):
    for spec in (SPECS["repeats"], SPECS["replicate"]):
        x = planes(pair[0], 1, (2, width))
        for layout in ("planar", "interleaved"):
            out = execute("numba", spec, x, TARGETS[layout]((3, 2, width), pair[1]))
            singles = np.empty_like(out)
            bind = numba_engine.prepare(spec, x.dtype, out.dtype)
            for p in range(0, width, max(1, width // 50)):
                pixel = x[:, :, p : p + 1], singles[:, :, p : p + 1]
                bind(*pixel)(*pixel)
                assert singles[:, :, p].tobytes() == out[:, :, p].tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(40, 5000), (2, 9000), (33, 700), (3, 3), (200, 17), (2, 1), (64, 64)]
)
def test_contiguous_columns_are_turned_whatever_their_number(dtype, shape):
    for bands in (1, 3, 13):
        x = RNG.integers(0, 250, (bands, *shape[::-1])).astype(dtype).swapaxes(1, 2)
        picks = [0, 0, 0] if bands == 1 else [2, 0, 1]
        spec = AffineSpec(
            tuple(tuple(float(j == pick) for j in range(bands)) for pick in picks),
            (0.0,) * 3,
            (0.0,) * bands,
        )
        for layout in ("planar", "interleaved"):
            out = execute("numba", spec, x, TARGETS[layout]((3, *shape), dtype))
            np.testing.assert_array_equal(out, x[picks])


@pytest.mark.parametrize("rows", [1, 2, 3100])
def test_planes_too_large_for_a_cache_are_copied_whole(rows):
    spec = SPECS["moves"]
    x = RNG.integers(0, 256, (3, rows, 3_300_000 // rows), np.uint8)
    np.testing.assert_array_equal(
        execute("numba", spec, x, np.zeros_like(x)), x[[2, 1, 2]]
    )
    crop = x[:, :, 5:-7]
    np.testing.assert_array_equal(
        execute("numba", spec, crop, np.zeros(crop.shape, np.uint8)), crop[[2, 1, 2]]
    )


@pytest.mark.parametrize("spec", ["replicate", "mix", "moves"])
def test_frames_equal_their_singles_however_they_lie(spec):
    spec = SPECS[spec]
    x = planes("uint8", len(spec.black_levels), (2, 3, 37, 41))
    for source in (
        x,
        np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0),
        x[:, :, ::-1, 2:30],
    ):
        for order in ((0, 1, 2, 3, 4), (4, 0, 1, 2, 3), (2, 0, 1, 3, 4)):
            shape = (len(spec.matrix), *source.shape[1:])
            memory = np.full(
                [shape[order.index(axis)] for axis in range(5)],
                77,
                "uint8" if spec.selected_bands else "float32",
            )
            out = execute("numba", spec, source, memory.transpose(order))
            for lead in np.ndindex(2, 3):
                image = source[(slice(None), *lead)]
                single = np.empty((len(spec.matrix), *image.shape[1:]), memory.dtype)
                assert (
                    execute("numba", spec, image, single).tobytes()
                    == out[(slice(None), *lead)].tobytes()
                )
    nothing = np.empty((len(spec.matrix), 0, 3, 37, 41), memory.dtype)
    assert execute("numba", spec, x[:, :0], nothing).size == 0


@pytest.mark.parametrize("spec", ["replicate", "mix", "guards", "repeats", "moves"])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_nothing_around_the_target_is_touched(spec, kind):
    spec = SPECS[spec]
    if not spec.selected_bands:
        kind = "float32"
    for height, width in ((1, 1), (3, 17), (5, 2100), (70, 61)):
        x = planes(
            "uint8" if kind != "float32" else "float32",
            len(spec.black_levels),
            (height, width),
        )
        n = len(spec.matrix)
        for margin in (1, 7):
            planar = np.full((n, height + 2 * margin, width + 2 * margin), 77, kind)
            woven = np.full((height + 2 * margin, width + 2 * margin, n), 77, kind)
            flat = np.full(n * height * width + 2 * margin, 77, kind)
            inner = (slice(margin, -margin), slice(margin, -margin))
            for memory, out in [
                (planar, planar[:, *inner]),
                (woven, woven[inner].transpose(2, 0, 1)),
                (flat, flat[margin:-margin].reshape(n, height, width)),
                (
                    flat,
                    flat[margin:-margin].reshape(height, width, n).transpose(2, 0, 1),
                ),
            ]:
                execute("numba", spec, x, out)
                expected = execute("numpy", spec, x, np.empty((n, height, width), kind))
                assert out.tobytes() == expected.tobytes()
                out[...] = 77
                assert (memory == 77).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_an_implied_range_is_refused_wherever_the_value_stands(engine, dtype):
    spec = AffineSpec(
        ((0.5, 0, 0), (0, 0.5, 0)), (0.0, 0.0), (0.0,) * 3, check_implied_range=True
    )
    image = np.full((3, 67, 71), 0.5, dtype)
    image[2] = 200  # not read
    image[0, 1, 1] = NAN
    out = np.empty((2, 67, 71), "float32")
    execute(engine, spec, image, out)
    for band, row, column, value in (
        (0, 0, 0, 2.5),
        (1, 66, 70, 255),
        (0, 33, 5, -1.5),
        (1, 20, 64, np.inf),
    ):
        strange = image.copy()
        strange[band, row, column] = value
        with pytest.raises(RangeError, match="declare range="):
            execute(engine, spec, strange, out)
    frames = np.stack([image, strange], axis=1)
    with pytest.raises(RangeError, match="declare range="):
        execute(engine, spec, frames, np.empty((2, 2, 67, 71), "float32"))


@pytest.mark.parametrize("engine", ENGINES)
def test_nodata_is_no_evidence_against_an_implied_range(engine):
    spec = AffineSpec(
        ((0.5,),), (1.0,), (0.0,), nodata=-9999.0, check_implied_range=True
    )
    image = np.full((1, 9, 9), 0.5, "float32")
    image[0, 3, 3] = -9999
    out = execute(engine, spec, image, np.empty((1, 9, 9), "float32"))
    assert (out[0, 3, 3], out[0, 0, 0]) == (0.0, 1.25)
    image[0, 3, 4] = 3.0
    with pytest.raises(RangeError, match=r"from 0\.5 to 3\b"):
        execute(engine, spec, image, out)


def test_more_bands_than_a_kernel_holds_are_still_computed():
    spec = AffineSpec(((0.01,) * 400,), (1.0,), (0.0,) * 400)
    x = planes("uint8", 400, (5, 7))
    oracle.assert_matches(
        execute("numba", spec, x, np.empty((1, 5, 7), "float32")), *reference(spec, x)
    )


@pytest.mark.parametrize("dtype", ["uint64", "int64"])
def test_the_largest_integers_move_unchanged(dtype):
    x = np.array([[[np.iinfo(dtype).max, np.iinfo(dtype).min, 2**53 + 1]]], dtype)
    for layout in TARGETS.values():
        out = execute("numba", SPECS["repeats"], x, layout((3, 1, 3), dtype))
        np.testing.assert_array_equal(out, np.repeat(x, 3, axis=0))


def test_memory_that_is_not_aligned_is_read_and_written():
    x = np.frombuffer(
        b"\0" + planes("float32", 1, (9, 33)).tobytes(), "float32", offset=1
    ).reshape(1, 9, 33)
    for layout in ("planar", "interleaved"):
        expected = execute(
            "numpy", SPECS["replicate"], x, TARGETS[layout]((3, 9, 33), "float32")
        )
        memory = np.zeros(3 * 9 * 33 * 4 + 1, "uint8")[1:].view("float32")
        out = (
            memory.reshape((3, 9, 33))
            if layout == "planar"
            else memory.reshape((9, 33, 3)).transpose(2, 0, 1)
        )
        assert not out.flags.aligned
        assert (
            execute("numba", SPECS["replicate"], x, out).tobytes() == expected.tobytes()
        )
