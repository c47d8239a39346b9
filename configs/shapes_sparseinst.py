"""SparseInst on the shapes set, from scratch: `make demo CONFIG=shapes_sparseinst`.

    solojax data shapes data/shapes
    python train.py --config configs/shapes_sparseinst.py --workdir runs/shapes_sparseinst
    python eval.py --workdir runs/shapes_sparseinst

Its trunks have norms, which the published model's have not: without them masks took three times as
many steps. Nor has that a segmentation by class, which its trunk learns here.

Measured: mask AP 0.476, 0.484 and AP50 0.718, 0.736 on the 200 validation images for seeds 0, 1;
ten minutes of CPU time, evaluation included. docs/recipes.md has what else was tried.
"""

from solojax.config import Config, Data, Optimizer, Training
from solojax.heads.matching import Objective
from solojax.heads.sparseinst import SparseInst
from solojax.models.context import ContextEncoder
from solojax.models.detector import Detector
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=10, width=16, norm="sync", frozen_stages=0),
        neck=ContextEncoder(width=48, pool_width=12),
        head=SparseInst(
            num_classes=5,
            slots=24,
            activation="group_softmax",
            width=48,
            depth=2,
            mask_width=48,
            mask_depth=2,
            kernel_width=32,
            norm_groups=8,
            # From scratch, slots look at places long before they look at instances, and classes are
            # the last that is learnt: each pixel teaches them as well.
            objective=Objective(category_weight=8, mask_weight=2, semantic_weight=10),
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
        learning_rate=0.014,
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
        batch_size=8, steps=4600, log_every=100, checkpoint_every=2300, evaluate_every=4600
    ),
)
