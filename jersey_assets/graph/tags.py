"""Who owns the assets, and what those that compute on a GPU ask for."""

from __future__ import annotations

import os

OWNERS = os.environ.get("JERSEY_OWNERS", "").replace(",", " ").split()
"""Addresses and `team:NAME`s of those who are asked about an asset."""

GPU_POOL = "gpu"
"""`dagster.yaml` lets one op at a time work in it."""

# Only Dagster's Kubernetes launcher and executor read this; a laptop ignores it.
GPU_TAGS = {
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    }
}
