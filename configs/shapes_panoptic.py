"""SOLOv2 and Panoptic FPN's branch on the shapes set, from scratch: whole scenes.

    solojax data shapes data/shapes
    python train.py --config configs/shapes_panoptic.py --workdir runs/shapes_panoptic
    python eval.py --workdir runs/shapes_panoptic

`make demo CONFIG=shapes_panoptic` does it all. The grounds' textures are the stuff.

Measured: PQ 0.694, 0.669, 0.677, mIoU 0.657, 0.643, 0.637, mask AP 0.552, 0.546, 0.539 on the 200
validation images for seeds 0, 1, 2; nine minutes of CPU time each.
"""

from solojax.config import Config, Data, Optimizer, Training
from solojax.heads.grid import Grid
from solojax.heads.labeller import Labeller, LabelObjective
from solojax.heads.merging import Merging
from solojax.heads.objective import Objective
from solojax.heads.panoptic import Panoptic
from solojax.heads.panoptic_fpn import PanopticFPN
from solojax.heads.selection import Selection
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=10, width=16, norm="sync", frozen_stages=0),
        neck=FPN(width=48),
        head=Panoptic(
            things=SOLOv2(
                num_classes=5,
                grid=Grid(
                    levels=("p2", "p3", "p4"),
                    strides=(8, 8, 16),
                    sizes=(16, 12, 8),
                    scale_ranges=((1, 32), (16, 64), (32, 512)),
                ),
                width=64,
                depth=2,
                kernel_width=32,
                mask_feature_width=32,
                mask_levels=("p2", "p3", "p4"),
                groups=8,
                max_positives=64,
                # In so short a training masks are right before their classes are.
                objective=Objective(category_weight=2),
                selection=Selection(max_candidates=300, nms_candidates=200),
            ),
            stuff=Labeller(
                PanopticFPN(width=32, levels=("p2", "p3", "p4"), groups=8),
                num_labels=12,
                dropout=0,
                objective=LabelObjective(stride=2),
            ),
            # Of 128 x 128 pixels; 4,096 is the published share of photos.
            merging=Merging(least_stuff=200),
        ),
    ),
    data=Data(
        root="data/shapes",
        canvases=((128, 128),),
        train_short_sides=(128,),
        test_short_side=128,
        long_side=128,
        max_instances=8,
    ),
    optimizer=Optimizer(
        algorithm="muon",
        learning_rate=0.02,
        base_batch_size=8,
        weight_decay=1e-2,
        decay_norms=False,
        decay_biases=False,
        schedule="cosine",
        warmup_steps=100,
        clip_norm=10,
        ema_decay=0.99,
    ),
    training=Training(
        batch_size=8, steps=2600, log_every=100, checkpoint_every=1300, evaluate_every=2600
    ),
)
