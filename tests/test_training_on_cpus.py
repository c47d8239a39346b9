"""What ``parallel.pmap_update`` does for CPUs alone."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from solojax import parallel
from solojax.models import layers


def test_a_training_leaves_the_library_sums_alone_and_computes_what_is_convolved_once():
    def update(kernel, x):
        def loss(kernel):
            out = layers.Conv(64, (3, 3), use_bias=False).apply(
                {"params": {"kernel": kernel}}, jnp.maximum(x, 0)
            )
            return jnp.sum(jnp.square(out)), jnp.sum(x, (0, 1, 2))

        return lax.psum(jax.grad(loss, has_aux=True)(kernel), parallel.AXIS)

    mapped = parallel.pmap_update(update)
    shapes = (
        jax.ShapeDtypeStruct((3, 3, 64, 64), jnp.float32),
        jax.ShapeDtypeStruct((jax.local_device_count(), 1, 40, 40, 64), jnp.float32),
    )
    lowered = mapped.lower(*shapes)
    text = lowered.compile(compiler_options=parallel._CPU_TRAINING_OPTIONS).as_text()
    assert text.count(" convolution(") == 2  # none is within a call of the library
    assert text.count(" maximum(") == 1  # though two take its result, in two orders
    assert "__ynn_fusion" in text


def test_a_jaxlib_that_does_not_know_the_option_trains_without_it(monkeypatch):
    name = "xla_cpu_option_of_another_version"
    monkeypatch.setattr(parallel, "_CPU_LIBRARY", name)
    monkeypatch.setattr(parallel, "_CPU_TRAINING_OPTIONS", {name: "1"})
    update = parallel.pmap_update(lambda state, x: (state + 1, lax.psum(x.sum(), parallel.AXIS)))
    state = parallel.replicate(np.zeros((), np.float32))
    batch = parallel.shard(np.ones(8, np.float32))
    for _ in range(2):
        state, total = update(state, batch)
    assert state == 2 and total == 8


def test_what_xla_flags_name_is_left_to_them(monkeypatch):
    options = {"xla_cpu_one": 1, "xla_cpu_two": 2}
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_two=3 --xla_other=4")
    assert parallel._unless_set(options) == {"xla_cpu_one": 1}
    monkeypatch.delenv("XLA_FLAGS")
    assert parallel._unless_set(options) == options
