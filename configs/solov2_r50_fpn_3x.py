r"""SOLOv2, ResNet-50, 36 epochs with multi-scale training: the published model and recipe.

    python train.py --config configs/solov2_r50_fpn_3x.py --workdir runs/solov2_r50_fpn_3x \
        --set data.root=coco training.pretrained=resnet50.npz
    python eval.py --workdir runs/solov2_r50_fpn_3x

``coco`` is the 2017 set as COCO distributes it; ``resnet50.npz`` holds torchvision's state dict as
NumPy arrays, convolutions O I H W (README, Pretrained backbones).

Published: 37.5 mask AP on val2017, 54 ms an image on a V100 (github.com/WXinlong/SOLO, README).
46,592,912 parameters, 46,367,568 of them trained. Not yet trained to the end with this code;
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
                scale_ranges=((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)),
            ),
            width=512,
            depth=4,
            kernel_width=256,
            mask_feature_width=128,
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
        warmup_factor=0.01,
        clip_norm=35,
    ),
    training=Training(batch_size=16, epochs=36),
)
