"""The deployed part needs onnxruntime, numpy and Pillow, and nothing else of ours."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

import jersey_assets
from jersey_assets_tests.export.models import LABELS
from jersey_assets_tests.installed import NEEDED, link_packages, run_with

OURS = ("__init__.py", "crops", "files.py", "reader", "text.py")
PROGRAM = """
import importlib, json, pkgutil, sys
from pathlib import Path
import jersey_assets

found = pkgutil.walk_packages(jersey_assets.__path__, "jersey_assets.")
names = [module.name for module in found]
for name in names:
    importlib.import_module(name)
from jersey_assets.reader.predictor import Predictor
(answer,) = Predictor(Path(sys.argv[1])).predict([Path(sys.argv[2])])
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps([names, answer.label, sorted(loaded)]))
"""


def test_every_module_of_it_can_be_imported_and_crops_read_where_nothing_else_is(
    resnet_folder: Path, tmp_path: Path
) -> None:
    packages = tmp_path / "packages"
    (packages / "jersey_assets").mkdir(parents=True)
    link_packages(packages, NEEDED)
    home = Path(jersey_assets.__file__).parent
    for name in OURS:
        (packages / "jersey_assets" / name).symlink_to(home / name)
    crop = tmp_path / "crop.png"
    Image.new("RGB", (40, 60), (200, 10, 10)).save(crop)

    ended = run_with(packages, PROGRAM, resnet_folder / "model.onnx", crop)
    assert ended.returncode == 0, ended.stderr
    names, label, loaded = json.loads(ended.stdout)
    assert label in LABELS
    assert {"jersey_assets.crops.decode", "jersey_assets.reader.predictor"} <= set(
        names
    )
    others = set(loaded) - set(sys.stdlib_module_names) - {"__main__"}
    assert others == {*NEEDED, "jersey_assets"}
