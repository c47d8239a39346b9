r"""DeepLabv3+, ResNet-50 of output stride 16, on PASCAL VOC: the paper's recipe.

    python train.py --config configs/deeplabv3plus_r50.py --workdir runs/deeplabv3plus_r50 \
        --set data.root=voc training.pretrained=resnet50.npz
    python eval.py --workdir runs/deeplabv3plus_r50

``voc`` holds label maps as `solojax data import` writes them; ``resnet50.npz`` holds
torchvision's state dict as NumPy arrays, convolutions O I H W (README, Pretrained backbones).

The paper gives 87.8 mIoU on the test set of an Xception. 26,696,133 parameters. Not yet trained to
the end with this code.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.deeplab import DeepLabV3Plus
from solojax.heads.labeller import Labeller
from solojax.models.detector import Detector
from solojax.models.levels import Levels
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=50, norm="sync", frozen_stages=0, output_stride=16),
        neck=Levels(),
        head=Labeller(DeepLabV3Plus(width=256, low_width=48, rates=(6, 12, 18)), num_labels=21),
    ),
    data=Data(
        root="data/voc",
        canvases=((512, 512),),
        test_short_side=512,
        long_side=512,
        augmentation=Augmentation(flip_probability=0.5, scale_range=(0.5, 2.0)),
    ),
    optimizer=Optimizer(
        algorithm="sgd",
        learning_rate=0.007,
        base_batch_size=16,
        momentum=0.9,
        weight_decay=4e-5,
        schedule="poly",
        warmup_steps=0,
        clip_norm=0,
    ),
    training=Training(batch_size=16, steps=30_000),
)
