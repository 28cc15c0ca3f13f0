"""Machine code of the kernels, compiled or loaded for each combination of dtypes.

Compiling takes a second, so numba keeps the machine code on disk. This module makes
sure that versions of the package can share this cache, and that damage to it is
harmless.
"""

# mypy: disable-error-code="misc, no-untyped-call"
# numba has no type hints, so its classes are of type Any

import contextlib
import hashlib
import os
import pickle
import threading
import warnings
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache
from numba.core.compiler_lock import global_compiler_lock

from . import intrinsics, kernels


def _source_hash() -> str:
    """Return a hash of the source of all kernels and of the version of numba.

    Returns "" if there is no source.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in (kernels.__file__, intrinsics.__file__):
        try:
            digest.update(Path(path or "").read_bytes())
        except OSError:  # inside a zip file, say
            return ""
    return digest.hexdigest()


# Read right after the import of the kernels: if the file is replaced later, the hash
# must remain that of the source in memory.
SOURCE_HASH = _source_hash()

# Length of a SHA-256 hash.
HASH_BYTES = 32

# A process that is forked while another thread compiles would inherit numba's lock, but
# not the thread that releases it. Forking therefore waits until nothing is compiled.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )

# Threads need more stack to compile machine code, or to load it: with 64 KiB, LLVM
# overflows the stack, and the process crashes.
COMPILER_STACK_BYTES = 8 * 1024 * 1024

SELECTED_BANDS = types.Array(types.int64, 1, "C")
BANDS = types.Array(types.int64, 2, "C")
LAYOUT = types.int64
TESTS = types.int64


@cache
def general(
    source: np.dtype[Any], compute: np.dtype[Any], target: np.dtype[Any]
) -> Any:
    """Return `kernels.general` as machine code for native dtypes."""
    numbers = types.Array(numba.from_dtype(compute), 2, "C")
    planes = _source_type(source), _target_type(target)
    return _compile(kernels.general, *planes, BANDS, numbers)


@cache
def one_to_three(source: np.dtype[Any], target: np.dtype[Any]) -> Any:
    """Return `kernels.one_to_three` as machine code for native dtypes."""
    numbers = types.Array(numba.from_dtype(target), 1, "C")
    planes = _source_type(source), _target_type(target)
    return _compile(kernels.one_to_three, *planes, numbers, TESTS, LAYOUT, LAYOUT)


@cache
def copy_bands(itemsize: int) -> Any:
    """Return `kernels.copy_bands` as machine code for a size of elements."""
    unsigned = np.dtype(f"u{itemsize}")
    planes = _source_type(unsigned), _target_type(unsigned)
    return _compile(kernels.copy_bands, *planes, SELECTED_BANDS, LAYOUT, LAYOUT)


@cache
def transpose(itemsize: int) -> Any:
    """Return `kernels.transpose` as machine code for a size of elements."""
    unsigned = np.dtype(f"u{itemsize}")
    planes = _source_type(unsigned), _target_type(unsigned)
    return _compile(kernels.transpose, *planes)


@cache
def undo_png_filters() -> Any:
    """Return `kernels.undo_png_filters` as machine code."""
    coded = types.Array(types.uint8, 2, "C", readonly=True)
    pixels = types.Array(types.uint8, 2, "C")
    return _compile(kernels.undo_png_filters, coded, pixels, types.int64)


def _source_type(dtype: np.dtype[Any]) -> types.Array:
    """Return numba's type of the planes that a kernel reads."""
    return types.Array(numba.from_dtype(dtype), 3, "A", readonly=True, aligned=False)


def _target_type(dtype: np.dtype[Any]) -> types.Array:
    """Return numba's type of the planes that a kernel writes."""
    return types.Array(numba.from_dtype(dtype), 3, "A", aligned=False)


def _compile(kernel: Any, *signature: Any) -> Any:
    """Return the entry point of ``kernel`` for ``signature``, compiled or loaded.

    Calling it instead of the kernel skips numba's dispatch on the argument types,
    0.25 microseconds a call.
    """
    if isinstance(kernel._cache, NullCache):
        # RuntimeError: numba finds no folder to write to; the code stays in memory.
        with contextlib.suppress(RuntimeError):
            kernel._cache = KernelCache(kernel.py_func)
    if threading.current_thread() is threading.main_thread():
        return kernel.compile(signature)
    return _compile_in_thread(kernel, signature)


def _compile_in_thread(kernel: Any, signature: tuple[Any, ...]) -> Any:
    """Compile or load ``kernel`` in a thread whose stack is large enough for that."""
    future: Future[Any] = Future()

    def compile_kernel() -> None:
        try:
            future.set_result(kernel.compile(signature))
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=compile_kernel, daemon=True)
    # The size can only be set for all threads of the process, so it is set no longer
    # than it takes to start this one. A lock of its own would be left locked in a
    # process that is forked meanwhile.
    with global_compiler_lock:
        size = threading.stack_size()
        if 0 < size < COMPILER_STACK_BYTES:  # 0: the default of the platform
            threading.stack_size(COMPILER_STACK_BYTES)
        try:
            thread.start()
        finally:
            threading.stack_size(size)
    return future.result()


class KernelCache(FunctionCache):
    """Keep the machine code of a kernel in a folder named after the kernels' source.

    numba identifies a source file by its path, time and size only. Two versions of the
    package that share ``NUMBA_CACHE_DIR`` would overwrite each other's files, or run
    each other's machine code. A folder for each source and version of numba prevents
    that.

    Entries that cannot be read are compiled again and overwritten, with one warning
    per process. Entries that cannot be written stay in memory.
    """

    _warned = False

    def __init__(self, py_func: Any) -> None:
        super().__init__(py_func)
        folder = f"kernels-{SOURCE_HASH[:16]}"
        self._cache_path = str(Path(self._cache_path, folder))
        self._cache_file = _CheckedFile(
            self._cache_path, self._impl.filename_base, SOURCE_HASH
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function for ``sig``, or None if it must be compiled."""
        try:
            compiled = super().load_overload(sig, target_context)
        except Exception as error:  # unpickling damaged data can raise anything
            self._discard(error)
            return None
        # Two processes that fill the cache at the same time may both number their
        # entry 1, so the entry of one signature can hold the code of another.
        if compiled is not None and compiled.signature.args != tuple(sig):
            return None
        return compiled

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled function for ``sig`` to disk, if that is possible."""
        # OSError: the disk is full, or the folder was removed. Other errors: the index
        # is damaged and could not be replaced.
        with contextlib.suppress(Exception):
            Path(self._cache_path).mkdir(parents=True, exist_ok=True)
            super().save_overload(sig, data)

    def _discard(self, error: Exception) -> None:
        """Empty the index, so that new entries overwrite the old, and warn once."""
        with contextlib.suppress(OSError):
            self.flush()
        if not KernelCache._warned:
            KernelCache._warned = True
            warnings.warn(
                f"the cache of compiled kernels in {self._cache_path} is damaged "
                f"({type(error).__name__}): compiling again. If this is repeated, "
                "delete the folder",
                RuntimeWarning,
                stacklevel=2,
            )


class _CheckedFile(IndexDataCacheFile):
    """Store the hash of a file's content in front of it.

    A damaged file is refused before it is unpickled or run: damaged pickles can raise
    any error, claim any amount of memory, or load as something else.
    """

    def _load_index(self) -> Any:
        try:
            return self._read(self._index_path)
        except FileNotFoundError:
            return {}

    def _save_index(self, overloads: Any) -> None:
        self._write(self._index_path, overloads)

    def _load_data(self, name: str) -> Any:
        return self._read(self._data_path(name))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)

    def _read(self, path: str) -> Any:
        stored = Path(path).read_bytes()
        digest, content = stored[:HASH_BYTES], stored[HASH_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            raise ValueError(f"the content of {path} does not match its hash")
        return pickle.loads(content)

    def _write(self, path: str, value: Any) -> None:
        content = self._dump(value)
        with self._open_for_write(path) as file:
            file.write(hashlib.sha256(content).digest() + content)
