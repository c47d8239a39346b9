"""Parts of nobody's family: what the protocols ask for, and nothing else."""

import sys
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from solojax.heads.answer import best_first
from solojax.heads.decoder import Decoder
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.deeplab import DeepLabV3Plus
from solojax.heads.fcn import FCN
from solojax.heads.labeller import Labeller
from solojax.heads.panoptic import Panoptic
from solojax.heads.panoptic_fpn import PanopticFPN
from solojax.heads.pp_liteseg import PPLiteSeg
from solojax.heads.protocol import InstanceHead, PixelHead
from solojax.heads.pspnet import PSPNet
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.heads.sparseinst import SparseInst
from solojax.heads.unet import UNet
from solojax.heads.yolact import YOLACT
from solojax.models.bilinear_fpn import BilinearFPN
from solojax.models.context import ContextEncoder
from solojax.models.detector import Backbone, Neck
from solojax.models.fpn import FPN, SingleLevel
from solojax.models.layers import Conv
from solojax.models.levels import Levels
from solojax.models.resnet import ResNet
from solojax.models.stdc import STDC
from solojax.ops import resize
from solojax.types import MASK_STRIDE, Detections, Instances, Logged, Mean


class Outputs(NamedTuple):
    """Of ``Q`` slots."""

    class_logits: jax.Array  # B Q C
    mask_logits: jax.Array  # B Q H/4 W/4


class Targets(NamedTuple):
    """The instance in each slot's place, if any."""

    labels: jax.Array  # B Q, num_classes where there is none
    masks: jax.Array  # B Q H/4 W/4
    key: jax.Array  # for what the loss draws
    metrics: dict[str, Mean]


class Slots(nn.Module):
    """The nth instance is for the nth slot."""

    num_classes: int = 3
    slots: int = 6

    @property
    def mask_strides(self) -> tuple[int, ...]:
        """One for all."""
        return (MASK_STRIDE,)

    @property
    def mask_threshold(self) -> float:
        """The middle."""
        return 0.5

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Outputs:
        """A map a slot; its class is that of the features under it."""
        features = pyramid["p2"]
        masks = Conv(self.slots, (3, 3), padding=1, name="maps")(features)
        under = jnp.einsum("bhwq,bhwc->bqc", jax.nn.sigmoid(masks), features)
        logits = nn.Dense(self.num_classes, name="classes")(under / masks[0, ..., 0].size)
        return Outputs(logits, jnp.moveaxis(masks, -1, 1))

    @nn.nowrap
    def targets(self, instances: Instances, key: jax.Array) -> Targets:
        """As they come."""
        short = self.slots - instances.labels.shape[1]
        labels = jnp.where(instances.valid, instances.labels, self.num_classes)
        labels = jnp.pad(labels, ((0, 0), (0, short)), constant_values=self.num_classes)
        masks = jnp.pad(instances.masks[MASK_STRIDE], ((0, 0), (0, short), (0, 0), (0, 0)))
        used = jnp.sum(labels < self.num_classes, dtype=jnp.float32)
        return Targets(labels, masks, key, {"slots": Mean(used, jnp.float32(len(labels)))})

    @nn.nowrap
    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Mean]:
        """Cross entropies, of every other pixel; and how often the class is right."""
        wanted = jax.nn.one_hot(targets.labels, self.num_classes)
        classes = optax.sigmoid_binary_cross_entropy(outputs.class_logits, wanted)
        masks = optax.sigmoid_binary_cross_entropy(outputs.mask_logits, targets.masks)
        masks = (masks * jax.random.bernoulli(targets.key, shape=masks.shape)).mean((2, 3))
        used = targets.labels < self.num_classes
        count = jnp.sum(used, dtype=jnp.float32)
        right = used & (jnp.argmax(outputs.class_logits, -1) == targets.labels)
        return {
            "right": Logged(jnp.sum(right, dtype=jnp.float32), count),
            "classes": Mean(jnp.sum(classes), jnp.float32(used.size)),
            "masks": Mean(jnp.sum(jnp.where(used, masks, 0)), count),
        }

    @nn.nowrap
    def detect(self, outputs: Outputs) -> Detections:
        """Every slot, best first."""
        scores = jax.nn.sigmoid(outputs.class_logits)
        best = jnp.max(scores, -1)
        order = jnp.argsort(-best, axis=1)
        labels = jnp.take_along_axis(jnp.argmax(scores, -1), order, 1).astype(jnp.int32)
        masks = jnp.take_along_axis(outputs.mask_logits, order[..., None, None], 1)
        return Detections(
            scores=jnp.take_along_axis(best, order, 1),
            labels=labels,
            masks=jax.nn.sigmoid(masks),
            valid=jnp.ones(order.shape, bool),
            overflow=jnp.zeros(len(order), jnp.int32),
        )


class Framed(Slots):
    """Asks for whole masks, leaves out what crowds cover, and says where boxes are."""

    @property
    def mask_strides(self) -> tuple[int, ...]:
        """The canvas itself."""
        return (1,)

    @nn.nowrap
    def targets(self, instances: Instances, key: jax.Array) -> Targets:
        """Shrunk to a quarter, rounded up."""
        assert instances.crowd is not None
        batch, count, height, width = instances.masks[1].shape
        size = -(-height // MASK_STRIDE), -(-width // MASK_STRIDE)
        whole = jnp.moveaxis(instances.masks[1], 1, -1).astype(jnp.float32)
        shrunk = jnp.moveaxis(resize.bilinear(whole, size), -1, 1)
        crowd = instances.crowd[..., None, None]
        covered = jnp.max(jnp.where(crowd, shrunk, 0), 1, keepdims=True)
        masks = {MASK_STRIDE: shrunk * (1 - covered)}
        made = super().targets(instances._replace(masks=masks), key)
        crowds = Mean(jnp.sum(instances.crowd, dtype=jnp.float32), jnp.float32(batch))
        return made._replace(metrics={**made.metrics, "crowds": crowds})

    @nn.nowrap
    def detect(self, outputs: Outputs) -> Detections:
        """Each box is the upper left quarter of a canvas of 128 pixels, moved on by its rank."""
        scores = jax.nn.sigmoid(outputs.class_logits)
        ranks = 8.0 * jnp.arange(self.slots)[None, :, None]
        box = jnp.array([0.0, 0, 64, 64])[None, None]
        soft = jax.nn.sigmoid(outputs.mask_logits)
        found = best_first(scores.max(-1), scores.argmax(-1), soft, most=self.slots)
        return found._replace(boxes=jnp.broadcast_to(box + ranks, (len(scores), self.slots, 4)))


class Blocks(nn.Module):
    """A backbone that costs nothing to compile."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        return {"p2": nn.Dense(8)(nn.avg_pool(images, (4, 4), (4, 4), "SAME"))}


class Neither(nn.Module):
    """A neck that changes nothing."""

    @nn.compact
    def __call__(self, features: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return features


# For mypy: what the protocol says is true of them.
HEADS: list[InstanceHead] = [
    Slots(),
    Framed(),
    SOLO(),
    DecoupledSOLO(),
    SOLOv2(),
    SparseInst(),
    YOLACT(),
    Panoptic(SOLO(), Labeller(FCN())),
]
PIXEL_HEADS: list[PixelHead] = [Labeller(FCN()), Panoptic(SOLO(), Labeller(FCN()))]
DECODERS: list[Decoder] = [
    FCN(),
    UNet(),
    PSPNet(),
    DeepLabV3Plus(),
    PPLiteSeg(),
    PanopticFPN(),
]
NECKS: list[Neck] = [Neither(), FPN(), SingleLevel(), BilinearFPN(), ContextEncoder(), Levels()]
BACKBONES: list[Backbone] = [Blocks(), ResNet(), STDC()]

# A run's config is read back from modules of the package alone; a head of somebody's is one.
for part in (Slots, Framed, Blocks, Neither):
    part.__module__ = "solojax.heads.stranger"
sys.modules[Slots.__module__] = sys.modules[__name__]
