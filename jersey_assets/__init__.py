"""A Dagster asset graph for jersey-number models.

The files beside this one are the upper floor: Dagster's nouns. The folders are the
rooms: plain Python that runs and is tested without Dagster.
"""

__version__ = "0.1.0"
