r"""SOLOv2-Light-448, ResNet-50, 36 epochs with multi-scale training: as published.

    python train.py --config configs/solov2_light_448_r50_fpn_3x.py \
        --workdir runs/solov2_light_448_r50_fpn_3x \
        --set data.root=coco training.pretrained=resnet50.npz
    python eval.py --workdir runs/solov2_light_448_r50_fpn_3x

``coco`` is the 2017 set as COCO distributes it; ``resnet50.npz`` holds torchvision's state dict as
NumPy arrays, convolutions O I H W (README, Pretrained backbones).

Published: 33.7 mask AP on val2017, 24 ms an image on a V100 (github.com/WXinlong/SOLO, README).
31,340,560 parameters, 31,115,216 of them trained. Not yet trained to the end with this code;
docs/results.md says in what its training is not the published one.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.grid import Grid
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=50, norm="frozen_statistics", frozen_stages=1),
        neck=FPN(width=256),
        head=SOLOv2(
            num_classes=80,
            grid=Grid(
                sizes=(40, 36, 24, 16, 12),
                scale_ranges=((1, 56), (28, 112), (56, 224), (112, 448), (224, 896)),
            ),
            width=256,
            depth=2,
            kernel_width=128,
            mask_feature_width=128,
        ),
    ),
    data=Data(
        root="data/coco",
        canvases=(
            *((512, 704), (512, 768), (704, 512), (768, 512)),  # of training
            *((448, 768), (768, 448)),  # of both
            *((448, 608), (448, 704), (608, 448), (704, 448)),  # of testing
        ),
        train_short_sides=(512, 480, 448, 416, 384, 352),
        test_short_side=448,
        long_side=768,
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
        warmup_factor=0.01,
        clip_norm=35,
    ),
    training=Training(batch_size=16, epochs=36),
)
