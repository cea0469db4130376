"""Models to read with: the exporter's own."""

from jersey_assets_tests.export.conftest import (
    proto,
    resnet,
    resnet_folder,
    small,
    small_bytes,
)

__all__ = ["proto", "resnet", "resnet_folder", "small", "small_bytes"]
