r"""SparseInst, ResNet-50: the published model and recipe.

    python train.py --config configs/sparseinst_r50.py \
        --workdir runs/sparseinst_r50 \
        --set data.root=coco training.pretrained=resnet50.npz
    python eval.py --workdir runs/sparseinst_r50

``coco`` is the 2017 set as COCO distributes it; ``resnet50.npz`` holds torchvision's state dict as
NumPy arrays, convolutions O I H W (README, Pretrained backbones).

Published: 32.8 mask AP on val2017, 33.2 on test-dev, 44.3 images a second on a 2080 Ti, at a short
side of 640 (github.com/hustvl/SparseInst, README). 31,637,493 parameters, 31,584,373 of them
trained. The rate falls after 210,000 and 250,000 of 270,000 steps, which are the epochs below. Not
yet trained to the end with this code; docs/results.md says in what its training is not the
published one.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.sparseinst import SparseInst
from solojax.models.context import ContextEncoder
from solojax.models.detector import Detector
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(
            depth=50,
            norm="frozen",
            frozen_stages=0,
        ),
        neck=ContextEncoder(width=256),
        head=SparseInst(num_classes=80),
    ),
    data=Data(
        root="data/coco",
        canvases=((480, 864), (576, 864), (640, 864), (864, 480), (864, 576), (864, 640)),
        train_short_sides=(416, 448, 480, 512, 544, 576, 608, 640),
        test_short_side=640,
        long_side=853,
        augmentation=Augmentation(flip_probability=0.5),
    ),
    optimizer=Optimizer(
        algorithm="adamw",
        learning_rate=5e-5,
        base_batch_size=64,
        weight_decay=0.05,
        schedule="step",
        drop_epochs=(113.6, 135.3),
        warmup_steps=1000,
        warmup_factor=0.001,
        clip_norm=0,
    ),
    training=Training(batch_size=64, epochs=146.08),  # 270 thousand steps
)
