"""The deployed predictor: training's pixels, and nothing of training's libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from jersey_assets.crops.decode import decode_crop
from jersey_assets.crops.prepare import normalize_crops, resize_crop
from jersey_assets.reader.file_metadata import ModelError
from jersey_assets.reader.predictor import Predictor, Unread
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.data.crops import normalize
from jersey_assets_tests.export.models import LABELS, set_property

BATCH_AND_MORE = 35


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(5)
    paths = []
    for index in range(BATCH_AND_MORE):
        height, width = draw.integers(20, 90, 2)
        pixels = draw.integers(0, 256, (height, width, 3), np.uint8)
        path = folder / f"{index:02}{'.png' if index % 2 else '.jpg'}"
        Image.fromarray(pixels).save(path)
        paths.append(path)
    return paths


def test_predictions_are_the_checkpoints_own(
    resnet_folder: Path, resnet: Checkpoint, images: list[Path]
) -> None:
    crops = np.stack([resize_crop(decode_crop(p.read_bytes()), 64) for p in images])
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2)
    with torch.inference_mode():
        logits = resnet.build_model()(normalize(pixels, resnet.mean, resnet.std))
    expected = logits.double().softmax(dim=1)
    found = list(Predictor(resnet_folder / "model.onnx").predict(images))
    assert [p.image for p in found] == images
    assert [p.label for p in found] == [LABELS[i] for i in expected.argmax(1)]
    confidences = np.array([p.confidence for p in found])
    np.testing.assert_allclose(confidences, expected.max(1).values, atol=1e-6)


def test_crops_are_normalized_bit_for_bit_as_in_training() -> None:
    crops = np.random.default_rng(6).integers(0, 256, (4, 32, 32, 3), np.uint8)
    mean, std = (0.4391, 0.4207, 0.4111), (0.2513, 0.2431, 0.2339)
    trained = normalize(torch.from_numpy(crops).permute(0, 3, 1, 2), mean, std)
    np.testing.assert_array_equal(normalize_crops(crops, mean, std), trained.numpy())


def test_predicting_imports_none_of_trainings_libraries(
    resnet_folder: Path, images: list[Path]
) -> None:
    program = """
import json, sys
from pathlib import Path
from jersey_assets.reader.predictor import Predictor
found = list(Predictor(Path(sys.argv[1])).predict([Path(sys.argv[2])]))
loaded = {name.split(".")[0] for name in sys.modules}
print(json.dumps([found[0].label, sorted(loaded)]))
"""
    command = [sys.executable, "-c", program, resnet_folder / "model.onnx", images[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    label, loaded = json.loads(done.stdout)
    assert label in LABELS
    heavy = ["torch", "torchvision", "lightning", "pandas", "pyarrow", "msgspec"]
    heavy += ["onnx", "onnxscript", "dagster", "pydantic", "matplotlib", "scipy"]
    assert set(heavy).isdisjoint(loaded)


def test_no_images_give_no_predictions(resnet_folder: Path) -> None:
    assert list(Predictor(resnet_folder / "model.onnx").predict([])) == []


def test_a_bad_image_is_named_and_stops_no_other(
    resnet_folder: Path, images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "note.jpg").write_text("not an image")
    os.mkfifo(tmp_path / "pipe.jpg")
    bad = [tmp_path / name for name in ("note.jpg", "missing.jpg", "pipe.jpg")]
    predictor = Predictor(resnet_folder / "model.onnx")
    found = list(predictor.predict([bad[0], images[0], *bad[1:], images[1]]))
    assert [p.image for p in found if isinstance(p, Unread)] == bad
    good = [p for p in found if not isinstance(p, Unread)]
    assert [p.image for p in good] == images[:2]
    alone = list(predictor.predict(images[:2]))
    assert [p.label for p in good] == [p.label for p in alone]


def test_a_model_of_someone_else_is_refused(
    proto: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    del proto.metadata_props[:]
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"jersey\.labels"):
        Predictor(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("jersey.labels", "{"),
        ("jersey.labels", ["1", "1"]),
        ("jersey.labels", [1, 2]),
        ("jersey.mean", [0.1, 0.2]),
        ("jersey.mean", [0.1, 0.2, True]),
        ("jersey.std", [0.1, 0.2, 0]),
        ("jersey.std", "[0.1, 0.2, NaN]"),
        ("jersey.image_size", "0"),
        ("jersey.image_size", "６４"),
        ("jersey.resize", "nearest, cropped"),
        ("jersey.decode", "BGR"),
        ("jersey.normalize", "pixel / 127.5 - 1"),
    ],
)
def test_metadata_that_cannot_be_meant_is_refused_by_name(
    key: str, value: object, proto: onnx.ModelProto, tmp_path: Path
) -> None:
    set_property(proto, key, value)
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=key):
        Predictor(path)


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_file_that_is_no_model_is_refused_by_name(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        Predictor(path)
