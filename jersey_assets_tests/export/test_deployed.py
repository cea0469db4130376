"""The command line where little is installed, and where files are hostile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image

from jersey_assets.export.comparison import compare
from jersey_assets.export.contract.check import check_model
from jersey_assets.export.latency import measure_latency
from jersey_assets.reader.file_metadata import ModelError
from jersey_assets.reader.predictor import Predictor
from jersey_assets.reader.session import open_session
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets_tests.export.models import make_crops, set_property
from jersey_assets_tests.installed import NEEDED, link_packages, run_with


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `predict` needs, and nothing else."""
    folder = tmp_path_factory.mktemp("packages")
    link_packages(folder, [*NEEDED, "jersey_assets"])
    return folder


def command(packages: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command line without this environment's packages."""
    program = "from jersey_assets.cli import main; raise SystemExit(main())"
    return run_with(packages, program, *arguments)


@pytest.mark.parametrize(
    ("arguments", "lacks"),
    [
        (["check-onnx", "model.onnx"], "matplotlib, onnx are not installed;"),
        (["check-onnx", "m.onnx", "--checkpoint", "c"], "torch, torchvision"),
        (
            ["validate", "data"],
            "msgspec, pandas, pandera, pyarrow, pydantic are not installed",
        ),
        (["releases", "list"], "fsspec is not installed;"),
        (["render", "out"], "matplotlib is not installed;"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_that_lacks_packages_names_them_and_ends_with_2(
    arguments: list[str], lacks: str, packages: Path
) -> None:
    ended = command(packages, *arguments)
    assert ended.returncode == 2
    assert lacks in ended.stderr
    assert "run pip install '.[platform]' in the project's folder" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_predict_without_what_it_needs_names_no_extra(tmp_path: Path) -> None:
    link_packages(tmp_path, ["numpy", "PIL", "jersey_assets"])
    ended = command(tmp_path, "predict", "model.onnx", "crop.png")
    assert ended.returncode == 2
    assert "onnxruntime is not installed;" in ended.stderr
    assert "run pip install '.' in the project's folder" in ended.stderr


def test_predict_works_there_and_one_bad_file_stops_no_other(
    packages: Path, resnet_folder: Path, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad\x1b[2J.png"
    Image.new("RGB", (40, 40), (200, 10, 10)).save(good)
    bad.write_text("no picture")
    model = resnet_folder / "model.onnx"
    ended = command(packages, "predict", model, bad, good, tmp_path / "none.png")
    assert ended.returncode == 1
    assert ended.stdout.startswith(f"{good}\t")
    assert ended.stdout.count("\n") == 1
    assert "\\x1b[2J.png: neither JPEG nor PNG" in ended.stderr
    assert "none.png: No such file" in ended.stderr
    assert "\x1b" not in ended.stderr + ended.stdout
    assert command(packages, "predict", model, good).returncode == 0


def test_predict_escapes_what_a_model_says(
    packages: Path, proto: onnx.ModelProto, tmp_path: Path
) -> None:
    crop = tmp_path / "crop.png"
    Image.new("RGB", (40, 40)).save(crop)
    labels = [f"\x1b[2J\u2028\u202e{index}" + "x" * 500 for index in range(11)]
    set_property(proto, "jersey.labels", labels)
    path = tmp_path / "labels.onnx"
    path.write_bytes(proto.SerializeToString())
    said = command(packages, "predict", path, crop)
    assert said.returncode == 0
    proto.graph.node[-1].op_type = "\x1b[2J\u2028" + "x" * 5000
    path = tmp_path / "operator.onnx"
    path.write_bytes(proto.SerializeToString())
    refused = command(packages, "predict", path, crop)
    assert refused.returncode == 2
    for text in (said.stdout, said.stderr, refused.stdout, refused.stderr):
        assert not {"\x1b", "\u2028", "\u202e"} & set(text)
        assert len(text) < 1000


def test_a_file_that_may_be_two_models_is_opened_nowhere(
    proto: onnx.ModelProto, small: Checkpoint, small_bytes: bytes, tmp_path: Path
) -> None:
    proto.ir_version, proto.producer_name = 10, "ORTM"
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    assert path.read_bytes()[4:8] == b"ORTM"

    # By its path it is a model that works, as bytes it is taken for the other format.
    inputs = {"input": np.ones((2, 3, 32, 32), np.float32)}
    by_path = ort.InferenceSession(path).run(["logits"], inputs)[0]
    true = open_session(small_bytes).run(["logits"], inputs)[0]
    np.testing.assert_array_equal(by_path, true)
    with pytest.raises(Exception, match="ORT model verification failed"):
        ort.InferenceSession(path.read_bytes())

    for open_it in (
        lambda: open_session(path.read_bytes()),
        lambda: Predictor(path),
        lambda: compare(path, small, make_crops(4, 32)),
        lambda: measure_latency(path.read_bytes(), small, seconds=0.0),
    ):
        with pytest.raises(ModelError, match="two different models"):
            open_it()
    verdicts = {verdict.name: verdict for verdict in check_model(path, small)}
    assert "two different models" in verdicts["graph_is_valid"].message
    assert not any(verdict.passed for verdict in verdicts.values())


@pytest.mark.parametrize("named", [False, True])
def test_check_onnx_does_not_wait_for_labels_that_are_a_pipe(
    named: bool, small_bytes: bytes, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(small_bytes)
    pipe = tmp_path / "labels_mapping.json"
    os.mkfifo(pipe)
    program = "from jersey_assets.cli import main; raise SystemExit(main())"
    asked = [sys.executable, "-c", program, "check-onnx", tmp_path / "model.onnx"]
    ended = subprocess.run(
        [*asked, "--labels", pipe] if named else asked,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == (2 if named else 1)
    assert "not a regular file" in (ended.stderr if named else ended.stdout)


@pytest.mark.parametrize("option", ["--checkpoint", "--labels"])
def test_check_onnx_tells_of_other_bad_files_before_it_opens_the_model(
    option: str, small_bytes: bytes, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(small_bytes)
    (tmp_path / "bad").write_text("no such thing")
    program = (
        "import sys; from jersey_assets.cli import main\n"
        "sys.addaudithook(lambda event, a: event == 'subprocess.Popen' "
        "and 'jersey_assets.export.contract.probe' in a[1] and print('opened'))\n"
        "raise SystemExit(main())"
    )
    asked = [sys.executable, "-c", program, "check-onnx", tmp_path / "model.onnx"]
    ended = subprocess.run(
        [*asked, option, tmp_path / "bad"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "bad: " in ended.stderr
    assert ended.stdout == ""
    alone = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert alone.stdout.startswith("opened\n")


def test_a_model_that_is_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="not a regular file"):
        Predictor(tmp_path / "model.onnx")
