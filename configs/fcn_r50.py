r"""FCN, ResNet-50 of output stride 8: torchvision's model and recipe.

    python train.py --config configs/fcn_r50.py --workdir runs/fcn_r50 \
        --set data.root=coco_voc training.pretrained=resnet50.npz
    python eval.py --workdir runs/fcn_r50

``coco_voc`` holds label maps as `solojax data import` writes them; ``resnet50.npz`` holds
torchvision's state dict as NumPy arrays, convolutions O I H W (README, Pretrained backbones).
The set is COCO's 2017 with the labels of PASCAL VOC, background first.

Published: 60.5 mIoU and 91.4 % of the pixels on val2017 (torchvision, FCN_ResNet50_Weights).
35,322,218 parameters. Not yet trained to the end with this code.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.fcn import FCN
from solojax.heads.labeller import Labeller, LabelObjective
from solojax.models.detector import Detector
from solojax.models.levels import Levels
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=50, norm="sync", frozen_stages=0, output_stride=8),
        neck=Levels(),
        head=Labeller(
            FCN(width=512, depth=1, auxiliary_width=256),
            num_labels=21,
            objective=LabelObjective(auxiliary_weight=0.5),
        ),
    ),
    data=Data(
        root="data/coco_voc",
        canvases=((544, 704), (704, 544), (544, 544)),
        test_short_side=520,
        long_side=693,
        augmentation=Augmentation(flip_probability=0.5, scale_range=(0.5, 2.0)),
    ),
    optimizer=Optimizer(
        algorithm="sgd",
        learning_rate=0.02,
        base_batch_size=32,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="poly",
        warmup_steps=0,
        clip_norm=0,
        rate_factors=(("head/decoder/auxiliary/*", 10), ("head/auxiliary_predictor_0/*", 10)),
    ),
    training=Training(batch_size=32, epochs=30),
)
