r"""SOLOv2 and the semantic branch of Panoptic FPN on one ResNet-50 and pyramid, on COCO.

    python train.py --config configs/panoptic_solov2_r50_fpn.py \
        --workdir runs/panoptic_solov2_r50_fpn \
        --set data.root=coco training.pretrained=resnet50.npz
    python eval.py --workdir runs/panoptic_solov2_r50_fpn

``coco`` is the 2017 set as COCO distributes it, with the panoptic annotations; ``resnet50.npz``
holds torchvision's state dict as NumPy arrays, convolutions O I H W (README, Pretrained backbones).

Published: 42.1 PQ on val2017 (the SOLOv2 paper). 48,233,877 parameters, 48,008,533 of them trained.
Not yet trained to the end with this code. The weight of the branch is that of the Panoptic FPN
paper; its labels are all 133, where the paper's are the stuff and one for all things.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.grid import Grid
from solojax.heads.labeller import Labeller, LabelObjective
from solojax.heads.panoptic import Panoptic
from solojax.heads.panoptic_fpn import PanopticFPN
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=50, norm="frozen_statistics", frozen_stages=1),
        neck=FPN(width=256),
        head=Panoptic(
            things=SOLOv2(
                num_classes=80,
                grid=Grid(
                    sizes=(40, 36, 24, 16, 12),
                    scale_ranges=((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)),
                ),
                width=512,
                depth=4,
                kernel_width=256,
                mask_feature_width=128,
            ),
            stuff=Labeller(
                PanopticFPN(width=128),
                num_labels=133,
                dropout=0,
                # At stride 1 the logits of an image would be 572 MB.
                objective=LabelObjective(stride=4, cross_entropy_weight=0.5),
            ),
        ),
    ),
    data=Data(
        root="data/coco",
        canvases=((800, 1088), (800, 1216), (800, 1344), (1088, 800), (1216, 800), (1344, 800)),
        train_short_sides=(800, 768, 736, 704, 672, 640),
        test_short_side=800,
        long_side=1333,
        augmentation=Augmentation(flip_probability=0.5),
    ),
    optimizer=Optimizer(
        algorithm="sgd",
        learning_rate=0.01,
        base_batch_size=16,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="step",
        drop_epochs=(27, 33),
        warmup_steps=500,
        warmup_factor=0.01,
        clip_norm=35,
    ),
    training=Training(batch_size=16, epochs=36),
)
