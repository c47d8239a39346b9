"""Many small leaves as one vector: an update of hundreds of leaves is a few operations, not each.

A network's parameters are some large kernels and many small leaves. The update rule, averages and
the check for what is not finite are made of sums, products and comparisons of whole trees, leaf by
leaf: thousands of operations, which take longer to compile than the rest of a step.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

SMALL = 2**16  # numbers of a leaf; what has more is worth operations of its own

Kinds = Callable[[Mapping[str, Any]], Mapping[str, Hashable]]
"""All leaves by path, such as "head/kernel_predictor/bias" -> path -> what is treated alike."""


class Packing:
    """Packs whatever is shaped like the variables of one network.

    A packed tree has flat dicts in place of nested ones, in which the small leaves of one kind and
    type are one vector, or where all have one shape ``...`` a stack ``n ...``. It bears the path of
    one of them, a norm's scale where there is one, so that rules by path treat it as they treat
    each of them; a large leaf bears its own.

    Args:
      params: nested dicts of arrays.
      kinds: of their paths; leaves of different kinds stay apart.
    """

    def __init__(self, params: Mapping[str, Any], kinds: Kinds):
        self._parts = params.keys()  # backbone, neck, head
        self._kinds = kinds
        self._paths = _flat(params).keys()
        self._groups = self._make_groups(_flat(params))

    def pack(self, tree: Any) -> Any:
        """Packs the parameters, moments, averages and statistics within a pytree.

        What Optax has masked in them stays masked.
        """
        return jax.tree.map(
            lambda x: self._join(_flat(x)) if self._is_nested(x) else x,
            tree,
            is_leaf=self._is_nested,
        )

    def unpack(self, packed: Any, like: Any) -> Any:
        """The tree that was packed, or whatever became of it; ``like`` has the shapes."""
        return jax.tree.map(
            lambda x, packed: self._part(packed, _flat(x)) if self._is_nested(x) else packed,
            like,
            packed,
            is_leaf=self._is_nested,
        )

    def _is_nested(self, tree: Any) -> bool:
        return isinstance(tree, dict) and bool(tree) and tree.keys() <= self._parts

    def _groups_of(self, flat: dict[str, Any]) -> dict[str, list[str]]:
        # By the sizes of the parameters, for what is masked has none.
        return self._groups if flat.keys() == self._paths else self._make_groups(flat)

    def _make_groups(self, flat: dict[str, Any]) -> dict[str, list[str]]:
        """The paths of the leaves that travel together, under the name they travel by."""
        kind, groups = self._kinds(flat), dict[Hashable, list[str]]()
        for path, leaf in flat.items():
            alike = (kind[path], leaf.dtype) if leaf.size <= SMALL else path
            groups.setdefault(alike, []).append(path)
        named = (
            sorted(paths, key=lambda path: not path.endswith("/scale")) for paths in groups.values()
        )
        return {paths[0]: paths for paths in named}

    def _join(self, flat: dict[str, Any]) -> dict[str, Any]:
        def joined(paths: list[str]) -> Any:
            leaves = [flat[path] for path in paths]
            if len(leaves) == 1 or isinstance(leaves[0], optax.MaskedNode):
                return leaves[0]
            if len({leaf.shape for leaf in leaves}) == 1:
                return jnp.stack(leaves)
            return jnp.concatenate([leaf.ravel() for leaf in leaves])

        return {name: joined(paths) for name, paths in self._groups_of(flat).items()}

    def _part(self, packed: dict[str, Any], flat: dict[str, Any]) -> dict[str, Any]:
        parted = dict.fromkeys(flat)
        for name, paths in self._groups_of(flat).items():
            joined = packed[name]
            if len(paths) == 1 or isinstance(joined, optax.MaskedNode):
                parted |= dict.fromkeys(paths, joined)
                continue
            vector, first = joined.ravel(), 0
            for path in paths:
                last = first + flat[path].size
                parted[path] = vector[first:last].reshape(flat[path].shape)
                first = last
        return traverse_util.unflatten_dict(parted, sep="/")


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")
