"""U-Net on the shapes set, from scratch: a label for every pixel.

    solojax data shapes data/shapes
    python train.py --config configs/shapes_unet.py --workdir runs/shapes_unet
    python eval.py --workdir runs/shapes_unet

`make demo CONFIG=shapes_unet` does it all. Labels are shapes and textures.

Measured: mIoU 0.674, 0.691, 0.707 on the 200 validation images for seeds 0, 1, 2; five minutes of
CPU time each.
"""

from solojax.config import Config, Data, Optimizer, Training
from solojax.heads.labeller import Labeller, LabelObjective
from solojax.heads.unet import UNet
from solojax.models.detector import Detector
from solojax.models.levels import Levels
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=10, width=16, norm="sync", frozen_stages=0),
        neck=Levels(),
        head=Labeller(
            UNet(widths=(64, 48, 32)),
            num_labels=12,
            dropout=0,
            # Shapes have an eighth of the pixels; dice counts classes, not pixels.
            objective=LabelObjective(stride=2, dice_weight=1),
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
