"""Bars for work that is mostly over before one could be read."""

import functools

from tqdm import tqdm

DELAY = 2  # seconds; what takes less needs no bar

bar = functools.partial(tqdm, delay=DELAY)
