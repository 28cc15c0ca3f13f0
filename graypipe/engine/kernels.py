"""Every compiled function of the numba engine, in one file.

It is one file on purpose. numba's on-disk cache watches only the source file of the
function it compiles: with helpers in other files, an edit there would silently keep
running the stale machine code of the kernels that inline them. `kernel_cache` names
the cache folder after the contents of this file, so this file imports nothing from
the package, and no constant that the kernels use is defined elsewhere.

A kernel works on planes, arrays of shape (bands, rows, columns). Arrays are typed by
their elements alone; coefficients, sizes and strides are run-time values, so nothing
is compiled per plan, layout or shape. Offsets and strides are counted in bytes.

No flag relaxes arithmetic: every operation rounds once, in the order written, so a
pixel's result depends on nothing but the pixel. ``fastmath`` and ``contract`` would
make it depend on the position in a vector, as the sign of a sum of several NaN does.

Gains noted at an optimisation are times saved on one thread of an AMD Zen 3, for
images of about 224 x 224 pixels unless another size is given.
"""

# mypy: ignore-errors
# ruff: noqa: ARG001, C901, PLR0912, PLR0917
# numba's type inference replaces annotations here, and it calls intrinsics with
# keyword arguments, so their arguments keep their names even where unused. Each
# function call costs compile time, so a kernel is one long function.

from enum import IntEnum

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array
from numba.np.unsafe.ndarray import to_fixed_tuple


class MemoryLayout(IntEnum):
    """How the pixels of (bands, rows, columns) planes lie in memory."""

    PLANAR = 1  # neighbouring columns of a band are adjacent
    INTERLEAVED = 2  # the bands of a pixel are adjacent, and so are the pixels
    REVERSED = 3  # as PLANAR, but from right to left
    FORTRAN = 4  # neighbouring rows of a band are adjacent
    STRIDED = 5  # anything else


# Most pixels in a block of `one_to_three` and `copy_bands`: a row of float32 fills
# 16 KiB, half of a first-level cache.
PIXELS = 4096

# Stack memory that the rows of a block share.
SCRATCH = 80 * 1024

# Most pixels in a block of `general`, so that the rows of a few bands stay in the
# first-level cache; 2048 pixels take 5 % longer.
MIXED_PIXELS = 1024

# Bands read plus bands written; more would leave blocks of a few pixels.
MOST_ROWS = 256

# The vector register that every x86-64 and every 64-bit ARM processor has, in bytes.
VECTOR = 16

# Bytes of two such registers, or of one AVX2 register.
WIDE = 32

# Bytes of a cache line.
CACHE_LINE = 64

# Flags of `general`. SAME: the target holds elements of the computing type.
CLIP, IMPLIED, NODATA, ROUND, SAME = 1, 2, 4, 8, 16

# Bytes of a band that are copied at a time: further copies of the band find them in
# the first-level cache.
COPIED = 4096

_kernel = numba.njit(nogil=True)
_helper = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
_inlined = numba.njit(inline="always")


# Memory: views at byte offsets, and scratch on the stack


def _contiguous(context, builder, flat, data, size):
    """Emit an array struct of ``size`` contiguous elements that owns nothing."""
    view = make_array(flat)(context, builder)
    element = context.get_data_type(flat.dtype)
    width = context.get_constant(types.intp, context.get_abi_sizeof(element))
    populate_array(
        view,
        data=data,
        shape=cgutils.pack_array(builder, [size]),
        strides=cgutils.pack_array(builder, [width]),
        itemsize=width,
        meminfo=None,
    )
    return view._getvalue()


def _address(context, builder, kind, array, offset, element):
    """Emit the address of an ``element`` in ``array``, which is of type ``kind``."""
    data = make_array(kind)(context, builder, array).data
    return cgutils.pointer_add(builder, data, offset, element.as_pointer())


@intrinsic
def memory(typing, array, offset, size, like):
    """View ``size`` elements of the type of ``like``, ``offset`` bytes into ``array``.

    The view is contiguous and possibly unaligned. A loop over such views becomes
    vector instructions; over the strided arrays themselves it is 2-8 times slower.
    """
    flat = types.Array(like.dtype, 1, "C", aligned=False)

    def emit(context, builder, signature, arguments):
        array, offset, size, _ = arguments
        element = context.get_data_type(flat.dtype)
        data = _address(context, builder, signature.args[0], array, offset, element)
        return _contiguous(context, builder, flat, data, size)

    return flat(array, types.intp, types.intp, like), emit


@intrinsic
def stack(typing, like):
    """Reserve SCRATCH bytes of the stack as elements of the type of ``like``."""
    flat = types.Array(like.dtype, 1, "C", aligned=False)

    def emit(context, builder, signature, arguments):
        element = context.get_data_type(flat.dtype)
        width = context.get_abi_sizeof(element)
        size = context.get_constant(types.intp, SCRATCH // width)
        data = cgutils.alloca_once(builder, element, size=size)
        data.align = CACHE_LINE
        return _contiguous(context, builder, flat, data, size)

    return flat(like), emit


@intrinsic
def copy_bytes(typing, source, start, target, at, size):
    """Copy ``size`` bytes from offset ``start`` to offset ``at`` by `memcpy`.

    For the short rows of a crop it takes 40 % less than a loop.
    """

    def emit(context, builder, signature, arguments):
        source, start, target, at, size = arguments
        byte = ir.IntType(8)
        origin = _address(context, builder, signature.args[0], source, start, byte)
        end = _address(context, builder, signature.args[2], target, at, byte)
        cgutils.raw_memcpy(builder, end, origin, size, 1)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp, types.intp), emit


@intrinsic
def prefetch(typing, array, offset):
    """Ask for the cache line ``offset`` bytes into ``array``, or outside of it."""

    def emit(context, builder, signature, arguments):
        byte, flag = ir.IntType(8), ir.IntType(32)
        pointer = _address(context, builder, signature.args[0], *arguments, byte)
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), flag, flag, flag])
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", (byte.as_pointer(),), kind
        )
        # To read, into every cache, data.
        builder.call(function, [pointer, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


# Vectors: permutations within registers, for which LLVM finds slower code by itself


class _Vectors:
    """Loads, stores and shuffles of vectors of ``count`` elements, in an intrinsic."""

    def __init__(self, context, builder, dtype, count):
        self.context, self.builder, self.count = context, builder, count
        self.type = ir.VectorType(context.get_data_type(dtype), count)

    def load(self, kind, array, offset):
        place = _address(self.context, self.builder, kind, array, offset, self.type)
        return self.builder.load(place, align=1)

    def store(self, value, kind, array, offset):
        place = _address(self.context, self.builder, kind, array, offset, self.type)
        self.builder.store(value, place, align=1)

    def shuffle(self, first, second, lanes):
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
        return self.builder.shuffle_vector(first, second, lanes)

    def pack(self, scalars):
        packed = ir.Constant(self.type, ir.Undefined)
        for lane, scalar in enumerate(scalars):
            packed = self.builder.insert_element(packed, scalar, ir.IntType(32)(lane))
        return packed


def _elements(dtype, width):
    return width // (dtype.bitwidth // 8)


def _to_float(builder, vector, dtype, vector_type):
    """Convert a vector of ``dtype`` to a vector of floats of at least its width."""
    if isinstance(dtype, types.Integer):
        convert = builder.sitofp if dtype.signed else builder.uitofp
        return convert(vector, vector_type)
    if vector.type != vector_type:
        return builder.fpext(vector, vector_type)
    return vector


@intrinsic
def transpose_square(typing, source, start, step, target, at, pitch):
    """Copy n columns of n elements, ``step`` bytes apart, as rows ``pitch`` apart.

    n elements fill a vector. In each of log2(n) steps the vectors of the first half
    are interleaved with those of the second half; the last step leaves the rows.
    """

    def emit(context, builder, signature, arguments):
        source_type, target_type = signature.args[0], signature.args[3]
        source, start, step, target, at, pitch = arguments
        n = _elements(source_type.dtype, VECTOR)
        vectors = _Vectors(context, builder, source_type.dtype, n)
        low = [n * (k % 2) + k // 2 for k in range(n)]
        high = [lane + n // 2 for lane in low]
        rows = []
        for k in range(n):
            offset = builder.add(start, builder.mul(step, step.type(k)))
            rows.append(vectors.load(source_type, source, offset))
        for _ in range(n.bit_length() - 1):
            interleaved = []
            for first, second in zip(rows[: n // 2], rows[n // 2 :], strict=True):
                interleaved.append(vectors.shuffle(first, second, low))
                interleaved.append(vectors.shuffle(first, second, high))
            rows = interleaved
        for k, row in enumerate(rows):
            offset = builder.add(at, builder.mul(pitch, pitch.type(k)))
            vectors.store(row, target_type, target, offset)
        return context.get_dummy_value()

    arguments = (source, types.intp, types.intp, target, types.intp, types.intp)
    return types.void(*arguments), emit


@intrinsic(prefer_literal=True)
def repeat_vector(typing, source, start, reverse, target, at, numbers):
    """Write the elements of a vector, each three times in a row.

    With a literally true ``reverse`` the last comes first. ``numbers`` is None, or
    (black level, three factors, three offsets). Lane k of a result belongs to band
    k modulo 3, so with rotated coefficients a vector takes one multiplication and one
    addition, and no shuffle more than a copy.
    """
    count = _elements(target.dtype, WIDE)
    backwards = reverse.literal_value

    def emit(context, builder, signature, arguments):
        source_type, target_type = signature.args[0], signature.args[3]
        source, start, _, target, at, numbers = arguments
        vectors = _Vectors(context, builder, target_type.dtype, count)
        narrow = _Vectors(context, builder, source_type.dtype, count)
        row = narrow.load(source_type, source, start)
        scaled = isinstance(signature.args[5], types.BaseTuple)
        if scaled:
            row = _to_float(builder, row, source_type.dtype, vectors.type)
            numbers = [builder.extract_value(numbers, i) for i in range(7)]
            row = builder.fsub(row, vectors.pack([numbers[0]] * count))
        for part in range(3):
            lanes = [(part * count + k) // 3 for k in range(count)]
            if backwards:
                lanes = [count - 1 - lane for lane in lanes]
            value = vectors.shuffle(row, row, lanes)
            if scaled:
                bands = [(part * count + k) % 3 for k in range(count)]
                factors = vectors.pack([numbers[1 + band] for band in bands])
                offsets = vectors.pack([numbers[4 + band] for band in bands])
                value = builder.fadd(builder.fmul(value, factors), offsets)
            offset = builder.add(at, at.type(part * WIDE))
            vectors.store(value, target_type, target, offset)
        return context.get_dummy_value()

    return types.void(source, types.intp, reverse, target, types.intp, numbers), emit


# Rows: cutting an image into blocks, and reading and writing the pixels of one


@_helper
def _joined_rows(source, target):
    """Return (rows, columns), one row where rows follow each other on both sides."""
    rows, columns = target.shape[1:]
    joined = target.strides[1] == columns * target.strides[2]
    if rows == 1 or (joined and source.strides[1] == columns * source.strides[2]):
        return 1, rows * columns
    return rows, columns


@_helper
def _cut(source, target, block):
    """Return (rows, columns, rows of a block, columns of a block).

    A block holds at most ``block`` pixels, which follow each other in the target.
    """
    rows, columns = _joined_rows(source, target)
    across = max(1, min(block, columns))
    if rows == 1 or target.strides[1] == columns * target.strides[2]:
        return rows, columns, max(1, min(rows, block // across)), across
    return rows, columns, 1, across


@_helper
def _pixels_to_cache_line(target, columns):
    """Return how many pixels of a long row come before a cache line starts.

    Stores across cache lines take twice as long. If the second block starts on a
    line, `one_to_three` takes 15 % less for PLANAR memory that does not start on one,
    and `copy_bands` 5-18 % less for INTERLEAVED memory.
    """
    step, size = target.strides[2], target.itemsize
    if columns < 2 * PIXELS or (step != size and step != 3 * size):
        return 0
    elements = -(target.ctypes.data // size) % (CACHE_LINE // size)
    if step == size:
        return elements
    # 43 undoes the factor of 3: 3 * 43 = 129 is 1 modulo the elements of a line.
    return elements * 43 % (CACHE_LINE // size)


@_helper
def _prefetch_row_above(source, start, down, length):
    """Ask for the next row of an image that is flipped upside down.

    The hardware prefetcher only recognises rows at increasing addresses. For 1024 x
    1024 pixels this saves 4 % of `one_to_three` and 10 % of interleaved copies.
    """
    if down < 0 and length <= PIXELS:
        for line in range(0, length, CACHE_LINE):
            prefetch(source, start + down + line)


@_helper
def _read(source, start, down, step, out, across):
    """Convert a block into contiguous ``out``.

    Its rows have ``across`` pixels, ``step`` bytes apart, and are ``down`` bytes
    apart. A pixel stride that is a constant makes vector instructions possible.
    """
    size, last = source.itemsize, across - 1
    pixel_stride = step // size if step % size == 0 else 0
    for i in range(out.size // across):
        origin = start + i * down
        length = abs(pixel_stride) * last + 1
        row = memory(source, origin + min(0, step * last), length, source)
        x = memory(out, i * across * out.itemsize, across, out)
        if pixel_stride == 1:
            for p in range(across):
                x[p] = row[p]
        elif pixel_stride == 3:
            for p in range(across):
                x[p] = row[3 * p]
        elif pixel_stride == 4:
            for p in range(across):
                x[p] = row[4 * p]
        elif pixel_stride == -1:
            for p in range(across):
                x[p] = row[np.uintp(last - p)]
        elif pixel_stride == -3:
            for p in range(across):
                x[p] = row[np.uintp(3 * (last - p))]
        else:
            for p in range(across):
                x[p] = memory(source, origin + p * step, 1, source)[0]


@_helper
def _write(y, target, at, step):
    """Cast a row into pixels ``step`` bytes apart."""
    if step == target.itemsize:
        out = memory(target, at, y.size, target)
        for p in range(y.size):
            out[p] = y[p]
    else:
        for p in range(y.size):
            memory(target, at + p * step, 1, target)[0] = y[p]


@_helper
def _interleave(a, b, c, out):
    """Cast three rows into three bands of interleaved pixels."""
    for p in range(a.size):
        out[3 * p] = a[p]
        out[3 * p + 1] = b[p]
        out[3 * p + 2] = c[p]


# Three bands of one, without guards


@_helper
def _out_of_range(a):
    """Whether a value contradicts the implied range (0, 1)."""
    found = False
    for p in range(a.size):
        found |= (a[p] > 2) | (a[p] < -1)
    return found


@_inlined
def _affine(t, f, o):
    return t * f + o


@_inlined
def _to_planes(a, reverse, k, x, y, z):
    number, last = x.dtype.type, a.size - 1
    for p in range(a.size):
        t = number(a[np.uintp(last - p) if reverse else p]) - k[0]
        x[p] = _affine(t, k[1], k[4])
        y[p] = _affine(t, k[2], k[5])
        z[p] = _affine(t, k[3], k[6])


@_inlined
def _to_pixels(a, reverse, k, out):
    """Write interleaved pixels: by vectors, which saves 45 %, if a vector is filled."""
    number, last, count = out.dtype.type, a.size - 1, WIDE // out.itemsize
    if a.size < count:
        for p in range(a.size):
            t = number(a[np.uintp(last - p) if reverse else p]) - k[0]
            out[3 * p] = _affine(t, k[1], k[4])
            out[3 * p + 1] = _affine(t, k[2], k[5])
            out[3 * p + 2] = _affine(t, k[3], k[6])
        return
    for p in range(0, a.size, count):
        q = min(p, a.size - count)
        start = a.size - count - q if reverse else q
        at = 3 * q * out.itemsize
        repeat_vector(a, start * a.itemsize, reverse, out, at, k)


@_kernel
def one_to_three(source, target, numbers, implied, source_layout, target_layout):
    """Make three bands of one, unguarded but for an ``implied`` range.

    ``numbers`` holds the black level, three factors and three offsets. The source is
    PLANAR or REVERSED, the target PLANAR or INTERLEAVED. Returns whether a value
    contradicts the implied range.
    """
    rows, columns = _joined_rows(source, target)
    _, down, step = source.strides
    band, tdown, tstep = target.strides
    reverse = source_layout == MemoryLayout.REVERSED
    planar = target_layout == MemoryLayout.PLANAR
    coefficients = to_fixed_tuple(numbers, 7)
    head = _pixels_to_cache_line(target, columns) if rows == 1 else 0
    # With a head, `edge` starts below 0: the first block has only `head` pixels, and
    # all others start on a cache line.
    for r in range(rows):
        _prefetch_row_above(source, r * down, down, columns * step)
        for edge in range(head - PIXELS if head else 0, columns, PIXELS):
            q = max(0, edge)
            n, at = min(edge + PIXELS, columns) - q, r * tdown + q * tstep
            start = r * down + q * step + min(0, (n - 1) * step)
            a = memory(source, start, n, source)
            if implied and _out_of_range(a):
                return True
            if planar:
                x = memory(target, at, n, target)
                y = memory(target, at + band, n, target)
                z = memory(target, at + 2 * band, n, target)
                if reverse:
                    _to_planes(a, True, coefficients, x, y, z)
                else:
                    _to_planes(a, False, coefficients, x, y, z)
            else:
                out = memory(target, at, 3 * n, target)
                if reverse:
                    _to_pixels(a, True, coefficients, out)
                else:
                    _to_pixels(a, False, coefficients, out)
    return False


# Any bands, any strides, with guards


@_helper
def _mark(x, nodata, empty):
    """Mark the pixels that hold nodata, which may be NaN; return whether any does."""
    found, absent, one = False, np.isnan(nodata), x.dtype.type(1)
    for p in range(x.size):
        same = (x[p] == nodata) | (absent & (x[p] != x[p]))
        found |= same
        empty[p] = one if same else empty[p]
    return found


@_helper
def _guard(x, black, low, high, empty, holes, flags):
    """Erase nodata, test an implied range, clip and subtract the black level.

    Returns whether a value contradicts the implied range.
    """
    n, zero, outside = x.size, x.dtype.type(0), False
    if holes:
        for p in range(n):
            x[p] = zero if empty[p] != 0 else x[p]
    if flags & IMPLIED:
        outside = _out_of_range(x)
    if flags & CLIP:
        for p in range(n):
            v = low if x[p] < low else x[p]
            x[p] = high if v > high else v
    if black != 0:
        for p in range(n):
            x[p] -= black
    return outside


@_helper
def _mix(x, pitch, rows, weights, y):
    """Sum weighted rows of ``x``, then an offset, in this order.

    An offset of -0.0 stands for none: it changes no sum, the sign of a zero included.
    """
    n, count, offset = y.size, rows[0], weights[0]
    if count == 0:
        y[:] = offset
        return
    a, u = memory(x, rows[1] * pitch, n, x), weights[1]
    if count == 1:
        for p in range(n):
            y[p] = a[p] * u + offset
        return
    b, v = memory(x, rows[2] * pitch, n, x), weights[2]
    if count == 2:
        for p in range(n):
            y[p] = a[p] * u + b[p] * v + offset
        return
    c, w = memory(x, rows[3] * pitch, n, x), weights[3]
    if count == 3:
        for p in range(n):
            y[p] = a[p] * u + b[p] * v + c[p] * w + offset
        return
    for p in range(n):
        y[p] = a[p] * u + b[p] * v + c[p] * w
    for k in range(4, count + 1):
        a, u = memory(x, rows[k] * pitch, n, x), weights[k]
        for p in range(n):
            y[p] += a[p] * u
    for p in range(n):
        y[p] += offset


@_helper
def _finish(y, low, high, ties, empty, holes, flags):
    """Set nodata to 0; for an integer target round half to even and saturate."""
    zero = y.dtype.type(0)
    if holes:
        for p in range(y.size):
            y[p] = zero if empty[p] != 0 else y[p]
    if flags & ROUND:
        for p in range(y.size):
            v = zero if y[p] != y[p] else np.rint(y[p] + ties - ties)
            v = low if v < low else v
            y[p] = high if v > high else v


@_kernel
def general(source, target, bands, numbers):
    """Execute any pass; return whether a value contradicts the implied range.

    Bands are read into rows of scratch, guards and sums run over rows in the cache,
    and the results are written where they belong.

    The first row of ``bands`` holds the flags, then the bands to read; row 1 + i the
    number of terms of output i, then their rows of scratch. With NODATA all bands are
    read, those with a factor first. The rows of ``numbers``, of the computing type:
    0: nodata, then the black levels of the bands read
    1: lowest value of the target, then the lower clip bounds
    2: highest value of the target, then the upper clip bounds
    3: the number that restores ties
    4 + i: the offset of output i, then its factors
    """
    outs, reads = len(target), numbers.shape[1] - 1
    flags, width = bands[0, 0], numbers.itemsize
    block = min(MIXED_PIXELS, SCRATCH // (width * (reads + outs + 2)))
    rows, columns, lines, part = _cut(source, target, block)
    band, down, step = source.strides
    tband, tdown, tstep = target.strides
    x, pitch = stack(numbers), block * width
    # Of the computing type, because vectors of mixed widths compile slowly.
    empty = memory(x, (reads + outs + 1) * pitch, block, x)
    direct = flags & SAME and tstep == width
    interleaved = outs == 3 and tband == target.itemsize and tstep == 3 * tband
    outside = False
    for r in range(0, rows, lines):
        for q in range(0, columns, part):
            across = min(part, columns - q)
            n = min(lines, rows - r) * across
            at = r * tdown + q * tstep
            holes = False
            if flags & NODATA:
                empty[:] = 0
            for k in range(len(source) if flags & NODATA else reads):
                row = memory(x, min(k, reads) * pitch, n, x)
                start = bands[0, k + 1] * band + r * down + q * step
                _read(source, start, down, step, row, across)
                if flags & NODATA:
                    holes |= _mark(row, numbers[0, 0], empty)
            for k in range(1, reads + 1):
                row = memory(x, (k - 1) * pitch, n, x)
                black, low, high = numbers[0, k], numbers[1, k], numbers[2, k]
                outside |= _guard(row, black, low, high, empty, holes, flags)
            low, high, ties = numbers[1, 0], numbers[2, 0], numbers[3, 0]
            for i in range(outs):
                row = memory(x, (reads + 1 + i) * pitch, n, x)
                y = memory(target, i * tband + at, n, x) if direct else row
                _mix(x, pitch, bands[i + 1], numbers[i + 4], y)
                _finish(y, low, high, ties, empty, holes, flags)
                if not direct and not interleaved:
                    _write(y, target, i * tband + at, tstep)
            if interleaved:
                a = memory(x, (reads + 1) * pitch, n, x)
                b = memory(x, (reads + 2) * pitch, n, x)
                c = memory(x, (reads + 3) * pitch, n, x)
                _interleave(a, b, c, memory(target, at, 3 * n, target))
    return outside


# Moves: elements keep every bit, so elements of any type are unsigned integers here


@_helper
def _repeat(source, start, target, at, n):
    """Write ``n`` contiguous elements as three bands of interleaved pixels.

    The last vector overlaps the one before.
    """
    size = target.itemsize
    count = WIDE // size
    if n < count:
        a = memory(source, start, n, target)
        _interleave(a, a, a, memory(target, at, 3 * n, target))
        return
    for p in range(0, n, count):
        q = min(p, n - count) * size
        repeat_vector(source, start + q, False, target, at + 3 * q, None)


@_kernel
def copy_bands(source, target, picks, source_layout, target_layout):
    """Copy the bands ``picks`` of ``source`` into ``target``, unsigned integers both.

    The source has any layout; one that is FORTRAN is read slowly.
    """
    straight = source_layout == MemoryLayout.PLANAR
    size = target.itemsize
    band, down, step = source.strides
    tband, tdown, tstep = target.strides
    interleaved = target_layout == MemoryLayout.INTERLEAVED and len(picks) == 3
    equal = interleaved and picks[0] == picks[1] == picks[2]
    block = min(PIXELS, SCRATCH // (size * 3))
    rows, columns, lines, part = _cut(source, target, block)
    head = 0
    if straight:  # rows are used where they are, without a copy in scratch
        lines, part = 1, COPIED // size
        if interleaved:
            part = max(1, columns)
            head = _pixels_to_cache_line(target, columns) if rows == 1 else 0
    x, pitch = stack(target), block * size
    for r in range(0, rows, lines):
        for edge in range(head - part if head else 0, columns, part):
            q = max(0, edge)
            across = min(edge + part, columns) - q
            n = min(lines, rows - r) * across
            at = r * tdown + q * tstep
            if straight and tstep == size:
                for i in range(len(picks)):
                    start = picks[i] * band + r * down + q * step
                    copy_bytes(source, start, target, i * tband + at, n * size)
                continue
            a, b, c = memory(x, 0, n, x), memory(x, 0, n, x), memory(x, 0, n, x)
            for i in range(1 if equal else len(picks)):
                start = picks[i] * band + r * down + q * step
                if straight:
                    y = memory(source, start, n, x)
                elif i > 0 and picks[i] == picks[i - 1]:
                    y = c
                else:
                    y = memory(x, i % 3 * pitch, n, x)
                    _read(source, start, down, step, y, across)
                a, b, c = b, c, y
                if not interleaved:
                    _write(y, target, i * tband + at, tstep)
            if equal and straight:
                _prefetch_row_above(source, picks[0] * band + r * down, down, n * size)
            if equal:
                _repeat(c, 0, target, at, n)
            elif interleaved:
                _interleave(a, b, c, memory(target, at, 3 * n, target))


@_kernel
def transpose(source, out):
    """Copy FORTRAN planes into C order, a square of elements at a time.

    The last squares of a row and of a column overlap those before them.
    """
    band, size, step = source.strides
    bands, rows, columns = source.shape
    n = VECTOR // size
    for k in range(bands):
        if rows < n or columns < n:
            for i in range(rows):
                for p in range(columns):
                    out[k, i, p] = source[k, i, p]
            continue
        for i in range(0, rows, n):
            down = min(i, rows - n)
            for p in range(0, columns, n):
                across = min(p, columns - n)
                start = k * band + down * size + across * step
                at = ((k * rows + down) * columns + across) * size
                transpose_square(source, start, step, out, at, columns * size)
