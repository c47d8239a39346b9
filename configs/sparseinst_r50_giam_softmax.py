r"""SparseInst, ResNet-50, groups of activation maps as shares of the positions: as published.

    python train.py --config configs/sparseinst_r50_giam_softmax.py \
        --workdir runs/sparseinst_r50_giam_softmax \
        --set data.root=coco training.pretrained=resnet50.npz
    python eval.py --workdir runs/sparseinst_r50_giam_softmax

``coco`` is the 2017 set as COCO distributes it; ``resnet50.npz`` holds torchvision's state dict as
NumPy arrays, convolutions O I H W (README, Pretrained backbones).

Published: 33.6 mask AP on val2017, 44.6 images a second on a 2080 Ti, at a short side of 608
(github.com/hustvl/SparseInst, README). 32,847,906 parameters, 32,794,786 of them trained. The rate
falls after 210,000 and 250,000 of 270,000 steps, which are the epochs below. Not yet trained to the
end with this code; docs/results.md says in what its training is not the published one.
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
        head=SparseInst(
            num_classes=80,
            activation="group_softmax",
            groups=4,
        ),
    ),
    data=Data(
        root="data/coco",
        canvases=(
            (512, 864),
            (576, 864),
            (608, 832),
            (640, 864),
            (864, 512),
            (864, 576),
            (832, 608),
            (864, 640),
        ),
        train_short_sides=(416, 448, 480, 512, 544, 576, 608, 640),
        test_short_side=608,
        long_side=864,
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
