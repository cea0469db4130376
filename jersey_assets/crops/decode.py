"""Decodes JPEG and PNG bytes to pixels, with limits for hostile files.

Validation, training, parity and the deployed predictor all decode with this function,
so a model sees in production what it was trained on.
"""

from __future__ import annotations

import io
import re
import struct
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from jersey_assets.crops.limits import MAX_PIXELS

# Every image is checked against a limit of pixels before it is decoded.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
# A progressive JPEG refines the whole image once per scan; real encoders write about
# ten, while a small file can have thousands and keep a decoder busy for minutes.
_MAX_SCANS = 100
# Markers in front of a segment, or the end; not stuffed bytes and restart markers.
_SEGMENT = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
_JFIF = b"\xff\xe0\x00\x10JFIF\x00"
_BASELINE_FRAME, _START_OF_SCAN = b"\xc0", b"\xda"
_SCAN_OF_THREE = b"\xda\x03"  # marker and number of components, 3 bytes apart
_TABLES = (b"\xdb", b"\xc4", b"\xdd")  # quantization, Huffman, restart interval
_MAY_ROTATE = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
_OTHER_FORMATS = {
    b"GIF8": "a GIF",
    b"RIFF": "a WebP or other RIFF file",
    b"BM": "a BMP",
    b"II*\x00": "a TIFF",
    b"MM\x00*": "a TIFF",
    b"%PDF": "a PDF",
    b"%!": "PostScript",
    b"<": "HTML, SVG or XML",
    b"version https://git-lfs": "a Git LFS pointer; run git lfs pull",
}


class ImageError(ValueError):
    """The image cannot be decoded or used as a crop.

    Attributes:
        reason: one of the `image.*` codes.
    """

    def __init__(self, reason: str, message: str) -> None:
        """Keep the code beside the message."""
        super().__init__(message)
        self.reason = reason


def decode_crop(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a JPEG or PNG file fully.

    The EXIF orientation is applied, 16-bit grey scaled to 8 bits, alpha composited on
    black, palettes and CMYK converted.

    Args:
        data: the file's bytes.
        max_pixels: width times height above which the image is refused undecoded.

    Returns:
        An image of mode RGB, loaded.

    Raises:
        ImageError: with the reason `image.empty`, `image.format`, `image.truncated`,
            `image.corrupt`, `image.decode` or `image.too_large`.
    """
    if not data:
        raise ImageError("image.empty", "the file is empty; write the image again")
    if not data.startswith((_JPEG, _PNG)):
        raise ImageError("image.format", _name_format(data))
    if image := _decode_plain(data, max_pixels):
        return image
    try:
        image = _open(data, max_pixels)
        image.load()
        return _to_rgb(_upright(image))
    except ImageError:
        raise
    # Pillow raises more than eight types on hostile bytes; all mean the same here.
    except Exception as error:
        raise _classify(error, data) from error


def _decode_plain(data: bytes, max_pixels: int) -> Image.Image | None:
    """Decode the most common kind: an untagged JPEG with one baseline scan in colour.

    Pillow's reader of JPEG headers takes a quarter of the time of a small crop; here
    its decoder gets the same bytes directly. None means that the full way is needed.
    """
    position, size = 2, None
    while data[position : position + 1] == b"\xff":
        marker = data[position + 1 : position + 2]
        if marker == _START_OF_SCAN:
            break
        if marker == _BASELINE_FRAME and data[position + 9 : position + 10] == b"\x03":
            size = struct.unpack_from(">HH", data, position + 5)[::-1]
        elif marker not in _TABLES and data[position : position + 9] != _JFIF:
            return None
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    if data[position + 1 : position + 5 : 3] != _SCAN_OF_THREE or not size:
        return None  # there are other segments, such as EXIF
    if not 0 < size[0] * size[1] <= max_pixels:
        return None
    try:
        return Image.frombytes("RGB", size, data, "jpeg", "RGB", "")
    except Exception:  # as many types as in decoding
        return None


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header, refuse what is too large, check a PNG's checksums."""
    image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    if image.width * image.height > max_pixels:
        raise ImageError(
            "image.too_large",
            f"{image.width} x {image.height} pixels, more than {max_pixels:,}; "
            "store the crop, not the whole picture",
        )
    if image.format == "PNG":
        # load() accepts wrong checksums, verify() leaves an unusable object.
        image.verify()
        image = Image.open(io.BytesIO(data), formats=("PNG",))
    elif _has_too_many_scans(data):
        raise ImageError(
            "image.decode",
            f"more than {_MAX_SCANS} scans in one JPEG; save the image again",
        )
    return image


def _has_too_many_scans(data: bytes) -> bool:
    """Count the scans of a JPEG up to its end marker."""
    position, scans = 2, 0
    while found := _SEGMENT.search(data, position):
        marker, position = data[found.start() + 1], found.end()
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        if scans > _MAX_SCANS:
            return True
        position += int.from_bytes(data[position : position + 2])
    return False


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; unreadable EXIF means none, as in all viewers."""
    if _MAY_ROTATE.isdisjoint(image.info):
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as many types as in decoding
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # convert("RGB") would clip everything above 255 to white.
        values = np.asarray(image).astype(np.uint32)
        grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        black = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, layer).convert("RGB")
    return image.convert("RGB")


def _name_format(data: bytes) -> str:
    kinds = (kind for magic, kind in _OTHER_FORMATS.items() if data.startswith(magic))
    kind = next(kinds, "something else")
    return f"neither JPEG nor PNG but {kind}; convert the image to JPEG or PNG"


def _classify(error: Exception, data: bytes) -> ImageError:
    """Distinguish truncated files from damaged ones, and both from other errors."""
    text = str(error)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError("image.too_large", f"{text}; store the crop only")
    end = b"IEND" if data.startswith(_PNG) else b"\xff\xd9"
    if end not in data or "truncated" in text.lower() or isinstance(error, EOFError):
        return ImageError(
            "image.truncated", "the image ends too early; copy or export it again"
        )
    damaged = ("broken", "checksum", "corrupt", "unrecognized data")
    if isinstance(error, UnidentifiedImageError):
        text = "its header is invalid"
    if isinstance(error, SyntaxError | UnidentifiedImageError) or any(
        word in text for word in damaged
    ):
        return ImageError(
            "image.corrupt", f"the bytes are damaged ({text[:80]}); export it again"
        )
    return ImageError(
        "image.decode",
        f"cannot be decoded ({type(error).__name__}: {text[:80]}); export it again",
    )
