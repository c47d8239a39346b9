r"""Decoupled SOLO, ResNet-101, 36 epochs with multi-scale training: the published model and recipe.

    python train.py --config configs/decoupled_solo_r101_fpn_3x.py \
        --workdir runs/decoupled_solo_r101_fpn_3x \
        --set data.root=coco training.pretrained=resnet101.npz
    python eval.py --workdir runs/decoupled_solo_r101_fpn_3x

``coco`` is the 2017 set as COCO distributes it; ``resnet101.npz`` holds torchvision's state dict as
NumPy arrays, convolutions O I H W (README, Pretrained backbones).

Published: 37.9 mask AP on val2017, 92 ms an image on a V100 (github.com/WXinlong/SOLO, README).
59,020,688 parameters, 58,795,344 of them trained. Not yet trained to the end with this code;
docs/results.md says in what its training is not the published one.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import Grid
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=101, norm="frozen_statistics", frozen_stages=1),
        neck=FPN(width=256),
        head=DecoupledSOLO(
            num_classes=80,
            grid=Grid(
                sizes=(40, 36, 24, 16, 12),
                scale_ranges=((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)),
            ),
            width=256,
            depth=7,
        ),
    ),
    data=Data(
        root="data/coco",
        canvases=((800, 1088), (800, 1216), (800, 1344), (1088, 800), (1216, 800), (1344, 800)),
        train_short_sides=(800, 768, 736, 704, 672, 640),
        test_short_side=800,
        long_side=1333,
        augmentation=Augmentation(flip_probability=0.5),
    ),
    optimizer=Optimizer(
        algorithm="sgd",
        learning_rate=0.01,
        base_batch_size=16,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="step",
        drop_epochs=(27, 33),
        warmup_steps=500,
        warmup_factor=1 / 3,
        clip_norm=35,
    ),
    training=Training(batch_size=16, epochs=36),
)
