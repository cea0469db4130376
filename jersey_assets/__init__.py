"""A Dagster asset graph for jersey-number models.

`graph/`, `runs/`, `operations/` and most files beside this one wire it to Dagster; the
other folders are plain Python that runs and is tested without it.
"""

import os

# OpenMP threads that spin while they wait make a training several times slower as soon
# as another process needs a core. torch reads this once, when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
