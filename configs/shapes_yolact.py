"""YOLACT on the shapes set, from scratch: `make demo CONFIG=shapes_yolact`.

    solojax data shapes data/shapes
    python train.py --config configs/shapes_yolact.py --workdir runs/shapes_yolact
    python eval.py --workdir runs/shapes_yolact

Anchors and prototypes stand a level lower than the published models', for smaller images: on p2,
whose size the masks have. All anchors are squares, three sizes to an octave.

Measured: mask AP 0.525, 0.534 and AP50 0.816, 0.821 on the 200 validation images for seeds 0, 1;
ten minutes of CPU time, evaluation included.
"""

from solojax.config import Config, Data, Optimizer, Training
from solojax.heads.anchors import Anchors
from solojax.heads.box_selection import BoxSelection
from solojax.heads.yolact import YOLACT
from solojax.models.bilinear_fpn import BilinearFPN
from solojax.models.detector import Detector
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=10, width=16, norm="sync", frozen_stages=0),
        neck=BilinearFPN(width=48, finest_level=2, coarser_levels=0),
        head=YOLACT(
            num_classes=5,
            anchors=Anchors(
                levels=("p2", "p3", "p4"),
                scales=((12, 15, 19), (24, 30, 38), (48, 60, 76)),
                ratios=(1,),
                square=False,
            ),
            width=64,
            prototype_width=48,
            prototypes=16,
            enlarge_prototypes=False,
            max_masks=48,
            selection=BoxSelection(max_candidates=500, nms_candidates=100),
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
