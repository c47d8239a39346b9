"""A traced JAX program as an ONNX graph: each primitive that our networks use has a rule.

Trained weights are constants. What depends on constants alone is computed while writing, and what
does not depend on a loop is computed before it.
"""

from solojax.types import InputError

try:
    import onnx as _onnx  # noqa: F401
except ImportError as error:
    raise InputError('--to onnx needs the package onnx; pip install "solojax[onnx]"') from error
