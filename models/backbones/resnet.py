"""Residual networks: timm's ResNet-18/34/50 with two stems, and one small enough for a laptop."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from models.backbones.backbone import Backbone, Features
from models.spec import Spec


class ResNetSpec(Spec):
    """He et al., arXiv 1512.03385, "v1.5": the stride of a bottleneck sits in its 3x3 convolution."""

    name: Literal["resnet18", "resnet34", "resnet50"] = Field("resnet50", description="depth")
    stem: Literal["imagenet", "small"] = Field(
        "imagenet",
        description="imagenet: 7x7 stride 2 and max-pool, 32 px a place; small: 3x3, no pool, 8 px a place",
    )
    init: Literal["fan_out", "fan_in"] = Field(
        "fan_out", description="kaiming-normal mode of convolutions; MCL's code uses fan_in"
    )
    zero_init_last: bool = Field(False, description="start each block's last batch norm at 0")


class TinySpec(Spec):
    """A residual network for 16 to 32 px pictures on a CPU: 0.2 M parameters, 4 source pixels a place.

    Three stages of stride 1, 2 and 4; the first is the stem alone, where a block would take half of the time.
    """

    name: Literal["resnet_tiny"] = Field("resnet_tiny", description="the laptop's residual network")
    # Below 8 a channels-last 1x1 convolution of stride 2 can corrupt memory in torch 2.15's oneDNN (4 to 8 channels).
    width: int = Field(16, ge=8, le=128, description="channels of the first stage; the others have 2x and 8x")
    blocks: int = Field(1, ge=1, le=4, description="residual blocks a stage; the first stage has one less")

    @model_validator(mode="after")
    def _even(self) -> TinySpec:
        if self.width % 4:
            raise ValueError(f"width {self.width} must be a multiple of 4")
        return self


class _ResNet(Backbone):
    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        import timm

        net: Any = timm.create_model(spec.name, pretrained=False, num_classes=0)
        if spec.stem == "small":
            net.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
            net.maxpool = nn.Identity()
        self.conv1, self.bn1, self.maxpool = net.conv1, net.bn1, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        self.channels = int(net.num_features)
        self.stride = 32 if spec.stem == "imagenet" else 8
        self.stage_channels = tuple(self.channels // 2**i for i in (3, 2, 1, 0))
        _initialise(self, spec.init)
        if spec.zero_init_last:
            for block in self.modules():
                last = getattr(block, "bn3", None) or getattr(block, "bn2", None)
                if isinstance(last, nn.BatchNorm2d):
                    nn.init.zeros_(last.weight)

    def dilate(self, stride: int) -> None:
        first = self.stride // 8  # of the first layer's map
        self.stride = _atrous([self.layer1, self.layer2, self.layer3, self.layer4], first, stride)

    def stages(self, images: Tensor) -> list[Tensor]:
        x = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Features:
        dense = self.stages(images)[-1]
        return Features(dense.mean((2, 3)), dense)

    def cut(self) -> nn.Module:
        last, self.layer4 = self.layer4, nn.Identity()
        return last  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.downsample(x))


class _Tiny(Backbone):
    stride = 4

    def __init__(self, spec: TinySpec) -> None:
        super().__init__()
        widths = (spec.width, 2 * spec.width, 8 * spec.width)
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        layers: list[nn.Module] = []
        inputs = widths[0]
        for stage, outputs in enumerate(widths):
            blocks = [_Block(inputs, outputs, 2)] if stage else []
            blocks += [_Block(outputs, outputs, 1) for _ in range(spec.blocks - 1)]
            layers.append(nn.Sequential(*blocks))
            inputs = outputs
        self.layers = nn.ModuleList(layers)
        self.channels = widths[-1]
        self.stage_channels = widths
        _initialise(self, "fan_out")

    def dilate(self, stride: int) -> None:
        self.stride = _atrous(list(self.layers), 1, stride)

    def stages(self, images: Tensor) -> list[Tensor]:
        # Channels last is a quarter faster on a CPU at these widths.
        x = F.relu(self.bn1(self.conv1(images.contiguous(memory_format=torch.channels_last))))
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Features:
        dense = self.stages(images)[-1]
        return Features(dense.mean((2, 3)), dense)

    def cut(self) -> nn.Module:
        last, self.layers[-1] = self.layers[-1], nn.Identity()
        return last


def _atrous(layers: list[nn.Module], stride: int, wanted: int) -> int:
    """Dilation instead of every stride that would make places wider than `wanted` pixels; the places' width.

    stride: pixels a place before the layers. The new map holds the old one: at every place that the old map
    has, the same value. So the convolution that loses its stride keeps the dilation of what comes to it
    (mmsegmentation's "contracted" dilation) and only those behind it see further apart.
    """
    dilation = 1
    for layer in layers:
        convolutions = [m for m in layer.modules() if isinstance(m, nn.Conv2d)]
        step = max((conv.stride[0] for conv in convolutions), default=1)
        lost = stride * step > wanted
        before, dilation = dilation, dilation * step if lost else dilation
        stride = stride if lost else stride * step
        for conv in convolutions:
            strided = conv.stride[0] > 1
            if lost and strided:
                conv.stride = (1, 1)
            wide = before if strided else dilation
            conv.dilation = (wide, wide)
            conv.padding = (wide * (conv.kernel_size[0] // 2), wide * (conv.kernel_size[1] // 2))
    return stride


def _initialise(network: nn.Module, mode: Literal["fan_out", "fan_in"]) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def build_resnet(spec: ResNetSpec) -> Backbone:
    """ResNet-18, 34 or 50 through timm, without its classifier: 11.2, 21.3, 23.5 M parameters."""
    return _ResNet(spec)


def build_tiny(spec: TinySpec) -> Backbone:
    """The laptop's network: maps of stride 1, 2 and 4."""
    return _Tiny(spec)
