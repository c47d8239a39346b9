r"""SOLOv2-Light-512-DCN, ResNet-50-vd, with PaddleDetection's enhanced recipe, 36 epochs.

    python train.py --config configs/solov2_enhanced_512_dcn_r50vd_fpn_3x.py \
        --workdir runs/solov2_enhanced_512_dcn_r50vd_fpn_3x --set data.root=coco
    python eval.py --workdir runs/solov2_enhanced_512_dcn_r50vd_fpn_3x

``coco`` is the 2017 set as COCO distributes it. The published backbone starts from distilled
weights of PaddlePaddle (SSLD v2).

Published: 39.0 mask AP on val2017, 38.6 images a second on a V100 (github.com/PaddlePaddle/
PaddleDetection, configs/solov2). Images, learning rates by stage, weight decay, DropBlock and the
average of the parameters are those of its recipe. Grid masks are told of beside it and are in none
of its configs, so here they are off
(``data.augmentation.grid_mask_probability=0.7 data.augmentation.grid_mask_ramp_steps=360000``).

What still differs: its average starts from zeros and is corrected for that, ours starts from the
weights, which is the same once its decay has come up. Its deformable convolutions in the head have
a bias, learned twice as fast as the rest and not decayed; ours have none, as a norm follows each,
and what the recipe says of biases is left to those of their offsets. A crop of another shape than
its image is made smaller where its canvas has no room for it. Not yet trained to the end with this
code.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.grid import Grid
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(
            depth=50,
            variant="d",
            norm="sync",
            frozen_stages=1,
            deform="v2",
            deform_stages=(2, 3, 4),
        ),
        neck=FPN(width=256),
        head=SOLOv2(
            num_classes=80,
            grid=Grid(
                sizes=(40, 36, 24, 16, 12),
                scale_ranges=((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)),
            ),
            width=256,
            depth=3,
            kernel_width=128,
            mask_feature_width=128,
            deform="v2",
            deform_convs="last",
            deform_mask_features=True,
            drop_block=0.1,
            drop_block_size=3,
        ),
    ),
    data=Data(
        root="data/coco",
        canvases=((512, 704), (512, 800), (512, 864), (704, 512), (800, 512), (864, 512)),
        train_short_sides=(512, 480, 448, 416, 384, 352),
        test_short_side=512,
        long_side=852,
        augmentation=Augmentation(
            color_probability=0.5,
            crop_probability=1,
            flip_probability=0.5,
        ),
    ),
    optimizer=Optimizer(
        algorithm="sgd",
        learning_rate=0.01,
        base_batch_size=16,
        # Offsets are new to the pretrained stages, so they come first. Stage 1 counts once it is
        # no longer frozen.
        rate_factors=(
            ("backbone/*/offset/*", 1),
            ("backbone/layer1_*", 0.05),
            ("backbone/layer2_*", 0.05),
            ("backbone/layer3_*", 0.1),
            ("backbone/layer4_*", 0.15),
            ("head/*/offset/bias", 2),
        ),
        momentum=0.9,
        weight_decay=1e-4,
        decay_norms=False,
        decay_biases=True,
        undecayed=("head/*/offset/bias",),
        schedule="step",
        drop_epochs=(24, 33),
        warmup_steps=1000,
        warmup_factor=0,
        clip_norm=0,
        ema_decay=0.9998,
    ),
    training=Training(batch_size=16, epochs=36),
)
