"""The exporter: writes a checkpoint as one ONNX file (names, opset, axes).

The file contains everything that a deployment needs: averaged weights, labels,
preprocessing and provenance. The same weights and provenance give the same bytes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch

from jersey_assets.export.file_metadata import Provenance, describe, to_properties
from jersey_assets.export.folding import fold
from jersey_assets.labels.file import Normalization, write_labels
from jersey_assets.reader.file_metadata import ModelError

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint

MODEL_FILE = "model.onnx"
# The opset that torch emits without conversion.
OPSET = 20


def export_onnx(checkpoint: Checkpoint, folder: Path, provenance: Provenance) -> None:
    """Writes `model.onnx` and `labels_mapping.json` into a folder.

    The graph is a plain network: convolutions with their normalization folded in, and
    one linear layer at the end. It takes `input`, normalized float32 [batch, 3, S, S],
    and gives `logits`, float32 [batch, classes]; batch is any number of crops.

    Args:
        checkpoint: whose averaged weights are exported.
        folder: an existing folder that nobody reads yet.
        provenance: where the model comes from; stored as `jersey.<field>`.

    Raises:
        ModelError: the network cannot be exported.
        CheckpointError: the weights do not fit the recipe's network.
    """
    metadata = describe(checkpoint)
    properties = to_properties(metadata, provenance)
    model = trace(fold(checkpoint.build_model()), checkpoint.image_size)
    onnx.helper.set_model_props(model, dict(sorted(properties.items())))
    (folder / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
    normalization = Normalization(metadata.mean, metadata.std)
    write_labels(metadata.labels, folder, normalization)


def trace(model: torch.nn.Module, image_size: int) -> onnx.ModelProto:
    """Translates a module in evaluation mode into an ONNX graph with a free batch axis.

    Raises:
        ModelError: the exporter cannot translate the module.
    """
    # Two rows: torch.export would treat a batch of one as a constant.
    example = torch.zeros(2, 3, image_size, image_size)
    with _quiet_exporter():
        try:
            program = torch.onnx.export(
                model,
                (example,),
                input_names=["input"],
                output_names=["logits"],
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ModelError(f"the network cannot be exported: {error}") from error
    assert program is not None
    graph: onnx.ModelProto = program.model_proto
    _drop_build_traces(graph)
    return graph


def _drop_build_traces(model: onnx.ModelProto) -> None:
    """Removes what differs between machines: stack traces with the builder's paths."""
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keeps the exporter's notes on its own optimizations out of the terminal."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch\.|onnxscript|onnx_ir|copyreg")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
