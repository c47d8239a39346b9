r"""PSPNet, ResNet-50 of output stride 8, on ADE20K: the paper's model and recipe.

    python train.py --config configs/pspnet_r50.py --workdir runs/pspnet_r50 \
        --set data.root=ade20k training.pretrained=resnet50.npz
    python eval.py --workdir runs/pspnet_r50

``ade20k`` holds label maps as `solojax data import` writes them; ``resnet50.npz`` holds
torchvision's state dict as NumPy arrays, convolutions O I H W (README, Pretrained backbones).

The paper gives 44.9 mIoU of a ResNet-269, at several scales. 49,057,132 parameters. Not yet trained
to the end with this code; crops are those of the canvases, the paper's are 473 pixels each way.
"""

from solojax.config import Augmentation, Config, Data, Optimizer, Training
from solojax.heads.labeller import Labeller, LabelObjective
from solojax.heads.pspnet import PSPNet
from solojax.models.detector import Detector
from solojax.models.levels import Levels
from solojax.models.resnet import ResNet

config = Config(
    model=Detector(
        backbone=ResNet(depth=50, norm="sync", frozen_stages=0, output_stride=8),
        neck=Levels(),
        head=Labeller(
            PSPNet(width=512, pools=(1, 2, 3, 6), auxiliary_width=256),
            num_labels=150,
            objective=LabelObjective(auxiliary_weight=0.4),
        ),
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
