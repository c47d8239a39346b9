"""SOLOv2 on micrographs: one class, about 40 small objects an image, from scratch.

For a COCO folder such as the stage 1 images of the Data Science Bowl 2018:

    python train.py --config configs/nuclei.py --workdir runs/nuclei --set data.root=my/nuclei
    python eval.py --workdir runs/nuclei

Measured: mask AP 0.355, AP50 0.657 on 128 validation images (513 for training, masks corrected);
51 CPU minutes on two cores.
"""

from solojax.config import Config, Data, Optimizer, Training
from solojax.heads.grid import Grid
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=18, width=16, norm="group", norm_groups=8, frozen_stages=0),
        neck=FPN(width=48),
        head=SOLOv2(
            num_classes=1,
            grid=Grid(
                levels=("p2", "p3", "p4"),
                strides=(8, 8, 16),
                sizes=(48, 36, 24),  # a median nucleus is 22 pixels wide, a cell of the finest 8
                scale_ranges=((1, 32), (24, 64), (48, 1024)),
            ),
            width=64,
            depth=2,
            kernel_width=32,
            mask_feature_width=32,
            groups=8,
            max_positives=256,
        ),
    ),
    data=Data(
        root="data/nuclei",
        canvases=((384, 384), (384, 512)),  # enlarges the usual 256 by 1.5
        train_short_sides=(384, 352, 320, 288),
        test_short_side=384,
        long_side=512,
        max_instances=200,
    ),
    optimizer=Optimizer(
        algorithm="adamw",
        learning_rate=3e-3,
        base_batch_size=8,
        weight_decay=1e-2,
        decay_norms=False,
        decay_biases=False,
        schedule="cosine",
        warmup_steps=200,
        clip_norm=10,
        ema_decay=0.99,
    ),
    training=Training(
        batch_size=8, steps=1600, log_every=20, checkpoint_every=400, evaluate_every=400
    ),
)
