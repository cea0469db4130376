"""Opens onnxruntime sessions; all of them are made here.

The format is specified, not guessed: onnxruntime treats bytes with `ORTM` at 4..8 as
another format and a path that ends in `.onnx` as ONNX, so one file can be two models.
Imports only onnxruntime and the standard library, since it is deployed with the
predictor.
"""

from __future__ import annotations

from typing import Any

import onnxruntime as ort

from jersey_assets.reader.file_metadata import ModelError
from jersey_assets.text import readable

_TWO_MODELS = (
    "bytes 4 to 8 are ORTM, the mark of another format: runtimes could read two "
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
    # Errors are raised; in a log, a hostile model's names would reach the terminal.
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Idle threads that spin would slow down whatever runs next, such as PyTorch.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not optimized:
        level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime has a dozen unrelated error types
        raise ModelError(
            f"onnxruntime refuses the model: {short_message(error)}"
        ) from error


def refuse_two_models(data: bytes) -> None:
    """Raises ModelError if onnxruntime might treat the bytes as its own format."""
    if data[4:8] == b"ORTM":
        raise ModelError(_TWO_MODELS)


def short_message(error: Exception) -> str:
    """Shortens an error of onnxruntime or protobuf to one line for a message.

    It may quote a hostile model; its last part says what it means.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if len(text) > _SHOWN:
        text = f"{text[:80]} … {text[-_SHOWN + 80 :]}"
    return readable(text)
