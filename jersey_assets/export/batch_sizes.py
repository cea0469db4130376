"""The batch sizes of the contract, the parity report and the latency figures."""

from __future__ import annotations

USUAL = 32
"""The size when it does not matter."""
CONTRACT = (1, 2, 3, 4, 5, 8, 16, 17, 32, 64)
"""Sizes that every model is checked with; a few more are drawn for each file."""
PARITY = (1, 2, 3, 8, 17, USUAL)
"""Sizes whose logits are compared with PyTorch's, as far as there are crops."""
LATENCY = (1, 8, 32)
"""Sizes that are timed."""
