"""PP-LiteSeg on the shapes set, from scratch: a label for every pixel.

    solojax data shapes data/shapes
    python train.py --config configs/shapes_pp_liteseg.py --workdir runs/shapes_pp_liteseg
    python eval.py --workdir runs/shapes_pp_liteseg

`make demo CONFIG=shapes_pp_liteseg` does it all. Labels are shapes and textures.

Measured: mIoU 0.623, 0.604, 0.606 on the 200 validation images for seeds 0, 1, 2; ten minutes of
CPU time each.
"""

from solojax.config import Config, Data, Optimizer, Training
from solojax.heads.labeller import Labeller, LabelObjective
from solojax.heads.pp_liteseg import PPLiteSeg
from solojax.models.detector import Detector
from solojax.models.levels import Levels
from solojax.models.stdc import STDC

config = Config(
    model=Detector(
        backbone=STDC(width=16, blocks=(1, 1, 1)),
        neck=Levels(),
        head=Labeller(
            PPLiteSeg(context_width=48, widths=(48, 48, 32), label_widths=(32, 32, 32)),
            num_labels=12,
            dropout=0,
            # Shapes have an eighth of the pixels; dice counts classes, not pixels.
            objective=LabelObjective(stride=2, dice_weight=1, auxiliary_weight=1),
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
        batch_size=8, steps=4800, log_every=100, checkpoint_every=2400, evaluate_every=4800
    ),
)
