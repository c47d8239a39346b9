"""Every file in configs/: how many parameters its model has, and that it has a row here."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from solojax import config as config_lib

CONFIGS = Path(__file__).parents[1] / "configs"
PARAMETERS = {
    "shapes": 1_034_037,
    "nuclei": 1_031_729,
    "memorize": 1_160_608,
    "solov2_r50_fpn_3x": 46_592_912,
}
FROZEN = {"solov2_r50_fpn_3x": 225_344}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_parameter_count(path):
    model = config_lib.load(path).model
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS[path.stem]
    frozen = sum(
        leaf.size
        for name, tree in params["backbone"].items()
        if model.backbone.is_frozen(name)
        for leaf in jax.tree.leaves(tree)
    )
    assert frozen == FROZEN.get(path.stem, 0)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_docstring_gives_the_command(path):
    assert f"--config configs/{path.name}" in path.read_text()
