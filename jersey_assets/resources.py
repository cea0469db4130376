"""The dataset and the artifact store, as Dagster resources with described settings.

What belongs here: settings that several assets share. Knobs of one asset are that
asset's config. The resources hand out the rooms' own objects.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dagster as dg
from pydantic import Field

from jersey_assets.storage.store import Store

if TYPE_CHECKING:
    from jersey_assets.annotations.rules import Rules


def default_data_root() -> str:
    """Where the dataset lies unless run config says otherwise."""
    return os.environ.get("JERSEY_DATA_ROOT") or str(Path("data/sample").absolute())


def default_artifact_root() -> str:
    """Where artifacts go unless run config says otherwise."""
    return os.environ.get("JERSEY_ARTIFACT_ROOT") or str(Path("artifacts").absolute())


class Dataset(dg.ConfigurableResource):
    """The annotated crops, and the rules they are held to."""

    root: str = Field(
        default_factory=default_data_root,
        description="folder with train/, valid/ and, where there is one, test/; "
        "JERSEY_DATA_ROOT sets it",
    )
    label_pattern: str = Field(
        default="[0-9]{0,2}", description="regular expression of a whole label"
    )
    conflict_policy: Literal["reject", "prefer_number"] = Field(
        default="reject",
        description="an image listed with two labels: reject = set all its rows "
        'aside; prefer_number = where they are "" and one number, keep the number',
    )
    rejected_budget: float = Field(
        default=0.10,
        ge=0,
        le=1,
        description="share of the rows that may be set aside before a run stops, "
        "never fewer than 5 rows",
    )

    @property
    def path(self) -> Path:
        """The dataset root."""
        return Path(self.root)

    def rules(self) -> "Rules":
        """The rules, as the annotations room takes them."""
        from jersey_assets.annotations.rules import Rules

        return Rules(
            label_pattern=self.label_pattern,
            conflict_policy=self.conflict_policy,
            rejected_budget=self.rejected_budget,
        )


class Artifacts(dg.ConfigurableResource):
    """The artifact store."""

    root: str = Field(
        default_factory=default_artifact_root,
        description="a folder or any fsspec URL; JERSEY_ARTIFACT_ROOT sets it",
    )
    keep_versions: int = Field(
        default=5, ge=1, description="versions that stay of each artifact"
    )
    keep_releases: int = Field(
        default=20, ge=1, description="versions that stay of released_model"
    )

    def store(self) -> Store:
        """The store, as rooms take it."""
        return Store(self.root, self.keep_versions, self.keep_releases)
