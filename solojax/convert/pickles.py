"""Pickles, read by a machine of our own that knows data and calls nothing.

Python's ``Unpickler`` with a closed ``find_class`` would import nothing either, but it calls what
it is given, sets attributes, hashes tuples of any depth (which ends the process) and takes memory
for a memo of any index. Here ``pickletools`` takes the opcodes apart, and each does what is written
below or is refused by its name.
"""

import codecs
import io
import pickletools
import warnings
from collections.abc import Iterator
from typing import Any

from solojax.convert import inert, makers, names
from solojax.convert.inert import Opaque, Storage, Unreadable

MOST_OPCODES = 200_000  # a checkpoint of 700 tensors with their optimizer has some 75,000
MOST_DIGITS = 1000  # of a number that is written as text, which takes the square of them
MOST_NAMES = 10_000  # a checkpoint has some twenty, each once
MOST_RATIO, FREE = 4, 2**20  # of all that calls are given to their pickle: each may copy it

_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT "
    "BINFLOAT".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_SIZED = (str, bytes, bytearray, list, tuple, dict)
_NOTHING = frozenset(("PROTO", "FRAME"))


def load(stream: io.BytesIO) -> tuple[Any, list[Storage]]:
    """One pickle of a stream, which stands behind it then, and all storages that it refers to.

    Names stay records of ``inert``. Sets are lists. Text of Python 2 is text, a byte a character.

    Raises:
      Unreadable: it is cut, too long, or asks for what no weights need.
    """
    start = stream.tell()
    machine = _Machine(MOST_RATIO * stream.seek(0, io.SEEK_END) + FREE)
    stream.seek(start)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of odd escapes in a text
            for count, (name, argument) in enumerate(_opcodes(stream)):
                if count >= MOST_OPCODES:
                    raise Unreadable(f"it has more than {MOST_OPCODES:,} parts")
                machine.do(name, argument)
        return machine.stack.pop(), machine.storages
    except (IndexError, KeyError) as error:
        raise Unreadable("it is a damaged pickle") from error
    except (ValueError, OverflowError, TypeError) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise Unreadable(f"it is a damaged pickle ({reason})") from error


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """Names and arguments, as ``pickletools.genops``, which refuses bytes in Python 2's texts."""
    name = ""
    while name != "STOP":
        code = stream.read(1).decode("latin-1")
        if code not in _OPCODES:
            raise ValueError(f"no opcode {code!r}" if code else "it ends too early")
        name, argument = _OPCODES[code].name, _OPCODES[code].arg
        if name in ("STRING", "INT", "LONG"):
            start = stream.tell()
            line = stream.readline()
            if name == "STRING":
                line = line.strip()
                if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
                    raise ValueError("a text without quotes")
                yield name, codecs.escape_decode(line[1:-1])[0].decode("latin-1")
                continue
            if len(line) > MOST_DIGITS:
                raise ValueError(f"a number of {len(line):,} digits")
            stream.seek(start)
        yield name, argument.reader(stream) if argument else None


class _Machine:
    def __init__(self, most: int) -> None:
        self.left = most  # of what calls may be given
        self.names = 0
        self.storages: list[Storage] = []
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # stacks under each mark
        self.memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        push = self.stack.append
        if name in _VALUES:
            push(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            push(self.memo[argument])
        elif name == "MARK":
            self.below.append(self.stack)
            self.stack = []
        elif name in _TUPLES:
            items = tuple(self.stack[-_TUPLES[name] :])
            if len(items) != _TUPLES[name]:
                raise IndexError
            self.stack[-len(items) :] = [items]
        elif name in _EMPTY:
            push(_EMPTY[name]())
        elif name in _CONSTANTS:
            push(_CONSTANTS[name])
        elif name == "GLOBAL":
            push(self._found(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            last, module = self.stack.pop(), self.stack.pop()
            if not isinstance(last, str) or not isinstance(module, str):
                raise Unreadable("it names something without a name")
            push(self._found(module, last))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, what = self.stack.pop(), self.stack.pop()
            if not isinstance(arguments, tuple):
                raise Unreadable("it calls something without a list of arguments")
            push(self._made(what, arguments))
        elif name not in _NOTHING and name != "STOP":
            self._do_seldom(name, argument)

    def _do_seldom(self, name: str, argument: Any) -> None:
        if name in ("APPEND", "SETITEM"):
            value = self.stack.pop()
            items = [value] if name == "APPEND" else [self.stack.pop(), value]
            self._fill(name + "S", items)
        elif name in ("APPENDS", "ADDITEMS", "SETITEMS"):
            self._fill(name, self._marked())
        elif name in ("TUPLE", "LIST", "FROZENSET"):
            items = self._marked()
            self.stack.append(tuple(items) if name == "TUPLE" else items)
        elif name == "DICT":
            items = self._marked()
            self.stack.append({})
            self._fill("SETITEMS", items)
        elif name == "BUILD":
            state = self.stack.pop()
            self._spend(state)
            names.build(self.stack[-1], state)
        elif name == "NEWOBJ_EX":
            _, arguments, what = self.stack.pop(), self.stack.pop(), self.stack.pop()
            self.stack.append(self._made(what, tuple(arguments)))
        elif name in ("OBJ", "INST"):
            what, *items = self._marked() if name == "OBJ" else (None, *self._marked())
            if name == "INST":
                what = self._found(*argument.split(" ", 1))
            self.stack.append(self._made(what, tuple(items)))
        elif name == "BINPERSID":
            referred = makers.storage(self.stack.pop())
            self.stack.append(referred)
            if isinstance(referred, Storage):
                self.storages.append(referred)
        elif name == "POP":
            self.stack.pop() if self.stack else self._marked()
        elif name == "POP_MARK":
            self._marked()
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        else:
            raise Unreadable(f"it has the pickle opcode {name}, which no weights need")

    def _found(self, module: str, name: str) -> inert.Global:
        self.names += 1
        if self.names > MOST_NAMES:
            raise Unreadable(f"it has more than {MOST_NAMES:,} names")
        return names.found(module, name)

    def _made(self, what: Any, arguments: tuple[Any, ...]) -> Any:
        self._spend(arguments)
        return names.made(what, arguments)

    def _spend(self, values: Any) -> None:
        if isinstance(values, tuple):
            self.left -= sum(len(value) for value in values if isinstance(value, _SIZED))
        if self.left < 0:
            raise Unreadable("it uses the same bytes more often than any weights need")

    def _marked(self) -> list[Any]:
        items = self.stack
        self.stack = self.below.pop()
        return items

    def _fill(self, name: str, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Opaque):
            return
        if name == "SETITEMS" and isinstance(target, dict) and not len(items) % 2:
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[makers.key_of(key)] = value
        elif name != "SETITEMS" and isinstance(target, list):
            target += items
        else:
            raise Unreadable(f"it puts items into {type(target).__name__}")
