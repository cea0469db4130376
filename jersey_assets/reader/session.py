"""The one place where onnxruntime sessions are made.

The format is named, never guessed: onnxruntime takes bytes with `ORTM` at 4..8 for
another format and a path that ends in `.onnx` for ONNX, so one file can be two models.
Imports onnxruntime and the standard library only, as it is deployed with the predictor.
"""

from __future__ import annotations

from typing import Any

import onnxruntime as ort

from jersey_assets.reader.file_metadata import ModelError
from jersey_assets.text import readable

_TWO_MODELS = (
    "bytes 4 to 8 are ORTM, the mark of another format: runtimes would read two "
    "different models in this file; export it again"
)
_SHOWN = 300


def open_session(data: bytes, *, optimized: bool = True, threads: int = 0) -> Any:
    """Loads a model in onnxruntime on the CPU.

    Args:
        data: the model file's content.
        optimized: whether onnxruntime may rewrite the graph.
        threads: that one operator may use, 0 = onnxruntime's own choice.

    Raises:
        ModelError: onnxruntime refuses it, or the file may be two models.
    """
    refuse_two_models(data)
    options = ort.SessionOptions()
    # What is wrong is raised; logged, a hostile model's names would reach the terminal.
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Idle threads that spin would slow down whatever runs next, PyTorch for one.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not optimized:
        level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime has a dozen unrelated error types
        raise ModelError(f"onnxruntime refuses the model: {told(error)}") from error


def refuse_two_models(data: bytes) -> None:
    """Raises ModelError where onnxruntime might take the bytes for its own format."""
    if data[4:8] == b"ORTM":
        raise ModelError(_TWO_MODELS)


def told(error: Exception) -> str:
    """What onnxruntime or protobuf said, in one line that is fit for a message.

    It quotes the model, which may be hostile; what it means stands at the end.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if len(text) > _SHOWN:
        text = f"{text[:80]} … {text[-_SHOWN + 80 :]}"
    return readable(text)
