r"""YOLACT, ResNet-50, 550 x 550 pixels: the published model and recipe.

    python train.py --config configs/yolact_r50_550.py --workdir runs/yolact_r50_550 \
        --set data.root=coco training.pretrained=resnet50.npz
    python eval.py --workdir runs/yolact_r50_550

``coco`` is the 2017 set as COCO distributes it; ``resnet50.npz`` holds torchvision's state dict as
NumPy arrays, convolutions O I H W (README, Pretrained backbones).

Published: 28.2 mask AP on test-dev, 42.5 images a second on a Titan Xp (github.com/dbolya/yolact,
README; the paper).
31,164,943 parameters, those of the semantic layer included, which only training needs. Not yet
trained to the end with this code.

Where it is not the published recipe: images are not zoomed out (SSD's expansion); crops overlap
some box as far as they should, which the authors' program does not ask of them; colours are
distorted as PaddleDetection does it; masks are resized to nearest neighbours; images without
instances stay in; batch norms take the statistics of the global batch of 8 images.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.anchors import Anchors
from solojax.heads.yolact import YOLACT
from solojax.models.bilinear_fpn import BilinearFPN
from solojax.models.detector import Detector
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=50, norm="sync", frozen_stages=0),
        neck=BilinearFPN(width=256),
        head=YOLACT(
            num_classes=80,
            anchors=Anchors(
                scales=((24,), (48,), (96,), (192,), (384,)),
                canvas=(550, 550),
            ),
        ),
        mean=(123.68, 116.78, 103.94),
        std=(58.40, 57.12, 57.38),
    ),
    data=Data(
        root="data/coco",
        canvases=((550, 550),),
        resize="stretch",
        augmentation=Augmentation(flip_probability=0.5, color_probability=0.5, crop_probability=1),
    ),
    optimizer=Optimizer(
        algorithm="sgd",
        learning_rate=1e-3,
        base_batch_size=8,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        drop_epochs=(18.94, 40.58, 47.34, 50.72),  # 280, 600, 700 and 750 thousand steps
        warmup_steps=500,
        warmup_factor=0.1,
        clip_norm=0,
    ),
    training=Training(batch_size=8, epochs=54.1),  # 800 thousand steps
)
