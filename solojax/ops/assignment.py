"""One-to-one assignment: which row is whose column, so that the gains sum to the most."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

MOST = 2.0**60
"""Gains are clamped to this, either way: sums of costs along a path stay finite in float32."""


def sanitise(gains: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    """Finite gains in the place of those that are not.

    NaN and -inf become worse than every finite gain and +inf as much better, by so much that one of
    them outweighs all that finite gains could make good. Finite gains stay what they are, up to
    ``MOST``.

    Args:
      gains: ``n m``.
      valid: ``m`` bool, the columns that count.

    Returns:
      ``n m`` float32; 0 in columns that do not count.
    """
    gains = gains.astype(jnp.float32)
    counts = jnp.ones(gains.shape, bool)
    if valid is not None:
        counts &= valid[None, :]
    finite = jnp.isfinite(gains)
    clipped = jnp.clip(gains, -MOST, MOST)
    greatest = jnp.max(jnp.abs(clipped), where=finite & counts, initial=0)
    # An assignment has at most as many pairs as the shorter side.
    far = 2 * (min(gains.shape) + 1) * jnp.where(greatest > 0, greatest, 1)
    replaced = jnp.where(gains == jnp.inf, far, -far)
    return jnp.where(counts, jnp.where(finite, clipped, replaced), 0)


def assign(gains: jax.Array, valid: jax.Array) -> jax.Array:
    """The row of each column, one to one, so that the sum of gains is the greatest.

    With ``c`` valid columns ``min(n, c)`` pairs are made. They are those of
    ``linear_sum_assignment(sanitise(gains, valid)[:, valid], maximize=True)`` of SciPy, whose order
    of search is followed, so that ties of finite gains fall alike; the arithmetic is float32 here.
    Shortest
    augmenting paths (Jonker and Volgenant, 1987) in the rectangular form of Crouse (*On
    implementing 2D rectangular assignment algorithms*, 2016). Always ends: a path is no longer than
    the number of rows, whatever the gains.

    Fixed shapes, for use inside ``jit`` and ``vmap``. Each round of the loop looks at a whole row;
    there are as many as valid columns (or rows, where these are fewer), and more where columns want
    the same row.

    Args:
      gains: ``n m``, any float type; see ``sanitise`` for NaN and infinities.
      valid: ``m`` bool, the columns that count.

    Returns:
      ``m`` int32, -1 for a column that does not count or is left over.

    >>> gains = jnp.array([[0.9, 0.8], [0.7, 0.1]])
    >>> assign(gains, jnp.array([True, True]))
    Array([1, 0], dtype=int32)
    """
    rows, columns = gains.shape
    if not rows or not columns:
        return jnp.full(columns, -1, jnp.int32)
    order = jnp.argsort(~valid, stable=True)  # the valid ones first
    used = jnp.sum(valid, dtype=jnp.int32)
    side = max(rows, columns)
    costs = -sanitise(gains, valid)[:, order]
    costs = jnp.pad(costs, ((0, side - rows), (0, side - columns)))
    # Paths start from the shorter side.
    upright = rows <= used
    costs = jnp.where(upright, costs, costs.T)
    starts = jnp.minimum(rows, used)
    ends = jnp.maximum(rows, used)

    def step(number: jax.Array, state: _Dual) -> _Dual:
        return _augment(state, _shortest_path(costs, state, number, ends), number)

    nobody = jnp.full(side, -1, jnp.int32)
    zeros = jnp.zeros(side, costs.dtype)
    found = lax.fori_loop(0, starts, step, _Dual(zeros, zeros, nobody, nobody))
    # By place in order: rows where they lead, else the other way about.
    row_of = jnp.where(upright, found.owner, found.mine)[:columns]
    row_of = jnp.where(jnp.arange(columns) < used, row_of, -1)
    return jnp.full(columns, -1, jnp.int32).at[order].set(row_of)


class _Dual(NamedTuple):
    """Potentials and the pairs so far; ``start`` is of the side that paths begin from."""

    start_price: jax.Array  # side float32
    end_price: jax.Array  # side float32
    owner: jax.Array  # side int32, the start of each end, -1 for none
    mine: jax.Array  # side int32, the end of each start, -1 for none


class _Path(NamedTuple):
    """A shortest path from a start to a free end."""

    costs: jax.Array  # side float32, of the way to each end
    before: jax.Array  # side int32, the start from which an end was reached
    settled: jax.Array  # side bool, ends whose cost is final
    reached: jax.Array  # side bool, starts that were visited
    place: jax.Array  # side int32, of each end in the order of search
    here: jax.Array  # int32, the start to go on from
    length: jax.Array  # float32, of the way so far
    last: jax.Array  # int32, the free end, -1 as long as there is none
    left: jax.Array  # int32, ends that are not settled


def _shortest_path(costs: jax.Array, dual: _Dual, start: jax.Array, ends: jax.Array) -> _Path:
    """Dijkstra's search over reduced costs, among the first ``ends`` ends."""
    side = len(costs)
    numbers = jnp.arange(side, dtype=jnp.int32)

    def search(path: _Path) -> _Path:
        open_ = (numbers < ends) & ~path.settled
        way = path.length + costs[path.here] - dual.start_price[path.here] - dual.end_price
        shorter = open_ & (way < path.costs)
        to = jnp.where(shorter, way, path.costs)
        before = jnp.where(shorter, path.here, path.before)
        length = jnp.min(to, where=open_, initial=jnp.inf)
        tied = open_ & (to == length)
        free = tied & (dual.owner < 0)
        # SciPy's choice: the last of the free ones it looks at, or else the first of all.
        chosen = jnp.where(
            jnp.any(free),
            jnp.argmax(jnp.where(free, path.place, -1)),
            jnp.argmin(jnp.where(tied, path.place, side)),
        ).astype(jnp.int32)
        left = path.left - 1
        # The last in the order of search takes the place of the one that leaves it.
        place = jnp.where(path.place == left, path.place[chosen], path.place)
        owner = dual.owner[chosen]
        return _Path(
            costs=to,
            before=before,
            settled=path.settled | (numbers == chosen),
            reached=path.reached | (numbers == path.here),
            place=jnp.where(numbers == chosen, side, place),
            here=jnp.where(owner < 0, path.here, owner),
            length=length,
            last=jnp.where(owner < 0, chosen, -1),
            left=left,
        )

    nowhere = jnp.zeros(side, bool)
    beginning = _Path(
        costs=jnp.full(side, jnp.inf, costs.dtype),
        before=jnp.full(side, -1, jnp.int32),
        settled=nowhere,
        reached=nowhere,
        place=jnp.where(numbers < ends, ends - 1 - numbers, side),
        here=start.astype(jnp.int32),
        length=jnp.zeros((), costs.dtype),
        last=jnp.int32(-1),
        left=ends.astype(jnp.int32),
    )
    return lax.while_loop(lambda path: (path.last < 0) & (path.left > 0), search, beginning)


def _augment(dual: _Dual, path: _Path, start: jax.Array) -> _Dual:
    """Gives the ends along a path to the starts before them, and mends the potentials."""
    numbers = jnp.arange(len(path.costs))
    visited = path.reached & (numbers != start)
    refund = path.length - path.costs[jnp.maximum(dual.mine, 0)]
    start_price = dual.start_price + jnp.where(visited, refund, 0)
    start_price += jnp.where(numbers == start, path.length, 0)
    end_price = dual.end_price - jnp.where(path.settled, path.length - path.costs, 0)

    def back(
        carry: tuple[jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        end, owner, mine = carry
        giver = path.before[end]
        after = jnp.where(giver == start, -1, mine[giver])
        return after, owner.at[end].set(giver), mine.at[giver].set(end)

    _, owner, mine = lax.while_loop(
        lambda carry: carry[0] >= 0, back, (path.last, dual.owner, dual.mine)
    )
    return _Dual(start_price, end_price, owner, mine)
