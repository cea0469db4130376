"""A Dagster asset graph for jersey-number models.

The files beside this one are the upper floor: Dagster's nouns. The folders are the
rooms: plain Python that runs and is tested without Dagster.
"""

import os

# OpenMP threads that spin while they wait make a training several times slower as soon
# as another process wants a core. Read once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
