"""One picture file to pixels: which kinds are converted how, and which are refused with what reason.

Every picture becomes 8-bit RGB, turned as its EXIF orientation says. Grey is repeated, palettes are looked up,
CMYK goes through Pillow, and alpha is dropped without a background, as the papers' loaders do. Of 16 bits the
upper 8 stay; of an animation the first frame. Numbers without a defined white (mode F, wide integers), colour
spaces without a defined conversion (LAB) and pictures above `LARGEST` pixels are refused by name.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from data.sets.dataset import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST = 89_478_485  # pixels, 256 MiB of RGB: Pillow's own line for what may be a decompression bomb
CONVERTED = {"1", "L", "LA", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}  # as Pillow does it
ORIENTATION = 0x0112  # the EXIF tag
BROKEN = (  # what decoders raise on broken files, beside OSError
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    ArithmeticError,
    NotImplementedError,
    struct.error,
    zlib.error,
)


class Unreadable(Exception):
    """A file that is there but gives no picture; the text is why, in a few words."""


def size(file: Path) -> tuple[int, int]:
    """Height and width in pixels of the picture that `decode` gives, from the file's head alone.

    Raises Unreadable; DataError where the file itself cannot be opened.
    """
    with _opened(file) as picture:
        height, width = picture.height, picture.width
        return (width, height) if _orientation(picture) >= 5 else (height, width)


def decode(file: Path) -> Tensor:
    """The picture: uint8 (3, H, W), stored channels last. Raises as `size` does."""
    with _opened(file) as picture:
        turned = _orientation(picture)
        pixels = _jpeg(file) if picture.format == "JPEG" and picture.mode in ("RGB", "L") else None
        if pixels is None:
            pixels = torch.from_numpy(_rgb(picture)).permute(2, 0, 1)
        return _upright(pixels, turned)


@contextmanager
def _opened(file: Path) -> Iterator[Image]:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            if picture.width * picture.height > LARGEST:
                raise Unreadable(f"{picture.width} x {picture.height} pixels are more than {LARGEST:,}")
            yield picture
    except Image.DecompressionBombError as error:
        raise Unreadable(f"more than {LARGEST:,} pixels") from error
    except OSError as error:
        if error.errno is not None:  # of the disk, not of the picture: another run may well read it
            raise DataError(
                f"{file} cannot be read ({error.strerror}): see to the disk or the file"
            ) from error
        raise Unreadable(_why(error, file)) from error
    except BROKEN as error:
        raise Unreadable(_why(error, file)) from error


def _why(error: Exception, file: Path) -> str:
    text = str(error).replace(repr(str(file)), "the file").replace(str(file), "the file")
    return " ".join(text.split())[:120] or type(error).__name__


def _orientation(picture: Image) -> int:
    """1 to 8; 1 (upright) where the EXIF block is absent or broken."""
    try:
        found = picture.getexif().get(ORIENTATION, 1)
    except (OSError, *BROKEN):
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _jpeg(file: Path) -> Tensor | None:
    """By torchvision, a third faster than Pillow and with the same pixels; None where it refuses the file."""
    from torchvision.io import ImageReadMode, decode_jpeg

    data = torch.from_numpy(np.fromfile(file, dtype=np.uint8))
    try:
        return decode_jpeg(data, mode=ImageReadMode.RGB)  # type: ignore[no-any-return]
    except RuntimeError:
        return None  # Pillow has the last word, and says why


def _rgb(picture: Image) -> np.ndarray:
    """(H, W, 3) uint8."""
    if picture.mode == "RGB":
        return np.array(picture)
    if picture.mode in CONVERTED:
        return np.array(picture.convert("RGB"))
    if picture.mode.startswith("I"):  # 16 bits; some versions of Pillow open them as 32
        grey = np.array(picture)
        if grey.min() < 0 or grey.max() > 65535:
            raise Unreadable(f"mode {picture.mode} with values of {grey.min()} to {grey.max()} has no white")
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    raise Unreadable(f"mode {picture.mode} has no defined conversion to RGB")


def _upright(pixels: Tensor, orientation: int) -> Tensor:
    """Undo an EXIF orientation. pixels: (3, H, W)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 2)
    across = orientation in (2, 3, 6, 7)
    down = orientation in (3, 4, 7, 8)
    if across or down:
        pixels = pixels.flip([axis for axis, wanted in ((1, down), (2, across)) if wanted])
    return pixels
