"""The int8 model: quantization, comparison with the float model, and its checks.

Static quantization (Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", CVPR 2018) by onnxruntime: ranges of
activations come from train crops, weights have a scale for each output channel. The
last linear layer stays in float, so that scores keep their resolution. x86's integer
instructions multiply unsigned activations by signed weights.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from jersey_assets.crops.prepare import normalize_crops
from jersey_assets.export.batch_sizes import LATENCY, USUAL
from jersey_assets.export.contract.check import check_quantized
from jersey_assets.export.latency import interleaved_seconds, latency_row
from jersey_assets.export.onnx_model import MODEL_FILE
from jersey_assets.export.runtimes import in_batches, onnx_scorer
from jersey_assets.export.tolerance import (
    Numbers,
    agreement,
    distance,
    json_number,
    top1,
)
from jersey_assets.labels.file import LabelsFile, Normalization, write_labels
from jersey_assets.machine import usable_cpus
from jersey_assets.reader.file_metadata import PREFIX
from jersey_assets.reader.predictor import Predictor
from jersey_assets.reader.session import open_session
from jersey_assets.storage.manifest import canonical_json
from jersey_assets.text import count
from jersey_assets.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

    from jersey_assets.training.data.crops import Crops

CALIBRATION_CROPS = 256
# Rounding to 8 bits may cost 1 % of the logits' energy; a wrong range costs far more.
_LOWEST_SQNR_DB = 20.0
# Largest net loss, as a share of the evaluation crops: one point of top-1.
_LARGEST_LOSS = 0.01


def calibration_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Draws the train rows whose crops are used for calibration: always the same.

    Args:
        table: the validated table.
    """
    train = table[table["split"] == "train"]
    return train.sample(min(len(train), CALIBRATION_CROPS), random_state=0)


def write_int8(model: Path, calibration: Crops, crops: Crops, folder: Path) -> None:
    """Writes the int8 model, its labels and `report.json` into a folder.

    Args:
        model: the float model file, which keeps the contract.
        calibration: train crops, at least one.
        crops: of the evaluation split, at least one.
        folder: an existing folder that nobody reads yet.

    Raises:
        ModelError: a model gives no usable scores.
    """
    quantized = folder / MODEL_FILE
    quantize(model, calibration, quantized)
    said = Predictor(model).metadata
    write_labels(said.labels, folder, Normalization(said.mean, said.std))
    report = {
        "calibration_crops": len(calibration),
        **compare_int8(model, quantized, crops),
        "latency": _latency(model, quantized, _crops_of(crops)[:1]),
    }
    (folder / "report.json").write_bytes(canonical_json(report))


def quantize(model: Path, calibration: Crops, target: Path) -> None:
    """Writes the int8 form of a model, with the metadata of the float one.

    Args:
        model: the float model file.
        calibration: crops that show the range of each activation.
        target: the file to write; the same model and crops give the same bytes.
    """
    with TemporaryDirectory(prefix="jersey-int8-") as name:
        prepared, written = Path(name) / "prepared.onnx", Path(name) / "int8.onnx"
        predictor = Predictor(model)  # refuses files that onnxruntime's tools may not
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared)
        quantize_static(
            graph,
            written,
            _Batches(predictor, _crops_of(calibration)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=[_head(graph)],
        )
        quantized = onnx.load(written)
    properties = {p.key: p.value for p in onnx.load(model).metadata_props}
    properties[f"{PREFIX}quantization"] = (
        "static QDQ, uint8 activations, int8 weights per channel, minimum and maximum "
        f"of {len(calibration)} train crops, last layer float32"
    )
    onnx.helper.set_model_props(quantized, dict(sorted(properties.items())))
    target.write_bytes(quantized.SerializeToString(deterministic=True))


def compare_int8(model: Path, quantized: Path, crops: Crops) -> dict[str, Any]:
    """Measures what the int8 model loses on real crops.

    Returns:
        The report, JSON values only: distances of its logits to the float model's,
        `sqnr_db` (signal to quantization noise, decibel, null if the logits are
        equal), top-1 of both, and the crops that only one of them reads
        (`only_float_right`, `only_int8_right`).

    Raises:
        ModelError: a model gives no usable scores.
    """
    images, targets = _crops_of(crops), crops.targets.numpy()
    float_logits, int8_logits = (
        in_batches(Predictor(path).logits, images, USUAL) for path in (model, quantized)
    )
    float_right, int8_right = (
        top1(logits) == targets for logits in (float_logits, int8_logits)
    )
    return {
        "images": len(crops),
        **distance(int8_logits, float_logits),
        "sqnr_db": json_number(_sqnr(int8_logits, float_logits)),
        "top1_agreement": agreement(int8_logits, float_logits),
        "float_top1": float(float_right.mean()),
        "int8_top1": float(int8_right.mean()),
        "only_float_right": int((float_right & ~int8_right).sum()),
        "only_int8_right": int((int8_right & ~float_right).sum()),
        "float_bytes": model.stat().st_size,
        "int8_bytes": quantized.stat().st_size,
        "float_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "int8_sha256": hashlib.sha256(quantized.read_bytes()).hexdigest(),
    }


def verdicts(
    quantized: Path, report: Mapping[str, Any], labels: LabelsFile
) -> list[Verdict]:
    """Judges an int8 model and its report.

    Args:
        quantized: the int8 model file.
        report: as `write_int8` wrote it.
        labels: of the graph's `class_mapping`.

    Returns:
        int8_contract_holds, int8_close_to_float, int8_accuracy_kept.
    """
    contract = check_quantized(quantized, labels)
    return [contract, _judge_closeness(report), _judge_accuracy(report)]


def _judge_closeness(report: Mapping[str, Any]) -> Verdict:
    ratio = report["sqnr_db"]
    equal = report["max_abs_error"] == 0
    said = "infinite" if ratio is None else f"{ratio:.1f} dB"
    return Verdict(
        "int8_close_to_float",
        passed=equal or (ratio is not None and ratio >= _LOWEST_SQNR_DB),
        message=f"signal to quantization noise of the logits is {said} over "
        f"{count(report['images'], 'crop')}; at least {_LOWEST_SQNR_DB:g} dB is "
        f"expected (noise of 1 % of the energy); the best label is the same for "
        f"{report['top1_agreement']:.2%}",
        facts={"sqnr_db": ratio, "top1_agreement": report["top1_agreement"]},
    )


def _judge_accuracy(report: Mapping[str, Any]) -> Verdict:
    """Both models read the same crops, so only crops that just one reads count."""
    lost, won = report["only_float_right"], report["only_int8_right"]
    allowed = max(1, int(_LARGEST_LOSS * report["images"]))
    return Verdict(
        "int8_accuracy_kept",
        passed=lost - won <= allowed,
        message=f"top-1 {report['int8_top1']:.2%} in int8, {report['float_top1']:.2%} "
        f"in float on the same {report['images']} crops: {lost} are read only in "
        f"float, {won} only in int8; a net loss of {allowed} is allowed (1 % of the "
        "crops, at least one)",
        facts={"only_float_right": lost, "only_int8_right": won, "allowed": allowed},
    )


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Feeds crops, prepared as the model's metadata says, to the calibration."""

    def __init__(self, predictor: Predictor, crops: NDArray[np.uint8]) -> None:
        metadata = predictor.metadata
        self._inputs: Iterator[dict[str, Any]] = (
            {"input": normalize_crops(batch, metadata.mean, metadata.std)}
            for batch in np.split(crops, range(USUAL, len(crops), USUAL))
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._inputs, None)


def _crops_of(crops: Crops) -> NDArray[np.uint8]:
    """Returns crops as the predictor takes them: uint8 [n, S, S, 3]."""
    images: NDArray[np.uint8] = crops.images.permute(0, 2, 3, 1).numpy()
    return images


def _head(model: onnx.ModelProto) -> str:
    """Name of the last layer that multiplies weights."""
    layers = [n.name for n in model.graph.node if n.op_type in ("Gemm", "MatMul")]
    return layers[-1] if layers else ""


def _sqnr(answer: Numbers, reference: Numbers) -> float:
    """Signal to quantization noise, dB; infinite if there is no noise."""
    # A constant added to all scores changes no answer, so it is not signal.
    signal = reference - reference.mean(axis=1, keepdims=True)
    noise = float(np.square(answer - reference).sum())
    energy = float(np.square(signal).sum())
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.float64(energy) / noise)) if noise else np.inf


def _latency(
    model: Path, quantized: Path, crop: NDArray[np.uint8]
) -> list[dict[str, Any]]:
    """Rows like those of `measure_latency`, with all threads, int8 beside float."""
    threads = usable_cpus()
    scorers = {
        name: onnx_scorer(open_session(path.read_bytes(), threads=threads))
        for name, path in (("float32", model), ("int8", quantized))
    }
    metadata = Predictor(model).metadata
    inputs, rows = normalize_crops(crop, metadata.mean, metadata.std), []
    for size in LATENCY:
        batch = np.repeat(inputs, size, axis=0)
        for name, times in interleaved_seconds(scorers, batch, 0.1).items():
            rows.append(latency_row(name, threads, size, statistics.median(times)))
    return rows
