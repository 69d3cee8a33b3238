"""Settings of the C library's allocator for memory that loading frees."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)

_LOADING = 1 << 20
"""Block size in bytes from which glibc maps each block separately while a model is loaded."""

_RUNNING = 32 << 20
"""Block size in bytes after loading: the largest threshold that glibc itself chooses. Activations are freed all the
time, and mapping them anew for every pass would cost more than it saves."""


@contextmanager
def freed_at_once() -> Iterator[None]:
    """Give the memory of tensors that are freed back to the system at once; also a decorator, for functions that load.

    Left alone, glibc soon takes blocks of up to 32 MB from one heap, where a temporary tensor leaves a hole between
    weights that stay. Before glibc 2.38 an aligned block of the same size does not fit that hole, so the heap grows by
    what is freed: 0.7 MB for each of the 7,680 expert weights of 26B-A4B. Without glibc this does nothing.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _LOADING)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _RUNNING)
        library.mallopt(_TRIM_THRESHOLD, 2 * _RUNNING)
        library.malloc_trim(0)
