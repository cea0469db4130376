"""The recipe: all training settings, with unit, range and default.

The graph's run config is made from these classes, so the Launchpad shows these
descriptions. A value out of range is refused before anything is read.
"""

from __future__ import annotations

import math
from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, Field, model_validator

DEFAULT_EPOCHS = 60
LEAST_STEPS = 1000
"""With fewer optimizer steps a network is undertrained, however few the crops are."""

Balance: TypeAlias = Literal["none", "sqrt", "balanced"]


class Augmentation(BaseModel, frozen=True, extra="forbid", strict=True):
    """How much a training crop may be changed.

    Each step has a chance of changing a crop, and a strength; every crop draws its own
    values. There is no horizontal flip: a mirrored number is no longer a number, or
    becomes another one.
    """

    warp_chance: float = Field(
        1.0, ge=0, le=1, description="chance that a crop is warped by the next six"
    )
    rotation: float = Field(18.0, ge=0, le=45, description="largest angle, degrees")
    zoom: float = Field(
        0.4, ge=0, lt=1, description="largest change of scale, in or out, as a share"
    )
    aspect: float = Field(
        0.2, ge=0, lt=1, description="largest change of height to width, as a share"
    )
    shift: float = Field(
        0.12, ge=0, le=0.5, description="largest shift, as a share of the crop's side"
    )
    shear: float = Field(
        0.25, ge=0, le=1, description="largest shear, tan of the angle"
    )
    perspective: float = Field(
        0.2, ge=0, le=0.5, description="largest perspective tilt, 0 none"
    )
    color_chance: float = Field(
        1.0, ge=0, le=1, description="chance that a crop's colours change"
    )
    color: float = Field(
        0.4,
        ge=0,
        le=1,
        description="largest change of brightness, contrast and saturation, as a share",
    )
    downscale_chance: float = Field(
        0.4, ge=0, le=1, description="chance that a crop loses resolution"
    )
    downscale_to: float = Field(
        0.35, gt=0, le=1, description="least share of the resolution that is kept"
    )
    pixelate_chance: float = Field(
        0.0, ge=0, le=1, description="chance that a crop becomes coarse squares"
    )
    pixelate_block: float = Field(
        4.0, ge=2, le=64, description="largest side of a square, px of the input"
    )
    blur_chance: float = Field(
        0.2, ge=0, le=1, description="chance that a crop is blurred"
    )
    blur_sd: float = Field(
        1.5, gt=0, le=10, description="largest blur along an axis, sd in px"
    )
    noise_chance: float = Field(
        1.0, ge=0, le=1, description="chance that a crop gets sensor noise"
    )
    noise: float = Field(
        0.04, ge=0, le=0.5, description="largest sensor noise, sd on the 0..1 scale"
    )
    jpeg_chance: float = Field(
        0.0, ge=0, le=1, description="chance that a crop is compressed as JPEG"
    )
    jpeg_quality: float = Field(
        20.0, ge=1, le=95, description="least quality; drawn from here to 95"
    )
    erasing_chance: float = Field(
        0.2, ge=0, le=1, description="chance that a rectangle is hidden"
    )
    erasing_size: float = Field(
        0.5, gt=0, le=1, description="its longest side, as a share of the crop's"
    )


class Recipe(BaseModel, frozen=True, extra="forbid", strict=True):
    """All settings of one training."""

    model: Literal["jerseynet", "resnet18", "resnet34", "resnet50"] = Field(
        "jerseynet",
        description="network: jerseynet, made for crops of some 64 px on CPUs, or one "
        "of torchvision's by its name",
    )
    stem: Literal["small", "imagenet"] = Field(
        "small",
        description="first layers of a ResNet: small = one 3x3 convolution of stride "
        "2, for crops of some 64 px; imagenet = torchvision's, for 224 px",
    )
    weights: str = Field(
        "none",
        pattern="^[A-Za-z0-9._-]{1,100}$",
        description="what the network starts from: none = random; imagenet = "
        "torchvision's; NAME = the file weights/NAME.pt or .ckpt below the artifact "
        "root, a state_dict or a model.ckpt of this project",
    )
    freeze_epochs: int = Field(
        0,
        ge=0,
        description="epochs at the start in which only the head learns; needs weights",
    )
    image_size: int | None = Field(
        None,
        ge=32,
        le=512,
        description="side of the square input, px. Default: the size of the train "
        "crops (the median of their longer sides), to the nearest 16 px, from 64 to 96",
    )
    epochs: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="passes over the train split. Default: 60, or as many as make 1000 "
        "optimizer steps, whichever is more",
    )
    batch_size: int = Field(64, ge=2, le=65_536, description="crops per batch")
    accumulate: int = Field(
        1, ge=1, le=1024, description="batches per optimizer step, gradients averaged"
    )
    learning_rate: float = Field(
        2e-3, gt=0, le=1, description="AdamW's highest learning rate"
    )
    weight_decay: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of a weight that AdamW's decay removes per epoch (or per "
        "sixtieth of a training of more than 60) at the highest learning rate, "
        "independent of batch and dataset size; not of biases and norms. Default: "
        "0.18, or 0.005 with pretrained weights, to keep them",
    )
    warmup: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of the steps with a rising learning rate; cosine after it",
    )
    loss: Literal["cross_entropy", "focal"] = Field(
        "cross_entropy",
        description="focal = confidently read crops count less, by focal_gamma",
    )
    focal_gamma: float = Field(
        2.0, ge=0, le=10, description="how much less; only with loss: focal"
    )
    class_weights: Balance = Field(
        "none",
        description="weight of a class in the loss: balanced = inverse of its number "
        "of train crops, sqrt = the square root of that; not together with a sampler",
    )
    label_smoothing: float = Field(
        0.1, ge=0, lt=1, description="share of the target spread over all classes"
    )
    sampler: Balance = Field(
        "none",
        description="crops of an epoch: none = each once; balanced = as many, drawn "
        "with replacement, every class equally often; sqrt = in proportion to the "
        "square root of a class's number of crops",
    )
    gradient_clip: float = Field(
        1.0, ge=0, description="largest norm of the gradient, 0 = no clipping"
    )
    ema_decay: float = Field(
        0.9999,
        gt=0,
        lt=1,
        description="weight of the past in the averaged weights, reached by the ramp "
        "min(decay, (1 + step) / (10 + step))",
    )
    patience: int = Field(
        0,
        ge=0,
        description="epochs without a better valid top-1 before stopping, 0 = never",
    )
    min_delta: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="by how much top-1, a share, has to improve for patience",
    )
    devices: int = Field(
        1,
        ge=1,
        le=64,
        description="GPUs of this machine to train on together (processes, if it has "
        "none); each takes its share of every batch",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="CPU threads of each process's steps. Default: as many as are "
        "fastest, measured repeatedly during training; the last bits of the weights "
        "depend on that. With a number, the same recipe on the same data gives the "
        "same bits on a CPU, even if it was interrupted",
    )
    confusion_every: int = Field(
        0,
        ge=0,
        description="epochs from one confusion matrix of valid to the next; the best "
        "epoch's is always drawn, 0 = no other",
    )
    logger: Literal["csv", "tensorboard", "mlflow", "wandb"] = Field(
        "csv",
        description="where the epochs' figures go: csv = history.csv, which is always "
        "written; the others also write to that tracker, on this machine (wandb: "
        "offline); each is an extra of the package",
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto",
        description="arithmetic of the step, as Lightning names it; auto = bf16-mixed "
        "if the processor computes in bfloat16, else 32-true",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of weights, order and noise")
    augmentation: Augmentation = Field(
        default=Augmentation(), description="how training crops are changed"
    )

    def complete(self, image_size: int, batches: int) -> Recipe:
        """Fills in the numbers that the recipe leaves to the data.

        Args:
            image_size: side of the crops that it trains on, px.
            batches: batches of an epoch.
        """
        steps = math.ceil(batches / self.accumulate)
        epochs = self.epochs or max(DEFAULT_EPOCHS, math.ceil(LEAST_STEPS / steps))
        return self.model_copy(update={"image_size": image_size, "epochs": epochs})

    @property
    def decay(self) -> float:
        """The weight decay that applies."""
        if self.weight_decay is not None:
            return self.weight_decay
        return 0.18 if self.weights == "none" else 0.005

    @model_validator(mode="after")
    def _refuse_what_contradicts(self) -> Self:
        if self.sampler != "none" and self.class_weights != "none":
            raise ValueError(
                f"sampler: {self.sampler} and class_weights: {self.class_weights} "
                "would correct the imbalance twice; set one of them to none"
            )
        if self.min_delta and not self.patience:
            raise ValueError(
                f"min_delta: {self.min_delta} has no effect with patience: 0; set "
                "patience, or leave min_delta out"
            )
        focal_gamma = type(self).model_fields["focal_gamma"].default
        if self.loss != "focal" and self.focal_gamma != focal_gamma:
            raise ValueError(
                f"focal_gamma: {self.focal_gamma} has no effect with loss: "
                f"{self.loss}; set loss: focal, or leave focal_gamma out"
            )
        if self.weights == "imagenet" and self.model == "jerseynet":
            raise ValueError(
                "weights: imagenet exist for torchvision's networks, not for "
                "jerseynet; set model: resnet18 (34, 50), or weights: none"
            )
        if self.freeze_epochs and self.weights == "none":
            raise ValueError(
                f"freeze_epochs: {self.freeze_epochs} would freeze random layers; set "
                "the weights to start from, or freeze_epochs: 0"
            )
        return self
