import jax
import numpy as np
import pytest

from solojax.models.context import ContextEncoder
from solojax.types import InputError


def test_parameters_are_as_many_as_published():
    shapes = {"c3": (1, 8, 12, 512), "c4": (1, 4, 6, 1024), "c5": (1, 2, 3, 2048)}
    features = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    found, variables = jax.eval_shape(
        ContextEncoder().init_with_output, jax.random.key(0), features
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 3_082_496
    assert {name: level.shape for name, level in found.items()} == {"p3": (1, 8, 12, 256)}


def test_an_encoder_that_pools_nothing_is_refused():
    with pytest.raises(InputError, match="neck.pools is empty"):
        ContextEncoder(pools=())
