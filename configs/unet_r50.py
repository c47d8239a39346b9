r"""U-Net on ResNet-50: the network of Segmentation Models, trained as PSPNet is.

    python train.py --config configs/unet_r50.py --workdir runs/unet_r50 \
        --set data.root=ade20k training.pretrained=resnet50.npz
    python eval.py --workdir runs/unet_r50

``ade20k`` holds label maps as `solojax data import` writes them; ``resnet50.npz`` holds
torchvision's state dict as NumPy arrays, convolutions O I H W (README, Pretrained backbones).

No numbers are published of it. 32,523,510 parameters. Not yet trained to the end with this code.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.labeller import Labeller
from solojax.heads.unet import UNet
from solojax.models.detector import Detector
from solojax.models.levels import Levels
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=50, norm="sync", frozen_stages=0, c1=True),
        neck=Levels(),
        head=Labeller(UNet(widths=(256, 128, 64, 32, 16)), num_labels=150),
    ),
    data=Data(
        root="data/ade20k",
        canvases=((512, 704), (704, 512), (512, 512)),
        test_short_side=512,
        long_side=704,
        augmentation=Augmentation(
            flip_probability=0.5, scale_range=(0.5, 2.0), color_probability=0.5
        ),
    ),
    optimizer=Optimizer(
        algorithm="sgd",
        learning_rate=0.01,
        base_batch_size=16,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="poly",
        warmup_steps=0,
        clip_norm=0,
    ),
    training=Training(batch_size=16, steps=100_000),
)
