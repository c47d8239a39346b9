"""A run goes out and comes back the same, and nothing of a stranger's is taken on trust."""

import json
import os
import re
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solojax import Predictor, cli
from solojax import config as config_lib
from solojax.evaluation import score_run
from solojax.inference import thresholds
from solojax.models import detector
from solojax.training import checkpoint, converted, hub, shared
from solojax.types import InputError
from tests import examples
from tests.test_cli import error_line

CLASSES = tuple(config_lib.Category(id, name) for id, name in ((1, "a"), (5, "b|c\n"), (7, "d")))
SCORES = {"AP": 0.4321, "AP50": 0.6, "step": 0, "images": {"1": {}, "2": {}}}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A scored run of somebody who keeps things where others need not know."""
    folder = tmp_path_factory.mktemp("alice") / "run"
    config = examples.make_config(folder.parent, pretrained=str(folder.parent / "r18.npz"))
    config = config_lib.with_categories(config, CLASSES)
    converted.write_run(config, examples.make_variables(spread=0.3), folder)
    overrides = [f"data.root={folder.parent}", "data.test_short_side=48"]
    (folder / "eval.json").write_text(json.dumps({**SCORES, "overrides": overrides}))
    thresholds.save(folder, {"score": 0.5, "classes": []}, step=0, images=2)
    (folder / "pictures").mkdir()
    cv2.imwrite(str(folder / "pictures" / "1.png"), np.zeros((8, 8, 3), np.uint8))
    return folder


@pytest.fixture(scope="module")
def whole(run: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "shared"
    said = ["--data", "cells of <mice>", "--license", "cc-by-4.0"]
    assert cli.main(["push", str(run), "--to", str(folder), *said]) == 0
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(whole, tmp_path / "shared")


def variables_in(folder: Path) -> dict[str, bytes]:
    _, variables = checkpoint.read_variables(folder, detector.variable_shapes(examples.MODEL))
    return {name: x.tobytes() for name, x in checkpoint.by_name(variables).items()}


def test_a_shared_folder_is_the_run_without_what_is_its_owners(run, whole):
    assert variables_in(whole) == variables_in(run)
    ours, theirs = checkpoint.read_config(run), checkpoint.read_config(whole)
    assert theirs.model == ours.model and theirs.data.categories == CLASSES
    assert theirs.data.root == config_lib.Data().root and not theirs.training.pretrained
    for file in whole.iterdir():
        assert str(run.parent).encode() not in file.read_bytes(), file
    predictor = Predictor.from_pretrained(whole)
    assert predictor.categories == CLASSES and predictor.thresholds.score == 0.5
    with pytest.raises(InputError, match="holds the weights of step 0 alone, and no checkpoint"):
        Predictor.from_pretrained(whole, "best")


def test_the_card_says_what_there_is_to_know(whole):
    card = (whole / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: solojax\n")
    for said in (
        "license: cc-by-4.0\n",
        "# run\n",
        "![What was found, and the truth, in one validation image](example.png)",
        "| mask | 0.432 | 0.600 |",
        "On 2 validation images, by `solojax eval --workdir owner/name --out scores "
        "--set data.root=FOLDER data.test_short_side=48`",
        "cells of \\<mice\\>",
        "Classes: a, b\\|c\\\\n, d.",
        "the training began with r18.npz",
    ):
        assert said in card, said


def test_scores_of_another_step_get_into_no_card(run, tmp_path, capsys):
    other = shutil.copytree(run, tmp_path / "run")
    (other / "eval.json").write_text(json.dumps({**SCORES, "step": 3}))
    assert cli.main(["push", str(other), "--to", str(tmp_path / "out"), "--no-picture"]) == 0
    assert "not scored at step 0: the card has no AP" in capsys.readouterr().out
    assert "Not scored." in (tmp_path / "out/README.md").read_text()
    assert not (tmp_path / "out/example.png").exists()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def endless(path: Path) -> None:
    os.truncate(path, 2**40)


def other_sum(path: Path) -> None:
    path.write_text(f"{'0' * 64}  {shared.WEIGHTS}\n")


def other_classes(path: Path) -> None:
    path.write_text(path.read_text().replace('"num_classes": 3', '"num_classes": 4'))


def of_tomorrow(path: Path) -> None:
    path.write_text(path.read_text().replace('"kernel_size"', '"of_tomorrow": 1, "kernel_size"'))


def giant(path: Path) -> None:
    path.write_text(re.sub('"width": 8', '"width": 1000000000', path.read_text()))


def huge(path: Path) -> None:
    path.write_text(re.sub('"width": 8', '"width": 65536', path.read_text()))


@pytest.mark.parametrize(
    "file, spoil, said",
    [
        ("model.safetensors", flip, "is not what was shared: its SHA-256 is .*; fetch it again"),
        ("model.safetensors", cut, "it is cut or has more"),
        ("model.safetensors", Path.unlink, "holds no checkpoint"),
        ("SHA256SUMS", Path.unlink, "has no SHA256SUMS"),
        ("SHA256SUMS", other_sum, "SHA256SUMS says 0000000000000000"),
        ("config.json", Path.unlink, "has no config.json"),
        ("config.json", of_tomorrow, "has 'of_tomorrow'; `pip install -U solojax`"),
        ("config.json", giant, "width.*must be in 1..65536"),
        ("config.json", huge, "model.safetensors is of another model .* is float32"),
        ("thresholds.json", cut, "thresholds.json is damaged"),
        ("thresholds.json", endless, "thresholds.json is damaged .*more than"),
    ],
)
def test_what_is_damaged_missing_or_another_is_told_in_a_line(folder, file, spoil, said):
    spoil(folder / file)
    with pytest.raises(InputError, match=said) as caught:
        Predictor.from_pretrained(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_claim_more_than_the_network_has_are_never_read(folder):
    entry = {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}
    head = json.dumps({"__metadata__": {"step": "0"}, "params/x": entry}).encode()
    with (folder / shared.WEIGHTS).open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + 2**40)
    with pytest.raises(InputError, match="is of another model"):
        Predictor.from_pretrained(folder)


def test_a_strangers_folder_says_nowhere_to_read_or_write(folder):
    config = json.loads((folder / "config.json").read_text())
    config["data"] |= {"root": "/etc", "records": "/home", "val_json": "mine/val.json"}
    config["training"] |= {"pretrained": "/etc/passwd", "wandb": "theirs", "mlflow": "too"}
    (folder / "config.json").write_text(json.dumps(config))
    taken = checkpoint.read_config(folder)
    assert (taken.data.root, taken.data.records) == ("data/coco", "data/records")
    assert not taken.data.val_json
    assert not (taken.training.pretrained or taken.training.wandb or taken.training.mlflow)


class Errors(types.ModuleType):
    """What the client raises; each knows those above it, as there."""

    class HfHubHTTPError(OSError): ...

    class RepositoryNotFoundError(HfHubHTTPError): ...

    class GatedRepoError(RepositoryNotFoundError): ...

    class RevisionNotFoundError(HfHubHTTPError): ...

    class LocalEntryNotFoundError(FileNotFoundError): ...


class Hub(types.ModuleType):
    """The client, of a Hub that is a folder, with a cache that is another."""

    def __init__(self, root: Path):
        super().__init__("huggingface_hub")
        self.errors, self.root, self.cache = Errors("errors"), root / "hub", root / "cache"
        self.failing: Exception | None = None
        self.asked: list[str] = []
        self.digests: dict[str, str] = {}  # where the Hub says others than its files have

    def HfApi(self) -> "Hub":
        return self

    def _ask(self, name: str) -> Path:
        self.asked.append(name)
        if self.failing:
            raise self.failing
        return self.root / name

    def create_repo(self, name: str, *, private: bool | None, exist_ok: bool) -> None:
        self._ask(name).mkdir(parents=True)

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], **_: Any
    ):
        for file in allow_patterns:
            if (folder_path / file).is_file():
                shutil.copy(folder_path / file, self._ask(repo_id) / file)
        return f"https://hub/{repo_id}"

    def model_info(self, name: str, *, revision: str | None, files_metadata: bool) -> Any:
        if not self._ask(name).is_dir():
            raise Errors.RepositoryNotFoundError(name)
        if revision:
            raise Errors.RevisionNotFoundError(revision)
        siblings = []
        for path in (self.root / name).iterdir():
            digest = self.digests.get(path.name)
            lfs = types.SimpleNamespace(sha256=digest) if digest else None
            size = path.stat().st_size
            siblings.append(types.SimpleNamespace(rfilename=path.name, size=size, lfs=lfs))
        return types.SimpleNamespace(siblings=siblings)

    def hf_hub_download(
        self,
        name: str,
        file: str,
        *,
        revision: str | None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> str:
        kept = self.cache / name / "snapshot" / file
        if local_files_only and not kept.exists():
            raise Errors.LocalEntryNotFoundError(file)
        if not local_files_only and (force_download or not kept.exists()):
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self._ask(name) / file, kept)
        return str(kept)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    client = Hub(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", client.errors)
    monkeypatch.chdir(tmp_path)
    return client


@pytest.fixture
def pushed(client: Hub, whole: Path) -> Hub:
    """The shared folder as alice/cells, of which nothing was fetched yet."""
    shutil.copytree(whole, client.root / "alice/cells")
    return client


def test_a_run_goes_to_the_hub_and_comes_back(client, run, folder, tmp_path, capsys):
    (folder / ".secret").touch()
    for source, name in ((run, "alice/cells"), (folder, "alice/again")):
        assert cli.main(["push", str(source), name]) == 0
        assert f"on the Hub: https://hub/{name}" in capsys.readouterr().out
        assert variables_in(hub.folder_of(name)) == variables_in(run)
        card = (client.root / name / "README.md").read_text()
        assert f'from_pretrained("{name}")' in card and "owner/name" not in card
    assert not (client.root / "alice/again/.secret").exists()
    assert Predictor.from_pretrained("alice/cells").thresholds.score == 0.5
    assert cli.main(["convert", "alice/cells", "--to", "own"]) == 0
    assert variables_in(tmp_path / "own") == variables_in(run)


def test_what_is_here_asks_no_network(pushed, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    for name in ("runs/cells", "weights/resnet18.npz", "./alice", "a/b/c", "alice"):
        assert hub.folder_of(name) == Path(name)
    assert not pushed.asked
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"alice/cells: .*pip install 'solojax\[hub\]'"):
        Predictor.from_pretrained("alice/cells")


def lose(hub: Hub, file: str) -> None:
    (hub.root / "alice/cells" / file).unlink()


def grow(hub: Hub, file: str) -> None:
    with (hub.root / "alice/cells" / file).open("ab") as end:
        end.truncate(2**30)


def fail(hub: Hub, error: Exception) -> None:
    hub.failing = error


SPOILT: dict[str, Callable[[Hub], Any]] = {
    "the Hub has no such model; if it is private, log in": lambda hub: shutil.rmtree(hub.root),
    "of the Hub has no model.safetensors, and so is none": lambda hub: lose(hub, shared.WEIGHTS),
    "of the Hub has no SHA256SUMS": lambda hub: lose(hub, shared.SUMS),
    "of the Hub has no config.json": lambda hub: lose(hub, checkpoint.CONFIG),
    "has a model.safetensors of 1,073,741,824 bytes": lambda hub: grow(hub, shared.WEIGHTS),
    "has a config.json of 1,073,741,824 bytes": lambda hub: grow(hub, checkpoint.CONFIG),
    "the Hub has other weights than SHA256SUMS there says": lambda hub: hub.digests.update(
        {shared.WEIGHTS: "0" * 64}
    ),
    "given to those alone who accept its terms": lambda hub: fail(hub, Errors.GatedRepoError("x")),
    r"refuses or cannot be reached \(HfHubHTTPError: 500": lambda hub: fail(
        hub, Errors.HfHubHTTPError("500\nServer")
    ),
    "cannot be reached: see to the network": lambda hub: fail(hub, ConnectionError("nothing")),
}


@pytest.mark.parametrize("said", SPOILT)
def test_what_the_hub_has_not_is_told_in_a_line(pushed, said):
    SPOILT[said](pushed)
    with pytest.raises(InputError, match=said) as caught:
        Predictor.from_pretrained("alice/cells")
    assert str(caught.value).startswith("alice/cells") and "\n" not in str(caught.value)
    assert not any(path.stat().st_size > 2**25 for path in pushed.cache.rglob("*"))


def test_a_revision_that_is_none_is_told(pushed):
    with pytest.raises(InputError, match="alice/cells@v2: the Hub has no such revision"):
        hub.folder_of("alice/cells@v2")


def test_without_network_is_taken_what_was_fetched_before(pushed, run, capsys):
    folder = hub.folder_of("alice/cells")
    fail(pushed, ConnectionError("nothing"))
    assert variables_in(hub.folder_of("alice/cells")) == variables_in(run)
    assert "alice/cells is as it was fetched last" in capsys.readouterr().err
    flip(folder / shared.WEIGHTS)
    with pytest.raises(InputError, match="is not what was shared"):
        Predictor.from_pretrained("alice/cells")
    pushed.failing = None
    assert variables_in(hub.folder_of("alice/cells")) == variables_in(run)


def test_what_cannot_be_pushed_is_told_in_a_line(client, run, folder, tmp_path, capfd):
    def said(*arguments: object) -> str:
        return error_line(["push", *map(str, arguments)], capfd)

    assert "say where to" in said(run)
    assert "is there already" in said(run, "--to", folder)
    assert "is no name of the Hub" in said(run, "a/b/c")
    assert "--license My own is none" in said(run, "a/b", "--license", "My own")
    assert "is made to be shared already" in said(folder, "a/b", "--license", "mit")
    assert "is not a run folder" in said(tmp_path / "nothing", "a/b")
    fail(client, Errors.HfHubHTTPError("403 Forbidden"))
    assert "log in by `hf auth login` to write" in said(run, "a/b")
    (folder / "example.png").unlink()
    (folder / "example.png").symlink_to(tmp_path / "secret")
    assert "example.png is a link" in said(folder, "a/b")
    flip(folder / shared.WEIGHTS)
    assert "is not what was shared" in said(folder, "a/b")


def test_a_model_of_the_hub_keeps_no_scores(pushed):
    with pytest.raises(InputError, match="give a folder for them by --out"):
        score_run.score_run("alice/cells")
