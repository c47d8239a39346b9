r"""SOLOv2 on a handful of photographs until it knows them by heart.

The check to make first with a new data set: a network that cannot memorise four of its images has
a fault in the data, not in the recipe. Point it at a COCO JSON of those few images, which is the
validation set as well:

    python train.py --config configs/memorize.py --workdir runs/memorize \
        --set data.root=my/set data.train_json=four.json data.val_json=four.json
    python eval.py --workdir runs/memorize
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
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
            grid=Grid(
                levels=("p2", "p3", "p4", "p5"),
                strides=(8, 8, 16, 32),
                sizes=(32, 24, 16, 12),
                scale_ranges=((1, 48), (24, 96), (48, 192), (96, 1024)),
            ),
            width=64,
            depth=2,
            kernel_width=64,
            mask_feature_width=48,
            groups=8,
            max_positives=256,
        ),
    ),
    data=Data(
        root="data/photographs",
        train_json="annotations/four.json",
        val_json="annotations/four.json",
        canvases=((256, 352), (352, 256)),
        train_short_sides=(256,),
        test_short_side=256,
        long_side=352,
        augmentation=Augmentation(flip_probability=0),  # to be known by heart as they are
    ),
    optimizer=Optimizer(
        algorithm="adamw",
        learning_rate=2e-3,
        base_batch_size=4,
        weight_decay=1e-4,
        decay_norms=False,
        decay_biases=False,
        schedule="cosine",
        warmup_steps=50,
        clip_norm=10,
    ),
    training=Training(batch_size=4, steps=300, log_every=20, checkpoint_every=300),
)
