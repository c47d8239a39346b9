r"""SOLOv2, ResNet-50, with large-scale jitter and copy-paste: a strong recipe of today.

    python train.py --config configs/solov2_r50_fpn_lsj_copy_paste.py \
        --workdir runs/solov2_r50_fpn_lsj_copy_paste \
        --set data.root=coco training.pretrained=resnet50.npz
    python eval.py --workdir runs/solov2_r50_fpn_lsj_copy_paste

``coco`` is the 2017 set as COCO distributes it; ``resnet50.npz`` holds torchvision's state dict as
NumPy arrays, convolutions O I H W (README, Pretrained backbones).

Images are scaled to 0.1..2.0 of 1024 and cropped to 1024 x 1024, and instances of another image are
pasted on every second of them (Ghiasi et al., arXiv 2012.07177). Jitter alone took detectron2's
Mask R-CNN with ResNet-50 from 37.2 to 42.5 mask AP in 400 epochs (its model zoo); for SOLOv2 nobody
has published either, and this is not yet trained to the end with this code.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.grid import Grid
from solojax.heads.solov2 import SOLOv2
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=50, norm="frozen_statistics", frozen_stages=1),
        neck=FPN(width=256),
        head=SOLOv2(
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
    ),
    data=Data(
        root="data/coco",
        canvases=((1024, 1024),),
        test_short_side=1024,
        long_side=1024,
        augmentation=Augmentation(
            scale_range=(0.1, 2.0),
            flip_probability=0.5,
            copy_paste_probability=0.5,
        ),
    ),
    optimizer=Optimizer(
        algorithm="sgd",
        learning_rate=0.01,
        base_batch_size=16,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="cosine",
        warmup_steps=1000,
        warmup_factor=0.01,
        clip_norm=35,
        ema_decay=0.9998,
    ),
    training=Training(batch_size=64, epochs=100),
)
