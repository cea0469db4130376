"""The version of the code that makes an artifact: a digest over its sources."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_SOURCES = {".py", ".jinja"}
# In the order in which data flows: a room's artifacts depend on the rooms before it.
_ROOMS = {
    "plots": ("matplotlib",),
    "annotations": ("msgspec", "numpy", "pandas", "pandera", "pillow", "pyarrow"),
    "rendering": (),
    "labels": (),
    "training": ("lightning", "torch", "torchmetrics", "torchvision"),
    "export": ("jinja2", "onnx", "onnxruntime", "onnxscript"),
    "release": (),
}


@cache
def code_version(room: str) -> str:
    """Digests the sources and libraries that a room's artifacts come from.

    Args:
        room: name of the room's folder.

    Returns:
        12 hex digits, the same for the same sources and library versions.
    """
    digest = hashlib.sha256()
    for name, libraries in _ROOMS.items():
        sources = (_PACKAGE / name).rglob("*")
        for source in sorted(s for s in sources if s.suffix in _SOURCES):
            digest.update(f"{source.relative_to(_PACKAGE)}\0".encode())
            digest.update(source.read_bytes())
        for library in libraries:
            digest.update(f"{library}=={version(library)}\0".encode())
        if name == room:
            return digest.hexdigest()[:12]
    raise ValueError(f"no room named {room}")
