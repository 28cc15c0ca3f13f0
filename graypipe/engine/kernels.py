"""Every compiled function of the numba engine, in one file.

It is one file on purpose: numba's on-disk cache watches only the source file of the
function it compiles. With helpers in other files, an edit there would silently keep
running the stale machine code of the kernels that inline them.
"""
# mypy: ignore-errors
# ruff: noqa: ARG001, C901, PLR0912, PLR0917
# numba's type checker calls intrinsics by the names of their arguments

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

SCRATCH = 80 * 1024
"""Bytes of stack that the rows of a block share."""

CACHE_LINE = 64

part_of_a_kernel = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)


def kernel(function):
    """Compile ``function`` on demand and keep the machine code on disk, or in memory where no place is writable."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


def _view(context, builder, flat, data, size):
    """Emit a contiguous array struct of ``size`` elements at ``data`` that owns nothing."""
    view = make_array(flat)(context, builder)
    width = context.get_constant(
        types.intp, context.get_abi_sizeof(context.get_data_type(flat.dtype))
    )
    shape, strides = (
        cgutils.pack_array(builder, [size]),
        cgutils.pack_array(builder, [width]),
    )
    populate_array(
        view, data=data, shape=shape, strides=strides, itemsize=width, meminfo=None
    )
    return view._getvalue()


@intrinsic
def memory(typing, array, offset, size, like):
    """View ``size`` contiguous elements of the type of ``like``, ``offset`` bytes into ``array``, aligned or not."""
    flat = types.Array(like.dtype, 1, "C", aligned=False)

    def emit(context, builder, signature, arguments):
        origin = make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = context.get_data_type(flat.dtype).as_pointer()
        return _view(
            context,
            builder,
            flat,
            cgutils.pointer_add(builder, origin, arguments[1], pointer),
            arguments[2],
        )

    return flat(array, types.intp, types.intp, like), emit


@intrinsic
def stack(typing, like):
    """Reserve SCRATCH bytes of the caller's stack as elements of the type of ``like``."""
    flat = types.Array(like.dtype, 1, "C", aligned=False)

    def emit(context, builder, signature, arguments):
        element = context.get_data_type(flat.dtype)
        size = context.get_constant(
            types.intp, SCRATCH // context.get_abi_sizeof(element)
        )
        memory = cgutils.alloca_once(builder, element, size=size)
        memory.align = CACHE_LINE
        return _view(context, builder, flat, memory, size)

    return flat(like), emit


@intrinsic
def copy(typing, source, origin, out, at, size):
    """Copy ``size`` bytes by `memcpy`, ``origin`` bytes into ``source``, to ``at`` bytes into ``out``."""

    def emit(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        data = [
            make_array(kind)(context, builder, arguments[k]).data
            for kind, k in ((source, 0), (out, 2))
        ]
        start, end = (
            cgutils.pointer_add(builder, p, arguments[k], byte)
            for p, k in zip(data, (1, 3), strict=True)
        )
        cgutils.raw_memcpy(builder, end, start, arguments[4], 1)
        return context.get_dummy_value()

    return types.void(source, types.intp, out, types.intp, types.intp), emit


@intrinsic
def prefetch(typing, array, offset):
    """Ask for the cache line ``offset`` bytes into ``array``, which may lie outside of it."""

    def emit(context, builder, signature, arguments):
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        address = cgutils.pointer_add(builder, data, arguments[1], byte)
        builder.call(
            function, [address, flag(0), flag(3), flag(1)]
        )  # to read, into every cache, data
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


VECTOR = 16
"""Bytes of the vector registers that every x86-64 and every 64-bit ARM processor has."""

WIDE = 32
"""Bytes of two of them, or of one where registers are wider."""


def _pointer(context, builder, array, held, offset, kind):
    """Emit the address of something of ``kind``, ``offset`` bytes into ``array``."""
    return cgutils.pointer_add(
        builder,
        make_array(array)(context, builder, held).data,
        offset,
        kind.as_pointer(),
    )


def _mask(places):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)


@intrinsic
def square(typing, source, origin, step, out, at, pitch):
    """Copy n columns of n contiguous elements, ``step`` bytes apart, as n rows, ``pitch`` bytes apart.

    n elements fill a vector register. All n columns are read, then in each of log2(n) steps every vector of the first
    half is interleaved with its counterpart of the second; after the last one, they are the rows.
    """
    n = VECTOR // (source.dtype.bitwidth // 8)

    def emit(context, builder, signature, arguments):
        vector = ir.VectorType(context.get_data_type(source.dtype), n)
        halves = [
            [n * (k % 2) + (start + k) // 2 for k in range(n)] for start in (0, n)
        ]
        low, high = map(_mask, halves)

        def place(array, held, offset, stride, k):
            offset = builder.add(offset, builder.mul(stride, stride.type(k)))
            return _pointer(context, builder, array, held, offset, vector)

        rows = [
            builder.load(place(source, *arguments[:3], k), align=1) for k in range(n)
        ]
        for _ in range(n.bit_length() - 1):
            pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
            rows = [
                builder.shuffle_vector(a, b, half)
                for a, b in pairs
                for half in (low, high)
            ]
        for k, row in enumerate(rows):
            builder.store(row, place(out, *arguments[3:], k), align=1)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, out, types.intp, types.intp), emit


@intrinsic
def thrice(typing, source, origin, out, at):
    """Copy the elements of a WIDE vector, ``origin`` bytes into ``source``, each three times in a row."""
    n = WIDE // (source.dtype.bitwidth // 8)

    def emit(context, builder, signature, arguments):
        vector = ir.VectorType(context.get_data_type(source.dtype), n)
        row = builder.load(
            _pointer(context, builder, source, *arguments[:2], vector), align=1
        )
        for part in range(3):
            made = builder.shuffle_vector(
                row, row, _mask([(part * n + k) // 3 for k in range(n)])
            )
            offset = builder.add(arguments[3], arguments[3].type(part * WIDE))
            builder.store(
                made,
                _pointer(context, builder, out, arguments[2], offset, vector),
                align=1,
            )
        return context.get_dummy_value()

    return types.void(source, types.intp, out, types.intp), emit


PIXELS = 4096
"""Most pixels in a block: a row of float32 fills 16 KiB, a fraction of the first-level cache."""

THIRD = 43
"""Times 3, this leaves 1 when divided by the bytes of a cache line, or by 32 or 16."""


@part_of_a_kernel
def walk(source, target, block):
    """Return (rows, columns, columns of a block, rows of a block): a block is one run of pixels in the target."""
    rows, columns = target.shape[1:]
    whole = rows == 1 or target.strides[1] == columns * target.strides[2]
    if whole and (rows == 1 or source.strides[1] == columns * source.strides[2]):
        rows, columns = 1, rows * columns
    across = max(1, min(block, columns))
    return rows, columns, across, max(1, min(rows, block // across)) if whole else 1


@part_of_a_kernel
def leading(target, columns):
    """Return how many of many pixels come before one that starts a cache line: stores across lines cost double."""
    step, size = target.strides[2], target.itemsize
    if columns < 2 * PIXELS or (step != size and step != 3 * size):
        return 0
    elements = -(target.ctypes.data // size) % (CACHE_LINE // size)
    return elements if step == size else elements * THIRD % (CACHE_LINE // size)


@part_of_a_kernel
def expect(source, origin, step, columns):
    """Ask for a short row that is read next: of rows that do not follow each other, processors foresee too little."""
    length = abs(step) * columns
    if length <= PIXELS:
        first = origin + min(0, step * (columns - 1))
        for line in range(0, length, CACHE_LINE):
            prefetch(source, first + line)


@part_of_a_kernel
def read(source, origin, down, step, out, across):
    """Convert rows of ``across`` pixels, ``step`` bytes apart, rows ``down`` bytes apart, into contiguous ``out``."""
    size, last = source.itemsize, across - 1
    pace = step // size if step % size == 0 else 0
    for i in range(out.size // across):
        start = origin + i * down
        if out.size > across:
            expect(source, start + down, step, across)
        row = memory(source, start + min(0, step * last), abs(pace) * last + 1, source)
        x = memory(out, i * across * out.itemsize, across, out)
        if pace == 1:
            for p in range(across):
                x[p] = row[p]
        elif pace == 2:
            for p in range(across):
                x[p] = row[2 * p]
        elif pace == 3:
            for p in range(across):
                x[p] = row[3 * p]
        elif pace == 4:
            for p in range(across):
                x[p] = row[4 * p]
        elif pace == -1:
            for p in range(across):
                x[p] = row[np.uintp(last - p)]
        elif pace == -3:
            for p in range(across):
                x[p] = row[np.uintp(3 * (last - p))]
        else:
            for p in range(across):
                x[p] = memory(source, start + p * step, 1, source)[0]


@part_of_a_kernel
def write(y, target, origin, step):
    """Cast a row into pixels ``step`` bytes apart."""
    if step == target.itemsize:
        out = memory(target, origin, y.size, target)
        for p in range(y.size):
            out[p] = y[p]
    else:
        for p in range(y.size):
            memory(target, origin + p * step, 1, target)[0] = y[p]


@part_of_a_kernel
def weave(a, b, c, out):
    """Cast three rows into three bands of interleaved pixels."""
    for p in range(a.size):
        out[3 * p] = a[p]
        out[3 * p + 1] = b[p]
        out[3 * p + 2] = c[p]


MOST_ROWS = 256
"""Most bands read and written by one pass; more would leave blocks of a few pixels."""

CLIP, IMPLIED, NODATA, ROUND, SAME = 1, 2, 4, 8, 16
"""Flags of a pass. SAME: the target holds elements of the computing type."""


@part_of_a_kernel
def _mark(x, nodata, empty):
    """Mark the pixels that hold nodata, which may be NaN; return whether there are any."""
    found, absent = False, np.isnan(nodata)
    if absent:
        for p in range(x.size):
            found |= x[p] != x[p]
    else:
        for p in range(x.size):
            found |= x[p] == nodata
    if found:
        for p in range(x.size):
            empty[p] |= (x[p] == nodata) | (absent & (x[p] != x[p]))
    return found


@part_of_a_kernel
def _guard(x, black, low, high, empty, holes, flags):
    """Take nodata out of a row, test an implied range, clip and subtract black; return whether the test failed."""
    n, zero, strange = x.size, x.dtype.type(0), False
    if holes:
        for p in range(n):
            x[p] = zero if empty[p] else x[p]
    if flags & IMPLIED:
        for p in range(n):
            strange |= (x[p] > 2) | (x[p] < -1)
    if flags & CLIP:
        for p in range(n):
            v = low if x[p] < low else x[p]
            x[p] = high if v > high else v
    if black != 0:
        for p in range(n):
            x[p] -= black
    return strange


@part_of_a_kernel
def _mix(x, pitch, rows, weights, y):
    """Sum weighted rows of ``x`` and an offset, in this order, one rounding an operation; an offset -0.0 is none."""
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


@part_of_a_kernel
def _finish(y, low, high, ties, empty, holes, flags):
    """Give nodata its 0, and values for an integer target its rounding: half to even, saturated, NaN to 0."""
    zero = y.dtype.type(0)
    if holes:
        for p in range(y.size):
            y[p] = zero if empty[p] else y[p]
    if flags & ROUND:
        for p in range(y.size):
            v = zero if y[p] != y[p] else np.rint(y[p] + ties - ties)
            v = low if v < low else v
            y[p] = high if v > high else v


@kernel
def general(source, target, bands, numbers):
    """Execute a pass on (bands, rows, columns); return whether values contradict the implied range.

    ``bands`` holds [flags, bands to read], then per output [count of terms, their rows of scratch]; ``numbers``, of the
    computing type, holds [nodata, black levels], [least, lower bounds], [greatest, upper bounds], [what restores
    ties], then per output [offset, factors]. With NODATA the bands to read are all bands, those that count first.
    """
    outs, reads, flags, width = (
        len(target),
        numbers.shape[1] - 1,
        bands[0, 0],
        numbers.itemsize,
    )
    block = min(PIXELS, SCRATCH // (width * (reads + outs + 2)))
    rows, columns, part, lines = walk(source, target, block)
    band, down, step = source.strides
    tband, tdown, tstep = target.strides
    x, pitch = stack(numbers), block * width
    empty = memory(x, (reads + outs + 1) * pitch, block, np.empty(0, np.uint8))
    direct = flags & SAME and tstep == width
    woven = outs == 3 and tband == target.itemsize and tstep == 3 * tband
    strange, head = False, leading(target, columns) if rows == 1 else 0
    for r in range(0, rows, lines):
        for edge in range(head - part if head else 0, columns, part):
            q = max(0, edge)
            across = min(edge + part, columns) - q
            n = min(lines, rows - r) * across
            at = r * tdown + q * tstep
            holes = False
            if flags & NODATA:
                empty[:] = 0
            for k in range(len(source) if flags & NODATA else reads):
                row = memory(x, min(k, reads) * pitch, n, x)
                read(
                    source,
                    bands[0, k + 1] * band + r * down + q * step,
                    down,
                    step,
                    row,
                    across,
                )
                if flags & NODATA:
                    holes |= _mark(row, numbers[0, 0], empty)
            for k in range(1, reads + 1):
                row = memory(x, (k - 1) * pitch, n, x)
                strange |= _guard(
                    row,
                    numbers[0, k],
                    numbers[1, k],
                    numbers[2, k],
                    empty,
                    holes,
                    flags,
                )
            for i in range(outs):
                row = memory(x, (reads + 1 + i) * pitch, n, x)
                y = memory(target, i * tband + at, n, x) if direct else row
                _mix(x, pitch, bands[i + 1], numbers[i + 4], y)
                _finish(
                    y, numbers[1, 0], numbers[2, 0], numbers[3, 0], empty, holes, flags
                )
                if not direct and not woven:
                    write(y, target, i * tband + at, tstep)
            if woven:
                a = memory(x, (reads + 1) * pitch, n, x)
                b = memory(x, (reads + 2) * pitch, n, x)
                c = memory(x, (reads + 3) * pitch, n, x)
                weave(a, b, c, memory(target, at, 3 * n, target))
    return strange


UNSUPPORTED_STRIDES, DONE, OUT_OF_RANGE = 0, 1, 2
"""What a kernel returns: the strides are none that it knows; it is done; values contradict the implied range."""

SPARE = 1024
"""Pixels whose bands, as numbers, fit the first-level cache beside what is written."""


@part_of_a_kernel
def _pixel_strides(source, target):
    """Return how many elements apart pixels lie on both sides: 1 in planes, the bands where they interleave, else 0.

    One band that is read from right to left gives -1.
    """
    bands, size, step = len(source), source.itemsize, source.strides[2]
    pace = (
        1
        if step == size
        else bands
        if step == bands * size and source.strides[0] == size
        else 0
    )
    pace = -1 if bands == 1 and step == -size else pace
    size, step = target.itemsize, target.strides[2]
    return pace, 1 if step == size else 3 if step == 3 * size and target.strides[
        0
    ] == size else 0


@part_of_a_kernel
def _bands(array, origin, band, size):
    """View ``size`` elements from each of three bands on."""
    a, b = memory(array, origin, size, array), memory(array, origin + band, size, array)
    return a, b, memory(array, origin + 2 * band, size, array)


@part_of_a_kernel
def _one_line(source, target):
    """Whether rows follow each other without a gap on both sides."""
    columns, (_, down, step), (_, tdown, tstep) = (
        source.shape[2],
        source.strides,
        target.strides,
    )
    return down == columns * step and tdown == columns * tstep


@part_of_a_kernel
def _outside(a):
    """Whether a value contradicts the implied range (0, 1)."""
    found = False
    for p in range(a.size):
        found |= (a[p] > 2) | (a[p] < -1)
    return found


@numba.njit(inline="always")
def _to_planes(a, flip, k, x, y, z):
    number, last = x.dtype.type, a.size - 1
    for p in range(a.size):
        t = number(a[np.uintp(last - p) if flip else p]) - k[0]
        x[p], y[p], z[p] = t * k[1] + k[4], t * k[2] + k[5], t * k[3] + k[6]


@numba.njit(inline="always")
def _to_pixels(a, flip, k, out):
    number, last = out.dtype.type, a.size - 1
    for p in range(a.size):
        t = number(a[np.uintp(last - p) if flip else p]) - k[0]
        out[3 * p], out[3 * p + 1], out[3 * p + 2] = (
            t * k[1] + k[4],
            t * k[2] + k[5],
            t * k[3] + k[6],
        )


@kernel
def one_to_three(source, target, numbers, implied):
    """Make three bands of one, unguarded but for an ``implied`` range.

    ``numbers`` holds black, then three factors, then three offsets.
    """
    pace, stretch = _pixel_strides(source, target)
    if pace == 0 or stretch == 0:
        return UNSUPPORTED_STRIDES
    rows, columns = (
        (1, source[0].size) if _one_line(source, target) else source.shape[1:]
    )
    (_, down, step), (tband, tdown, tstep) = source.strides, target.strides
    head = leading(target, columns) if rows == 1 else 0
    k = (
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
        numbers[6],
    )
    for r in range(rows):
        if rows > 1:
            expect(source, (r + 1) * down, step, columns)
        for edge in range(head - PIXELS if head else 0, columns, PIXELS):
            q = max(0, edge)
            n, at = min(edge + PIXELS, columns) - q, r * tdown + q * tstep
            a = memory(source, r * down + q * step + min(0, (n - 1) * step), n, source)
            x, y, z = _bands(target, at, tband, n)
            out = memory(target, at, 3 * n, target)
            if implied and _outside(a):
                return OUT_OF_RANGE
            if stretch == 1 and pace == 1:
                _to_planes(a, False, k, x, y, z)
            elif stretch == 1:
                _to_planes(a, True, k, x, y, z)
            elif pace == 1:
                _to_pixels(a, False, k, out)
            else:
                _to_pixels(a, True, k, out)
    return DONE


@numba.njit(inline="always")
def _level(row, pace, black, x):
    """Convert a band, ``pace`` elements a pixel, and take its black level off."""
    number = x.dtype.type
    for p in range(x.size):
        x[p] = number(row[pace * p]) - black


@numba.njit(inline="always")
def _mix_few(four, a, b, c, d, m):
    """Return the sum of three or ``four`` weighted values and an offset."""
    return (
        a * m[0] + b * m[1] + c * m[2] + d * m[3] + m[4]
        if four
        else a * m[0] + b * m[1] + c * m[2] + m[4]
    )


@numba.njit(inline="always")
def _plane(four, a, b, c, d, m, y):
    for p in range(y.size):
        y[p] = _mix_few(four, a[p], b[p], c[p], d[p], m)


@numba.njit(inline="always")
def _pixels(four, a, b, c, d, k, out):
    for p in range(a.size):
        out[3 * p] = _mix_few(four, a[p], b[p], c[p], d[p], k[0])
        out[3 * p + 1] = _mix_few(four, a[p], b[p], c[p], d[p], k[1])
        out[3 * p + 2] = _mix_few(four, a[p], b[p], c[p], d[p], k[2])


@part_of_a_kernel
def _row(numbers, i):
    return numbers[i, 0], numbers[i, 1], numbers[i, 2], numbers[i, 3], numbers[i, 4]


@kernel
def few_to_three(source, target, numbers):
    """Make three bands of three or four, unguarded.

    ``numbers`` holds [black levels], then per output [factors, offset], four of each: the last is not read where there
    are three. Every other factor counts, so the source holds neither NaN nor infinity where one is 0.

    The bands of some pixels become numbers on the stack first: of memory that overlaps nothing else, and lies a pixel
    an element, the compiler makes vector instructions in every loop.
    """
    pace, stretch = _pixel_strides(source, target)
    if pace == 0 or stretch == 0:
        return UNSUPPORTED_STRIDES
    rows, columns = (
        (1, source[0].size) if _one_line(source, target) else source.shape[1:]
    )
    (band, down, step), (tband, tdown, tstep) = source.strides, target.strides
    bands, k = len(source), (_row(numbers, 1), _row(numbers, 2), _row(numbers, 3))
    x, pitch = stack(target), SPARE * target.itemsize
    for r in range(rows):
        for q in range(0, columns, SPARE):
            n, at = min(SPARE, columns - q), r * tdown + q * tstep
            for j in range(bands):
                if q == 0 and (j == 0 or pace == 1):
                    expect(source, j * band + (r + 1) * down, step, columns)
                row = memory(
                    source, j * band + r * down + q * step, pace * (n - 1) + 1, source
                )
                y, black = memory(x, j * pitch, n, x), numbers[0, j]
                if pace == 1:
                    _level(row, 1, black, y)
                elif bands == 3:
                    _level(row, 3, black, y)
                else:
                    _level(row, 4, black, y)
            (a, b, c), d = _bands(x, 0, pitch, n), memory(x, 3 * pitch, n, x)
            out = memory(target, at, 3 * n, target)
            if stretch == 3 and bands == 4:
                _pixels(True, a, b, c, d, k, out)
            elif stretch == 3:
                _pixels(False, a, b, c, d, k, out)
            else:
                for i in range(3):
                    y = memory(target, i * tband + at, n, target)
                    if bands == 4:
                        _plane(True, a, b, c, d, k[i], y)
                    else:
                        _plane(False, a, b, c, d, k[i], y)
    return DONE


PIECE = 4096
"""Bytes of a band copied at a time: the other bands made of it find them in the first-level cache."""

WHOLE = 3 * 2**20
"""Bytes of a run of pixels from which on it is copied whole: the streaming stores of `memcpy` pay more then."""


@part_of_a_kernel
def _repeat(source, origin, target, at, n):
    """Write ``n`` contiguous elements as three bands of interleaved pixels; the last vector overlaps the one before."""
    size = target.itemsize
    count = WIDE // size
    if n < count:
        a = memory(source, origin, n, target)
        weave(a, a, a, memory(target, at, 3 * n, target))
    else:
        for p in range(0, n, count):
            q = min(p, n - count) * size
            thrice(source, origin + q, target, at + 3 * q)


@part_of_a_kernel
def _repeat_rows(source, origin, target, rows, columns):
    """Write one band whose pixels are contiguous as three bands of interleaved pixels."""
    size, down, tdown = target.itemsize, source.strides[1], target.strides[1]
    head = leading(target, columns) if rows == 1 else 0
    for r in range(rows):
        expect(source, origin + (r + 1) * down, size, columns)
        if head:
            _repeat(source, origin, target, 0, head)
        _repeat(
            source,
            origin + r * down + head * size,
            target,
            r * tdown + 3 * head * size,
            columns - head,
        )


@part_of_a_kernel
def _copy_planes(source, target, picks, rows, columns):
    """Copy bands whose pixels are contiguous on both sides."""
    size, (band, down, _), (tband, tdown, _) = (
        target.itemsize,
        source.strides,
        target.strides,
    )
    length = columns * size
    piece = PIECE if length < WHOLE else length
    for r in range(rows):
        expect(source, picks[0] * band + (r + 1) * down, size, columns)
        for q in range(0, length, piece):
            n = min(piece, length - q)
            for i in range(len(picks)):
                copy(
                    source,
                    picks[i] * band + r * down + q,
                    target,
                    i * tband + r * tdown + q,
                    n,
                )


@kernel
def copy_bands(source, target, picks):
    """Copy the bands ``picks`` of (bands, rows, columns) into ``target``; any element is an unsigned integer here.

    False, and nothing done, where columns are contiguous: `turn` comes first then.
    """
    size = target.itemsize
    (band, down, step), (tband, tdown, tstep) = source.strides, target.strides
    if step != size and down == size and source.shape[1] > 1 and source.size > 0:
        return False
    block = min(PIXELS, SCRATCH // (size * 3))
    rows, columns, part, lines = walk(source, target, block)
    if step == size == tstep:
        _copy_planes(source, target, picks, rows, columns)
        return True
    woven = len(picks) == 3 and tband == size and tstep == 3 * size
    equal = woven and picks[0] == picks[1] == picks[2]
    straight = woven and step == size
    if equal and straight:
        _repeat_rows(source, picks[0] * band, target, rows, columns)
        return True
    head = leading(target, columns) if rows == 1 else 0
    if straight:
        part, lines = columns, 1
    x, pitch = stack(target), block * size
    for r in range(0, rows, lines):
        for edge in range(head - part if head else 0, columns, part):
            q = max(0, edge)
            across = min(edge + part, columns) - q
            n = min(lines, rows - r) * across
            at = r * tdown + q * tstep
            a, b, c = memory(x, 0, n, x), memory(x, 0, n, x), memory(x, 0, n, x)
            for i in range(len(picks)):
                origin = picks[i] * band + r * down + q * step
                y = memory(x, i % 3 * pitch, n, x)
                if straight:
                    y = memory(source, origin, n, x)
                elif i > 0 and picks[i] == picks[i - 1]:
                    y = c
                else:
                    read(source, origin, down, step, y, across)
                a, b, c = b, c, y
                if tstep == size:
                    copy(y, 0, target, i * tband + at, n * size)
                elif not woven:
                    write(y, target, i * tband + at, tstep)
            if straight:
                expect(source, picks[0] * band + (r + 1) * down, step, columns)
            if equal:
                _repeat(c, 0, target, at, n)
            elif woven:
                weave(a, b, c, memory(target, at, 3 * n, target))
    return True


@kernel
def transpose(source, out):
    """Copy (bands, rows, columns) whose columns are contiguous into C order, a square of elements at a time.

    The last squares of a row and of a column overlap those before them.
    """
    (band, size, step), (bands, rows, columns) = source.strides, source.shape
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
                at = ((k * rows + down) * columns + across) * size
                if i == 0:
                    for c in range(n):
                        prefetch(source, k * band + rows * size + (across + c) * step)
                square(
                    source,
                    k * band + down * size + across * step,
                    step,
                    out,
                    at,
                    columns * size,
                )
