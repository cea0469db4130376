"""Dagster resources: dataset, artifacts and retraining, and their settings.

Settings that several assets share belong here; settings of one asset are that asset's
config. The resources hand out plain objects such as `Store`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import dagster as dg
import yaml
from pydantic import Field, PrivateAttr

from jersey_assets.annotations.rules import (
    OFFERED,
    ConflictPolicy,
    Rules,
    setting,
)
from jersey_assets.runs.liveness import end_lost_runs, lost_runs_ended, tie
from jersey_assets.storage.owner import DatasetRoot, dataset_in_use, refuse_other
from jersey_assets.storage.store import Store


def default_data_root() -> str:
    """Where the dataset is; empty: the one that the artifact root belongs to."""
    return os.environ.get("JERSEY_DATA_ROOT", "")


def default_artifact_root() -> str:
    """Where artifacts go unless run config says otherwise."""
    return os.environ.get("JERSEY_ARTIFACT_ROOT") or str(Path("artifacts").absolute())


def default_retrain_config() -> str:
    """The run config file of the runs that the sensor requests."""
    return os.environ.get("JERSEY_RETRAIN_CONFIG", "")


def whole_number(variable: str, default: int) -> int:
    """Reads a setting from the environment.

    Raises:
        ValueError: it is not a whole number of 0 or more.
    """
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal():
        raise ValueError(f"{variable} is {text!r}; set a whole number of 0 or more")
    return int(text)


_ROOTS = {
    "dataset": ("JERSEY_DATA_ROOT", default_data_root),
    "artifacts": ("JERSEY_ARTIFACT_ROOT", default_artifact_root),
}


def _refuse_moved_roots(run: dg.DagsterRun) -> None:
    """Keeps run config from moving a root, since weights are read from there.

    Anyone who may start a run chooses its run config; only the operator chooses the
    environment.

    Raises:
        ValueError: run config names a root other than the environment's.
    """
    given: Any = run.run_config.get("resources", {})
    for name, (variable, default) in _ROOTS.items():
        config = (given.get(name) or {}).get("config") or {}
        if config.get("root", default()) != default():
            raise ValueError(
                f"resources: {name}: root cannot be set in run config; set {variable} "
                f"instead, which is {default() or 'empty'}"
            )


class Rooted(dg.ConfigurableResource):
    """A resource whose root only the operator chooses.

    Its runs are tied to their process, so that lost runs are recognized.
    """

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Ties the run to this process."""
        if context.run is not None and context.instance is not None:
            _refuse_moved_roots(context.run)
            tie(context.instance, context.run.run_id)
            end_lost_runs(context.instance)


class Dataset(Rooted):
    """The annotated crops, and the rules of their validation."""

    root: str = Field(
        default_factory=default_data_root,
        description="folder with train/, valid/ and, optionally, test/, or an fsspec "
        "URL of one; empty: the dataset that the artifact root belongs to, or else "
        "data/sample; JERSEY_DATA_ROOT sets it, and run config cannot",
    )
    label_pattern: str = setting("label_pattern")
    conflict_policy: ConflictPolicy = setting("conflict_policy")
    rejected_budget: float = setting("rejected_budget")

    _opened: DatasetRoot | None = PrivateAttr(default=None)
    _say: Callable[[str], None] = PrivateAttr(default=print)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Ties the run to this process."""
        super().setup_for_execution(context)
        self._opened = None
        self._say = context.log.info if context.log else print

    def used_with(self, artifacts: "Artifacts") -> DatasetRoot:
        """Returns the dataset that is set, or else the artifact root's own.

        Raises:
            StorageError: the artifact root's own dataset cannot be determined.
        """
        return dataset_in_use(artifacts.store(), self.root)

    def open(self, artifacts: "Artifacts") -> DatasetRoot:
        """Returns the dataset for a run to read; a remote one is fetched, once.

        Raises:
            OwnerError: the artifact root belongs to another dataset.
            MirrorError: it cannot be fetched.
        """
        # A root that has been handed over refuses runs of its former dataset.
        dataset = self._opened or self.used_with(artifacts)
        refuse_other(artifacts.store(), dataset)
        if self._opened is None and dataset.mirror is not None:
            dataset.mirror.refresh(say=self._say)
        self._opened = dataset
        return dataset

    def rules(self) -> Rules:
        """The rules of validation."""
        return Rules(**{rule: getattr(self, rule) for rule in OFFERED})


class Artifacts(Rooted):
    """The artifact store."""

    root: str = Field(
        default_factory=default_artifact_root,
        description="a folder or any fsspec URL; JERSEY_ARTIFACT_ROOT sets it, and run "
        "config cannot",
    )
    keep_versions: int = Field(
        default=5, ge=1, description="versions to keep of each artifact"
    )
    keep_releases: int = Field(
        default=20, ge=1, description="versions to keep of released_model"
    )

    _published: dict[str, str] = PrivateAttr(default_factory=dict)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Self]:
        """Ties the run to this process; it starts from what is published.

        While the run lasts, it ends runs that have lost their process: without a
        daemon, nothing else frees what they hold.
        """
        self.setup_for_execution(context)
        self._published = {}
        with ExitStack() as background:
            if context.run is not None and context.instance is not None:
                background.enter_context(lost_runs_ended(context.instance))
            yield self

    def store(self) -> Store:
        """Opens the store; a run reads the versions that it has published itself."""
        return Store(self.root, self.keep_versions, self.keep_releases, self._published)


class Retraining(dg.ConfigurableResource):
    """When the sensor requests a retraining, and with which recipe."""

    config: str = Field(
        default_factory=default_retrain_config,
        description="YAML file of run config, such as presets/default.yaml; empty: "
        "every default; JERSEY_RETRAIN_CONFIG sets it",
    )
    min_new_rows: int = Field(
        default_factory=lambda: whole_number("JERSEY_RETRAIN_MIN_ROWS", 0),
        ge=0,
        description="how many more rows than the last training read are worth another "
        "one; 0: any change is; JERSEY_RETRAIN_MIN_ROWS sets it",
    )
    attempts: int = Field(
        default=5, ge=1, description="failed runs until the same files are given up"
    )
    first_wait_s: int = Field(
        default_factory=lambda: whole_number("JERSEY_RETRAIN_WAIT_S", 60),
        ge=0,
        description="seconds from a failed run to the next; four times as many each "
        "time; JERSEY_RETRAIN_WAIT_S sets it",
    )

    def run_config(self) -> dict[str, Any]:
        """The run config of the runs that the sensor requests.

        Raises:
            ValueError: the file cannot be read, or is not run config.
        """
        if not self.config:
            return {}
        try:
            content = yaml.safe_load(Path(self.config).read_text("utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ValueError(f"JERSEY_RETRAIN_CONFIG: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(
                f"JERSEY_RETRAIN_CONFIG: {self.config} does not hold run config"
            )
        return content
