"""A folder of images as a table of pixels: one subfolder a class, one row an image. Needs Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .console import Problem

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
LARGEST = 32  # pixels of width and height
COLOURS = ("red", "green", "blue")
AT_A_TIME = 500


def image_files(folder: str) -> list[Path]:
    """The images below a folder, sorted by name; hidden files are none."""
    return sorted(
        path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGES and not path.name.startswith(".")
    )


def common_size(files: list[Path]) -> list[int]:
    """Width, height and channels (1 grey, 3 colour) that all images are brought to."""
    widths, heights, grey = set(), set(), True
    for path in files:
        with _opened(path) as image:
            widths.add(image.width)
            heights.add(image.height)
            grey = grey and image.mode in ("1", "L", "LA", "I", "I;16", "F")
    same = len(widths) == len(heights) == 1
    size = [min(LARGEST, *widths), min(LARGEST, *heights)] if same else [LARGEST, LARGEST]
    return [*size, 1 if grey else 3]


def image_frames(folder: str, files: list[Path], size: list[int]) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """The pixels of some images at a time, from 0 (black) to 1, beside the file names and the classes."""
    for start in range(0, len(files), AT_A_TIME):
        part = files[start : start + AT_A_TIME]
        pixels = np.stack([_pixels(path, size) for path in part], axis=1)
        names = [path.relative_to(folder) for path in part]
        about = pl.DataFrame(
            {
                "file": [name.as_posix() for name in names],
                "label": [name.parts[0] if len(name.parts) > 1 else None for name in names],
            },
            schema_overrides={"label": pl.String},
        )
        yield pl.DataFrame(dict(zip(pixel_names(size), pixels, strict=True))), about


def pixel_names(size: list[int]) -> list[str]:
    """pixel_ROW_COLUMN, for colour images followed by _red, _green or _blue."""
    width, height, channels = size
    places = [f"pixel_{row}_{column}" for row in range(height) for column in range(width)]
    return places if channels == 1 else [f"{place}_{colour}" for place in places for colour in COLOURS]


def image_shape(size: list[int]) -> tuple[int, ...]:
    """Of the array that the pixels of one image make: (height, width), or (height, width, 3)."""
    width, height, channels = size
    return (height, width) if channels == 1 else (height, width, channels)


def _pixels(path: Path, size: list[int]) -> NDArray[np.float32]:
    from PIL import Image, ImageOps

    width, height, channels = size
    with _opened(path) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            if upright.mode in ("I", "I;16"):  # Pillow would cut off what is above 255
                upright = Image.fromarray((np.asarray(upright) / 256).clip(0, 255).astype(np.uint8))
            small = upright.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BOX)
        except OSError as error:
            raise Problem(f"{path}: not an image, or a damaged one") from error
        pixels: NDArray[np.float32] = np.asarray(small, np.float32).ravel() / np.float32(255)
        return pixels


def _opened(path: Path) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        raise Problem(f"{path}: not an image, or a damaged one") from error
    except OSError as error:
        raise Problem(f"{path}: {(error.strerror or str(error)).lower()}") from error
