"""The command line: the rooms without Dagster."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from jersey_assets.text import count, readable, shorten
from jersey_assets.verdict import Verdict

if TYPE_CHECKING:
    from jersey_assets.release.releases import Withdrawals
    from jersey_assets.storage.manifest import Artifact

# What a command imports beside this package, as pip calls it; with the name to import
# where that is another.
_NEEDS = {
    "validate": "msgspec numpy pandas pandera pillow pyarrow pydantic",
    "check-onnx": "matplotlib numpy onnx onnxruntime pillow",
    "predict": "numpy onnxruntime pillow",
    "render": "matplotlib numpy pillow",
    "sample": "fsspec matplotlib numpy pillow",
    "adopt": "fsspec",
    "releases": "fsspec",
}
_CHECKPOINT_NEEDS = "pydantic torch torchvision"
_IMPORTED_AS = {"pillow": "PIL"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line without the program's name; the process's own
            by default.

    Returns:
        The exit status: 0, 1 where a dataset or model is refused, 2 where the
        command cannot be carried out.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(arguments).parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8
    try:
        _require_packages(options)
        return int(options.run(options))
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        text = readable(f"jersey-assets {options.command}: {shorten(str(error), 2000)}")
        print(text, file=sys.stderr)
        return 2


def _require_packages(options: argparse.Namespace) -> None:
    """Raises ImportError where a package is missing, as where `predict` is deployed."""
    needs = _NEEDS[options.command].split()
    if getattr(options, "checkpoint", None):
        needs += _CHECKPOINT_NEEDS.split()
    missing = [
        name for name in needs if find_spec(_IMPORTED_AS.get(name, name)) is None
    ]
    if missing:
        raise ImportError(
            f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed "
            f"here; install what this command needs (pip install {' '.join(missing)}), "
            "or this package without --no-deps"
        )


def _offer_rules(parser: argparse.ArgumentParser) -> None:
    """Adds an option for each rule that people choose, as `Rules` declares it."""
    with suppress(ImportError):  # `_require_packages` says what is missing
        from jersey_assets.annotations.rules import OFFERED, Rules

        for name in OFFERED:
            rule = Rules.model_fields[name]
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                type=type(rule.default),
                default=rule.default,
                choices=get_args(rule.annotation) or None,
                help=f"{rule.description} (default: %(default)s)",
            )


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jersey-assets", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    validate = commands.add_parser("validate", help="name every fault of a dataset")
    validate.add_argument("root", type=Path, help="dataset root")
    validate.add_argument("--json", type=Path, help="write the findings here as well")
    if arguments[:1] == ["validate"]:
        _offer_rules(validate)
    validate.set_defaults(run=_validate)

    check = commands.add_parser("check-onnx", help="check a model against its contract")
    check.add_argument("model", type=Path, help="the ONNX file")
    check.add_argument("--checkpoint", type=Path, help="the model.ckpt it came from")
    check.add_argument("--labels", type=Path, help="labels_mapping.json")
    check.add_argument("--json", type=Path, help="write the results here as well")
    check.set_defaults(run=_check_onnx)

    predict = commands.add_parser("predict", help="read the number on crops")
    predict.add_argument("model", type=Path, help="the ONNX file")
    predict.add_argument("images", type=Path, nargs="+", help="crops")
    predict.set_defaults(run=_predict)

    render = commands.add_parser("render", help="draw a dataset")
    render.add_argument("out", type=Path, help="folder to make")
    render.add_argument("--train", type=int, default=1200, help="crops to draw")
    render.add_argument("--valid", type=int, default=200, help="crops to draw")
    render.add_argument("--test", type=int, default=200, help="crops to draw")
    render.add_argument("--seed", type=int, default=0, help="another seed, other crops")
    render.add_argument(
        "--faults",
        action="store_true",
        help="a small dataset with a fault of each kind instead, to try validate on",
    )
    render.set_defaults(run=_render)

    sample = commands.add_parser(
        "sample", help="draw data/sample where it is the dataset in use and is missing"
    )
    sample.set_defaults(run=_sample)

    adopt = commands.add_parser(
        "adopt", help="make an artifact root another dataset's from now on"
    )
    adopt.add_argument("dataset", help="dataset root, or its URL")
    adopt.set_defaults(run=_adopt)

    releases = commands.add_parser("releases", help="list releases or go back to one")
    releases.add_argument("action", choices=("list", "rollback"))
    releases.add_argument("version", nargs="?", help="the release to go back to")
    for command in (adopt, releases):
        command.add_argument(
            "--artifacts",
            default=_artifact_root(),
            help="artifact root, JERSEY_ARTIFACT_ROOT or ./artifacts by default",
        )
    releases.set_defaults(run=_releases)
    return parser


def _validate(options: argparse.Namespace) -> int:
    import pandas as pd
    from pydantic import ValidationError

    from jersey_assets.annotations.checks import verdicts
    from jersey_assets.annotations.result import place
    from jersey_assets.annotations.rules import OFFERED, Rules
    from jersey_assets.annotations.validate import validate

    try:
        rules = Rules(**{name: getattr(options, name) for name in OFFERED})
    except ValidationError as error:
        wrong = error.errors()[0]
        option = str(wrong["loc"][0]).replace("_", "-")
        raise ValueError(f"--{option}: {wrong['msg']}") from error
    found = validate(options.root, rules, _progress)
    findings = pd.concat([found.rejected, found.warnings], ignore_index=True)
    for row in findings.itertuples():
        where = place(str(row.file), int(str(row.line)))
        print(readable(f"{where}: {row.severity}: {row.reason}: {row.message}"))
    _print_verdicts(verdicts(found, rules))
    summary = found.summary
    print(
        f"{summary['outcome']}: {count(summary['rows'], 'row')} read, "
        f"{summary['kept']:,} kept, {summary['rejected']:,} set aside, "
        f"{count(summary['duplicates'], 'duplicate')} merged"
    )
    if options.json:
        columns = ["file", "line", "reason", "severity", "message"]
        keys = ("rows", "kept", "rejected", "duplicates", "outcome")
        content = {key: summary[key] for key in keys}
        content["findings"] = json.loads(findings[columns].to_json(orient="records"))
        _write_json(options.json, content)
    return int(summary["outcome"] == "reject")


def _check_onnx(options: argparse.Namespace) -> int:
    from jersey_assets.export.contract.promises import check_model
    from jersey_assets.labels.file import read_labels

    # What is wrong with these two is told before the model takes its minutes.
    labels = read_labels(options.labels) if options.labels else None
    checkpoint = None
    if options.checkpoint:
        from jersey_assets.training.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(options.checkpoint)
    verdicts = check_model(options.model, checkpoint, labels)
    _print_verdicts(verdicts)
    passed = all(verdict.passed for verdict in verdicts)
    if options.json:
        checks = [
            {
                "name": verdict.name,
                "passed": verdict.passed,
                "message": verdict.message,
                "facts": {
                    name: value
                    if not isinstance(value, float) or isfinite(value)
                    else None
                    for name, value in verdict.facts.items()
                },
            }
            for verdict in verdicts
        ]
        _write_json(options.json, {"passed": passed, "checks": checks})
    return int(not passed)


def _predict(options: argparse.Namespace) -> int:
    from jersey_assets.reader.predictor import Predictor, Unread

    failed = False
    for answer in Predictor(options.model).predict(options.images):
        image = str(answer.image)
        if isinstance(answer, Unread):
            failed = True
            print(readable(f"{image}: {answer.reason}"), file=sys.stderr)
        else:
            label = readable(shorten(answer.label)) or "(none)"
            print(f"{readable(image)}\t{label}\t{answer.confidence:.3f}")
    return int(failed)


def _render(options: argparse.Namespace) -> int:
    from jersey_assets.rendering.dataset import render_dataset

    if options.faults:
        return _render_faults(options.out, options.seed)
    render_dataset(
        options.out, options.train, options.valid, options.test, options.seed
    )
    total = options.train + options.valid + options.test
    print(readable(f"{options.out}: {count(total, 'crop')} drawn"))
    return 0


def _render_faults(out: Path, seed: int) -> int:
    from jersey_assets.rendering.faults import render_faults

    planted = render_faults(out, seed)
    for fault in planted:
        where = f"{fault.file}:{fault.line}"
        print(f"{where:<24} {fault.reason:<19} {fault.what}")
    command = shlex.join(["jersey-assets", "validate", str(out)])
    print(readable(f"{count(len(planted), 'fault')} planted; {command} finds them"))
    return 0


def _sample(options: argparse.Namespace) -> int:
    from jersey_assets.rendering.dataset import render_dataset
    from jersey_assets.storage.owner import SAMPLE, DatasetRoot, dataset_in_use
    from jersey_assets.storage.store import Store

    given = os.environ.get("JERSEY_DATA_ROOT", "")
    used = dataset_in_use(Store(_artifact_root()), given)
    if used.identity == DatasetRoot(str(SAMPLE)).identity and not SAMPLE.exists():
        print("Drawing the sample dataset")
        render_dataset(SAMPLE, 1200, 200, 200, seed=0)
    return 0


def _adopt(options: argparse.Namespace) -> int:
    from jersey_assets.storage.owner import DatasetRoot, adopt
    from jersey_assets.storage.store import Store

    dataset = DatasetRoot(options.dataset)
    if dataset.mirror is None and not dataset.path.is_dir():
        raise ValueError(f"{options.dataset}: there is no such folder")
    adopt(Store(options.artifacts), dataset)
    print(readable(f"{options.artifacts} belongs to {dataset.identity} now"))
    return 0


def _releases(options: argparse.Namespace) -> int:
    from jersey_assets.release.releases import RELEASE, roll_back, withdrawals
    from jersey_assets.storage.store import Store

    store = Store(options.artifacts)
    if options.action == "rollback":
        if options.version is None:
            raise ValueError("say which release to go back to: rollback VERSION")
        roll_back(store, options.version)
    current = store.intact(RELEASE)
    withdrawn = withdrawals(store)
    for version in store.versions(RELEASE):
        release = store.find(RELEASE, version=version)
        mark = "*" if current is not None and version == current.version else " "
        told = "damaged: cannot be released again"
        if release is not None:
            told = _describe_release(release, withdrawn)
        print(readable(f"{mark} {version}  {told}"))
    return 0


def _describe_release(release: Artifact, withdrawn: Withdrawals) -> str:
    from jersey_assets.release.releases import weights_of
    from jersey_assets.release.significance import wilson

    report = release.json("evaluation_report.json")
    low, high = wilson(round(report["top1"] * report["images"]), report["images"])
    entry = withdrawn.get(weights_of(release))
    return (
        f"{release.manifest['created']}  dataset {shorten(release.manifest['dataset'])}"
        f"  {report['split']} {count(report['images'], 'crop')}  "
        f"top-1 {report['top1']:.1%} ({low:.1%} to {high:.1%})"
        + (f"  withdrawn {entry['withdrawn']}" if entry else "")
    )


def _artifact_root() -> str:
    return os.environ.get("JERSEY_ARTIFACT_ROOT") or "artifacts"


def _print_verdicts(verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        word = "pass" if verdict.passed else "FAIL"
        if not verdict.passed and verdict.severity == "warning":
            word = "warn"
        # A hostile file's own words must not move the cursor to write other lines.
        print(readable(f"{word}  {verdict.name}: {verdict.message}"))


def _progress(line: str) -> None:
    print(readable(line), file=sys.stderr, flush=True)


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
