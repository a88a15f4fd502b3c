"""Pictures as JPEG, for models that see."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from .errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image

_LONGEST_SIDE = 1024
_QUALITY = 75
# The client messages are a MiB at most; base64 makes four bytes of three.
_MOST_BYTES = 700_000


async def to_jpeg(frame: Any) -> bytes:
    """The JPEG of a picture: of one itself in bytes, of a Pillow image, or of PyAV's ``VideoFrame``.

    An image is encoded in a thread, at most 1024 pixels wide and high.

    Raises:
        InputError: if it is no picture, or too large.
        ConfigurationError: if Pillow is needed and not installed.
    """
    if isinstance(frame, bytes | bytearray | memoryview):
        await trio.lowlevel.checkpoint()
        jpeg = bytes(frame)
        if not (jpeg.startswith(b"\xff\xd8\xff") and jpeg.rstrip(b"\0").endswith(b"\xff\xd9")):
            raise InputError("these bytes are no JPEG: its first are FF D8 FF, its last FF D9")
    else:
        jpeg = await trio.to_thread.run_sync(partial(_encode, frame))
    if len(jpeg) > _MOST_BYTES:
        raise InputError(f"a picture of {len(jpeg)} bytes: at most {_MOST_BYTES} can be sent")
    return jpeg


def _encode(frame: Any) -> bytes:
    try:
        from PIL import Image
    except ImportError:
        raise ConfigurationError("pictures need Pillow: pip install voicetrio[video]") from None
    image = frame.to_image() if hasattr(frame, "to_image") else frame  # PyAV's frames make one themselves
    if not isinstance(image, Image.Image):
        raise InputError(f"no picture: {type(frame).__name__}")
    if not image.width or not image.height:
        raise InputError("an empty picture")
    try:
        return _compress(image)
    except (OSError, SyntaxError, ValueError) as error:  # it is read only now: truncated, broken, closed
        raise InputError(f"a picture that cannot be read: {error}") from None


def _compress(image: Image) -> bytes:
    picture = image.convert("RGB")
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()
