"""Owners of the assets, and the pool and tags of those that compute on a GPU."""

from __future__ import annotations

import os

OWNERS = os.environ.get("JERSEY_OWNERS", "").replace(",", " ").split()
"""E-mail addresses and `team:NAME`s of the assets' owners."""

GPU_POOL = "gpu"
"""A pool; `dagster.yaml` lets one op at a time run in it."""

# Only Dagster's Kubernetes launcher and executor read this; a laptop ignores it.
GPU_TAGS = {
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    }
}
