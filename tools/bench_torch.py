"""SOLOv2 in PyTorch, to be measured beside ours: of the same layers, its weights fresh.

Written for ``tools/bench_accelerator.py`` from the architecture alone: channels-last, autocast,
``torch.compile``. Prints rows as ``solojax.bench.rows`` has them, each a line of JSON.

    python tools/bench_torch.py '{"depth": 50, "canvas": [800, 1344], ...}'
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
POSITIVES = 100  # cells of an image whose masks are trained: of 8 instances
DETECTIONS = 100


def conv(cin: int, cout: int, size: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Of padding that keeps the size."""
    return nn.Conv2d(cin, cout, size, stride, size // 2, bias=bias)


class Residual(nn.Module):
    """A block of a ResNet: basic (18) or with a bottleneck (50)."""

    def __init__(self, cin: int, width: int, stride: int, expansion: int):
        super().__init__()
        cout = width * expansion
        if expansion == 1:
            shapes = [(cin, width, 3, stride), (width, width, 3, 1)]
        else:
            shapes = [(cin, width, 1, 1), (width, width, 3, stride), (width, cout, 1, 1)]
        layers: list[nn.Module] = []
        for shape in shapes:
            layers += [conv(*shape), nn.BatchNorm2d(shape[1]), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers[:-1])
        self.short: nn.Module = nn.Identity()
        if stride > 1 or cin != cout:
            self.short = nn.Sequential(conv(cin, cout, 1, stride), nn.BatchNorm2d(cout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``B C H W`` -> the same at its stride."""
        return F.relu(self.body(x) + self.short(x))


class ResNet(nn.Module):
    """Strides 4, 8, 16, 32."""

    def __init__(self, depth: int):
        super().__init__()
        expansion = 1 if depth < 50 else 4
        self.stem = nn.Sequential(
            conv(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.stages, cin = nn.ModuleList(), 64
        for number, blocks in enumerate(BLOCKS[depth]):
            width = 64 * 2**number
            stage = []
            for block in range(blocks):
                stride = 2 if block == 0 and number > 0 else 1
                stage.append(Residual(cin, width, stride, expansion))
                cin = width * expansion
            self.stages.append(nn.Sequential(*stage))
        self.widths = [64 * 2**number * expansion for number in range(4)]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """``B 3 H W`` -> four maps."""
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class FPN(nn.Module):
    """p2 to p6."""

    def __init__(self, widths: list[int], width: int):
        super().__init__()
        self.lateral = nn.ModuleList(conv(one, width, 1, bias=True) for one in widths)
        self.output = nn.ModuleList(conv(width, width, 3, bias=True) for _ in widths)

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Four maps -> five."""
        maps = [lateral(one) for lateral, one in zip(self.lateral, features, strict=True)]
        for i in (2, 1, 0):
            maps[i] = maps[i] + F.interpolate(maps[i + 1], size=maps[i].shape[-2:], mode="nearest")
        maps = [output(one) for output, one in zip(self.output, maps, strict=True)]
        return [*maps, F.max_pool2d(maps[-1], 1, 2)]


def block(cin: int, cout: int, size: int = 3) -> nn.Sequential:
    """Convolution, group norm, ReLU."""
    return nn.Sequential(conv(cin, cout, size), nn.GroupNorm(32, cout), nn.ReLU(inplace=True))


def located(x: torch.Tensor) -> torch.Tensor:
    """Two channels more, of where each pixel is, -1 to 1."""
    batch, _, height, width = x.shape
    y = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype)
    across = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype)
    y, across = torch.meshgrid(y, across, indexing="ij")
    return torch.cat([x, torch.stack([across, y])[None].expand(batch, -1, -1, -1)], 1)


def resized(x: torch.Tensor, size: Any) -> torch.Tensor:
    """Bilinear."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Network(nn.Module):
    """Pixels ``B 3 H W`` -> category logits and kernels of each level, mask features."""

    def __init__(self, about: dict[str, Any]):
        super().__init__()
        width, depth, kernel = about["width"], about["convs"], about["kernel"]
        fpn, mask = about["fpn"], about["mask"]
        self.grids = about["grids"]
        self.backbone = ResNet(about["depth"])
        self.neck = FPN(self.backbone.widths, fpn)
        trunks = [
            nn.Sequential(*(block(first if i == 0 else width, width) for i in range(depth)))
            for first in (fpn, fpn + 2)
        ]
        self.category, self.kernel = trunks
        self.category_out = conv(width, about["classes"], 3, bias=True)
        self.kernel_out = conv(width, kernel, 3, bias=True)
        self.mask = nn.ModuleList()
        for level in range(4):
            first = fpn + 2 if level == 3 else fpn
            convs = (block(first if i == 0 else mask, mask) for i in range(max(level, 1)))
            self.mask.append(nn.ModuleList(convs))
        self.fuse = block(mask, kernel, 1)

    def forward(
        self, x: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
        """See the class."""
        pyramid = self.neck(self.backbone(x))
        half = (-(-pyramid[0].shape[-2] // 2), -(-pyramid[0].shape[-1] // 2))
        levels = [resized(pyramid[0], half), *pyramid[1:4]]
        levels.append(resized(pyramid[4], pyramid[3].shape[-2:]))
        categories, kernels = [], []
        for level, side in zip(levels, self.grids, strict=True):
            on_grid = resized(located(level), (side, side))
            kernels.append(self.kernel_out(self.kernel(on_grid)))
            categories.append(self.category_out(self.category(on_grid[:, :-2])))
        total: Any = 0
        for number, convs in enumerate(self.mask):
            y = located(pyramid[3]) if number == 3 else pyramid[number]
            for one in convs:
                y = one(y)
                if number:
                    y = resized(y, (2 * y.shape[-2], 2 * y.shape[-1]))
            total = total + y
        return categories, kernels, self.fuse(total)


def flat(maps: list[torch.Tensor]) -> torch.Tensor:
    """``B C S S`` of each level -> ``B T C``."""
    return torch.cat([one.flatten(2).transpose(1, 2) for one in maps], 1)


def matrix_nms(masks: torch.Tensor, labels: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Decayed scores of ``K P`` masks (0 or 1), best first.

    Under autocast the counts are rounded to bfloat16, which is faster than right.
    """
    both = (masks @ masks.T).float()
    areas = both.diagonal()
    iou = both / (areas[:, None] + areas[None] - both).clamp(min=1)
    iou = (iou * (labels[:, None] == labels[None])).triu(1)
    worst = iou.max(0).values[:, None]
    return scores * torch.exp(-2 * (iou**2 - worst**2)).min(0).values


def detect(
    scores: torch.Tensor,
    kernels: torch.Tensor,
    features: torch.Tensor,
    candidates: int,
    original: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores, labels and masks at original size of one image, all caps full.

    ``scores`` ``T classes`` after points NMS, ``kernels`` ``T E``, ``features`` ``E H/4 W/4``.
    """
    top, place = scores.flatten().topk(min(candidates, scores.numel()))
    cell, label = place // scores.shape[1], place % scores.shape[1]
    weights = kernels[cell].to(features.dtype)
    soft = torch.sigmoid(torch.einsum("kc,chw->khw", weights, features).float())
    hard = soft > 0.5
    top = top * (soft * hard).sum((1, 2)) / hard.sum((1, 2)).clamp(min=1)
    top, order = top.sort(descending=True)
    pixels = hard[order].flatten(1).to(features.dtype)
    final, kept = matrix_nms(pixels, label[order], top).topk(min(DETECTIONS, len(top)))
    chosen = order[kept]
    whole = [resized(soft[some][None], original)[0] > 0.5 for some in chosen.split(20)]
    return final, label[chosen], torch.cat(whole)


def peaks(categories: list[torch.Tensor]) -> torch.Tensor:
    """Scores ``B T classes`` of the cells that are no worse than those above and left."""
    scores = [torch.sigmoid(one.float()) for one in categories]
    best = [F.max_pool2d(one, 2, 1, 1)[..., :-1, :-1] for one in scores]
    return flat([one * (one == top) for one, top in zip(scores, best, strict=True)])


def loss_of(outputs: Any, cells: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Focal loss of all cells and dice of some, as SOLOv2 is trained.

    ``cells`` ``B P``, ``truth`` ``B P H/4 W/4``.
    """
    categories, kernels, features = outputs
    logits = flat(categories).float()
    wanted = torch.zeros_like(logits).scatter_(1, cells[..., None], 1.0)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    off = (torch.sigmoid(logits) - wanted).abs()
    weight = 0.25 * wanted + 0.75 * (1 - wanted)
    focal = (weight * off**2 * entropy).sum() / (cells.numel() + 1)
    index = cells[..., None].expand(-1, -1, features.shape[1])
    chosen = torch.gather(flat(kernels), 1, index)
    soft = torch.sigmoid(torch.einsum("bpc,bchw->bphw", chosen, features).float())
    shared = (soft * truth).sum((2, 3))
    dice = 1 - 2 * shared / ((soft**2).sum((2, 3)) + (truth**2).sum((2, 3)) + 2e-3)
    return focal + 3 * dice.mean()


def timed(name: str, images: int, call: Any, about: dict[str, Any]) -> dict[str, Any]:
    """A row, by the clock, as ``solojax.timing`` times ours."""

    def wait() -> None:
        if about["device"] == "cuda":
            torch.cuda.synchronize()

    def once(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        wait()
        return (time.perf_counter() - start) / calls

    try:
        first = once(1)
        once(1)
        together = max(1, round(0.05 / max(once(1), 1e-6)))
        begun, seconds = time.perf_counter(), [once(together)]
        while len(seconds) < about["repeats"] and time.perf_counter() < begun + about["within"]:
            seconds.append(once(together))
    except torch.OutOfMemoryError:
        return {"name": name, "images": images, "fails": "too little memory on the device"}
    median = statistics.median(seconds)
    times = {"median": median, "low": min(seconds), "high": max(seconds), "repeats": len(seconds)}
    return {
        "name": name,
        "images": images,
        "seconds": times,
        "images_per_second": images / median,
        "compile_seconds": first - median,
    }


def measure(about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each program: those of a batch, of a training, of one image."""
    device = torch.device(about["device"])
    network = Network(about).to(device, memory_format=torch.channels_last)
    network.backbone.eval()  # norms keep their statistics in a training as well
    parameters = sum(one.numel() for one in network.parameters())
    yield {"name": "parameters", "images": 0, "parameters": parameters}
    height, width = about["canvas"]
    original = (height * 3 // 5, width * 3 // 5)
    autocast = torch.autocast(about["device"], torch.bfloat16, enabled=about["bfloat16"])
    program, find = network, detect
    if about["compile"]:
        program, find = (torch.compile(one, dynamic=False) for one in (network, detect))

    def pixels(images: int) -> torch.Tensor:
        made = torch.randn(images, 3, height, width, device=device)
        return made.to(memory_format=torch.channels_last)

    def predict(images: int) -> Iterator[dict[str, Any]]:
        x = pixels(images)
        with torch.inference_mode(), autocast:
            yield timed(f"network, batch {images}", images, lambda: program(x), about)

            def whole() -> Any:
                categories, kernels, features = program(x)
                rest = (peaks(categories), flat(kernels), features)
                caps = (about["candidates"], original)
                return [find(*one, *caps) for one in zip(*rest, strict=True)]

            yield timed(f"masks, batch {images}", images, whole, about)

    def train(images: int) -> Iterator[dict[str, Any]]:
        x, count = pixels(images), sum(one**2 for one in about["grids"])
        cells = torch.randint(0, count, (images, POSITIVES), device=device)
        truth = (
            torch.rand(images, POSITIVES, height // 4, width // 4, device=device) > 0.8
        ).float()
        sgd = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9, weight_decay=1e-4)

        def step() -> None:
            sgd.zero_grad(set_to_none=True)
            with autocast:
                loss = loss_of(program(x), cells, truth)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 35)
            sgd.step()

        yield timed(f"step, batch {images}", images, step, about)

    yield from predict(about["batch"])
    yield from train(about["batch"])
    yield from predict(1)


if __name__ == "__main__":
    torch.backends.cudnn.benchmark = True
    for row in measure(json.loads(sys.argv[1])):
        print(json.dumps(row), flush=True)
