r"""PP-LiteSeg-B1, STDC2, on Cityscapes at 512x1024: the published model and recipe.

    python train.py --config configs/pp_liteseg_stdc2.py --workdir runs/pp_liteseg_stdc2 \
        --set data.root=cityscapes
    python eval.py --workdir runs/pp_liteseg_stdc2

``cityscapes`` holds label maps as `solojax data import` writes them. The published backbone is
pretrained on ImageNet; here it begins at random.

Published: 75.3 mIoU on val, 73.9 on test, 195.3 images a second on a 1080 Ti with TensorRT (the
paper). 12,366,009 parameters. Not yet trained to the end with this code.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.labeller import Labeller, LabelObjective
from solojax.heads.pp_liteseg import PPLiteSeg
from solojax.models.detector import Detector
from solojax.models.levels import Levels
from solojax.models.stdc import STDC

config = Config(
    model=Detector(
        backbone=STDC(blocks=(4, 5, 3)),
        neck=Levels(),
        head=Labeller(
            PPLiteSeg(widths=(128, 96, 64), label_widths=(64, 64, 64)),
            num_labels=19,
            dropout=0,
            # Of 4 images of 512 x 1024 on a GPU a sixteenth of the pixels; here of each image.
            objective=LabelObjective(auxiliary_weight=1, hard_probability=0.7, hard_share=1 / 16),
        ),
    ),
    data=Data(
        root="data/cityscapes",
        canvases=((512, 1024),),
        test_short_side=512,
        long_side=1024,
        # Of the original size 0.125 to 1.5; an image just fits at a half.
        augmentation=Augmentation(
            flip_probability=0.5, scale_range=(0.25, 3.0), color_probability=0.5
        ),
    ),
    optimizer=Optimizer(
        algorithm="sgd",
        learning_rate=0.005,
        base_batch_size=16,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="poly",
        warmup_steps=1000,
        clip_norm=0,
    ),
    training=Training(batch_size=16, steps=160_000),
)
