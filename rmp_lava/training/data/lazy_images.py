"""Images on disk that are selected like an array, and decoded only when their pixels are needed."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ...errors import DataError
from ...progress import Progress

MAX_DECODED_BYTES = 2**30
"""Most bytes of images that are in memory at once; as float32 they take four times as much."""
_LONG = 1000
"""From this many images on, decoding takes seconds and shows a progress bar; batches of a training are smaller."""
_THREADS = 8
"""Each may have a whole photograph in memory while it resizes it."""


class LazyImages:
    """An array of images, uint8 (N, C, H, W), whose pixels are on disk.

    An index array, a mask or a slice selects images without decoding any; an integer decodes one image. `numpy.asarray` decodes
    all, and raises `DataError` if they would take more than `MAX_DECODED_BYTES`.

    `names` (object, (N,)) are strings that identify images of the set `what`. `read` maps one to its image, uint8 `image_shape`,
    (C, H, W); it is called from several threads, and raises `DataError` for a bad file.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, names: np.ndarray, read: Callable[[str], np.ndarray], image_shape: tuple[int, int, int], what: str
    ) -> None:
        self._names, self._read, self._image_shape, self._what = names, read, image_shape, what

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return (len(self._names), *self._image_shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all images when decoded."""
        return len(self) * int(np.prod(self._image_shape))

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: Any) -> LazyImages | np.ndarray:
        chosen = self._names[index]
        if isinstance(chosen, str):
            return self._read(chosen)
        return LazyImages(chosen, self._read, self._image_shape, self._what)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.nbytes > MAX_DECODED_BYTES:
            most = MAX_DECODED_BYTES // int(np.prod(self._image_shape))
            raise DataError(
                f"{len(self):,} images of {self._what} would take {self.nbytes / 2**30:.1f} GiB; at most {most:,} are "
                "decoded at once, so take fewer (`rmp-lava run --samples`), or block by block"
            )
        images = np.empty(self.shape, dtype=np.uint8)
        workers = max(1, min(_THREADS, os.cpu_count() or 1, len(self)))
        bar = Progress(f"decoding {self._what}", len(self), shown=None if len(self) >= _LONG else False)
        with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool, bar:
            # Decoders warn of odd metadata, which photographs have. Set once, as all threads share the filters.
            warnings.simplefilter("ignore")
            try:
                for i, image in enumerate(pool.map(self._read, self._names)):
                    images[i] = image
                    bar.advance()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return images if dtype is None else images.astype(dtype, copy=False)


Images = np.ndarray | LazyImages


def checksum(images: Images, start: int = 0) -> int:
    """CRC-32 of an array's content, continued from `start`; for images on disk, of their names, as reading them takes long."""
    if isinstance(images, LazyImages):
        for name in images._names:
            start = zlib.crc32(name.encode("utf-8", "surrogateescape") + b"\0", start)
        return start
    return zlib.crc32(np.ascontiguousarray(images).data, start)
