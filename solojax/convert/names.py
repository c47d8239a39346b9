"""What a pickle may name; nothing of what it names is ever looked up or called.

A name is one of three things. *Known*: what tensors, arrays and plain data are made of; functions
of ``makers`` stand for them. *Left as a name*: a class of some package, a private function by which
one makes its objects anew, or one of the few of the standard library that hold data; an ``Opaque``
remembers what it was called, and what it held is dropped. *Refused*: all else of the standard
library, and any other function that is called. Neither would run, but a file that asks for them is
a program rather than weights, and whoever opens it elsewhere should know.
"""

import re
import sys
from typing import Any

from solojax.convert import makers
from solojax.convert.inert import Array, Dtype, Global, Opaque, Unreadable
from solojax.convert.makers import KNOWN
from solojax.fields import shown

# Modules of the standard library of which data is made. What they hold is dropped.
_DATA = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|datetime\.\w+|_?pathlib\..*|collections\.\w+"
    r"|typing\..*|enum\..*|uuid\.UUID|decimal\.Decimal|fractions\.Fraction|functools\.partial"
    r"|copyreg\._reconstructor|zoneinfo\..*|logging\.(getLogger|\w*Level\w*)|re\._compile"
    r"|time\.struct_time|random\.Random|array\.\w+|numbers\.\w+|abc\.\w+|collections\.abc\.\w+"
    r"|builtins\.(object|type|int|float|str|bool|bytes|bytearray|list|dict|tuple|set|frozenset"
    r"|complex|range|slice|NoneType|Ellipsis)"
)
# Functions of packages that make something beside the weights.
_MAKERS = re.compile(r"numpy\.random\..*|torch\.(device|Generator|dtype)|torch\.random\..*")


def found(module: str, name: str) -> Global:
    """A name of a pickle, by its newest spelling.

    Raises:
      Unreadable: nothing of a file of weights is called so.
    """
    module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
    module = re.sub(r"^numpy\.core\b", "numpy._core", module)
    module = re.sub(r"^torch\.cuda$", "torch", module)
    one = Global(module, name)
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names and one.full not in KNOWN and not _DATA.fullmatch(one.full):
        raise Unreadable(f"it would call {shown(one.full)}, which no weights need; nothing was run")
    return one


def made(what: Any, arguments: tuple[Any, ...]) -> Any:
    """What a call is taken for."""
    if isinstance(what, Opaque):
        return what
    if not isinstance(what, Global):
        raise Unreadable(f"it would call {type(what).__name__}")
    if make := KNOWN.get(what.full):
        try:
            return make(*arguments)
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise Unreadable(f"{what.full} has other arguments than are known") from error
    last = what.name.rpartition(".")[2][:1]
    if _DATA.fullmatch(what.full) or _MAKERS.fullmatch(what.full) or last.isupper() or last == "_":
        return Opaque(what.full)
    raise Unreadable(f"it would call {shown(what.full)}, which is not known; nothing was run")


def build(what: Any, state: Any) -> None:
    """Gives arrays and their types what they are made of; all else keeps no state."""
    if isinstance(what, Dtype):
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            what.order = state[1]
    elif isinstance(what, Array):
        if not isinstance(state, tuple) or len(state) != 5:
            raise Unreadable("an array of it has another state than is known")
        _, what.shape, what.dtype, what.fortran, raw = state
        makers.fill(what, raw)
