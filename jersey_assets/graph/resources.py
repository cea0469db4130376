"""The dataset and the artifact store, as Dagster resources with described settings.

What belongs here: settings that several assets share. Knobs of one asset are that
asset's config. The resources hand out the rooms' own objects.
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
    """Where the dataset lies; empty: where the artifact root's own one does."""
    return os.environ.get("JERSEY_DATA_ROOT", "")


def default_artifact_root() -> str:
    """Where artifacts go unless run config says otherwise."""
    return os.environ.get("JERSEY_ARTIFACT_ROOT") or str(Path("artifacts").absolute())


def default_retrain_config() -> str:
    """The run config of the runs that the sensor asks for."""
    return os.environ.get("JERSEY_RETRAIN_CONFIG", "")


def whole_number(variable: str, default: int) -> int:
    """Reads a setting from the environment.

    Raises:
        ValueError: it is not a whole number from 0 on.
    """
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal():
        raise ValueError(f"{variable} is {text!r}: write a whole number from 0 on")
    return int(text)


_ROOTS = {
    "dataset": ("JERSEY_DATA_ROOT", default_data_root),
    "artifacts": ("JERSEY_ARTIFACT_ROOT", default_artifact_root),
}


def _refuse_moved_roots(run: dg.DagsterRun) -> None:
    """Keeps run config from moving a root, since weights are read below them.

    Whoever may start a run chooses its run config; only the operator chooses the
    environment.

    Raises:
        ValueError: run config names another root than the environment does.
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
    """A resource whose root the operator alone chooses.

    Its runs can be told from runs that have lost their process.
    """

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Ties the run to this process."""
        if context.run is not None and context.instance is not None:
            _refuse_moved_roots(context.run)
            tie(context.instance, context.run.run_id)
            end_lost_runs(context.instance)


class Dataset(Rooted):
    """The annotated crops, and the rules they are held to."""

    root: str = Field(
        default_factory=default_data_root,
        description="folder with train/, valid/ and, where there is one, test/, or an "
        "fsspec URL of one; empty: the dataset that the artifact root belongs to, else "
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
        """Which dataset it is: the one set, else the artifact root's own.

        Raises:
            StorageError: that cannot be told.
        """
        return dataset_in_use(artifacts.store(), self.root)

    def open(self, artifacts: "Artifacts") -> DatasetRoot:
        """The dataset for a run to read; one that lies elsewhere is fetched, once.

        Raises:
            OwnerError: the artifact root belongs to another dataset.
            MirrorError: it cannot be fetched.
        """
        # Handed over meanwhile, a root is refused to the runs of its former dataset.
        dataset = self._opened or self.used_with(artifacts)
        refuse_other(artifacts.store(), dataset)
        if self._opened is None and dataset.mirror is not None:
            dataset.mirror.refresh(say=self._say)
        self._opened = dataset
        return dataset

    def rules(self) -> Rules:
        """The rules that annotations are held to."""
        return Rules(**{rule: getattr(self, rule) for rule in OFFERED})


class Artifacts(Rooted):
    """The artifact store."""

    root: str = Field(
        default_factory=default_artifact_root,
        description="a folder or any fsspec URL; JERSEY_ARTIFACT_ROOT sets it, and run "
        "config cannot",
    )
    keep_versions: int = Field(
        default=5, ge=1, description="versions that stay of each artifact"
    )
    keep_releases: int = Field(
        default=20, ge=1, description="versions that stay of released_model"
    )

    _published: dict[str, str] = PrivateAttr(default_factory=dict)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Self]:
        """Ties the run to this process; it begins with what is published.

        While it lasts, runs that have lost their process are ended: where no daemon
        does that, nobody else frees what they hold.
        """
        self.setup_for_execution(context)
        self._published = {}
        with ExitStack() as background:
            if context.run is not None and context.instance is not None:
                background.enter_context(lost_runs_ended(context.instance))
            yield self

    def store(self) -> Store:
        """The store, as rooms take it; a run reads what it has itself published."""
        return Store(self.root, self.keep_versions, self.keep_releases, self._published)


class Retraining(dg.ConfigurableResource):
    """When the sensor asks for a retraining, and with which recipe."""

    config: str = Field(
        default_factory=default_retrain_config,
        description="YAML file of run config, such as presets/default.yaml; empty: "
        "every default; JERSEY_RETRAIN_CONFIG sets it",
    )
    min_new_rows: int = Field(
        default_factory=lambda: whole_number("JERSEY_RETRAIN_MIN_ROWS", 0),
        ge=0,
        description="rows more than the last training read that are worth another one; "
        "0: any change is; JERSEY_RETRAIN_MIN_ROWS sets it",
    )
    attempts: int = Field(
        default=5, ge=1, description="runs asked for until the same files are given up"
    )
    first_wait_s: int = Field(
        default_factory=lambda: whole_number("JERSEY_RETRAIN_WAIT_S", 60),
        ge=0,
        description="seconds from a failed run to the next, four times as many each "
        "time; JERSEY_RETRAIN_WAIT_S sets it",
    )

    def run_config(self) -> dict[str, Any]:
        """The run config of the runs that the sensor asks for.

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
            raise ValueError(f"JERSEY_RETRAIN_CONFIG: {self.config} is no run config")
        return content
