r"""Decoupled-SOLO-Light-DCN, ResNet-50, 36 epochs with multi-scale training: as published.

    python train.py --config configs/decoupled_solo_light_dcn_r50_fpn_3x.py \
        --workdir runs/decoupled_solo_light_dcn_r50_fpn_3x \
        --set data.root=coco training.pretrained=resnet50.npz
    python eval.py --workdir runs/decoupled_solo_light_dcn_r50_fpn_3x

``coco`` is the 2017 set as COCO distributes it; ``resnet50.npz`` holds torchvision's state dict as
NumPy arrays, convolutions O I H W (README, Pretrained backbones).

Published: 35.0 mask AP on val2017, 36 ms an image on a V100 (github.com/WXinlong/SOLO, README).
33,018,014 parameters, 32,792,670 of them trained. Not yet trained to the end with this code;
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
        backbone=ResNet(
            depth=50,
            norm="frozen_statistics",
            frozen_stages=1,
            deform="v1",
            deform_stages=(2, 3, 4),
        ),
        neck=FPN(width=256),
        head=DecoupledSOLO(
            num_classes=80,
            grid=Grid(
                sizes=(40, 36, 24, 16, 12),
                scale_ranges=((1, 64), (32, 128), (64, 256), (128, 512), (256, 2048)),
            ),
            width=256,
            depth=4,
            shared_trunk=True,
            deform="v1",
            deform_convs="last",
        ),
    ),
    data=Data(
        root="data/coco",
        canvases=((512, 704), (512, 800), (512, 864), (704, 512), (800, 512), (864, 512)),
        train_short_sides=(512, 480, 448, 416, 384, 352),
        test_short_side=512,
        long_side=852,
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
