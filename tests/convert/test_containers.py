import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solojax.cli import main
from solojax.convert import containers, safetensors
from solojax.types import InputError
from tests.convert.pickled import Call, Name, dumps, parts, save, tensor, zipped

FIXTURES = Path(__file__).parents[1] / "fixtures"
SIX = np.arange(6, dtype=np.float32)
SYSTEM = Name("posix", "system")


def weights_of(path: Path, ema: bool = False) -> dict[str, np.ndarray]:
    return containers.state_dict_of(containers.read(path), ema).arrays


@pytest.mark.parametrize("name", ["torch.pth", "torch_legacy.pth"])
def test_torchs_own_files_are_read(name):
    read = containers.read(FIXTURES / name)
    assert read.form == "torch" and read.content["epoch"] == 3
    assert read.content["args"].name == "argparse.Namespace"
    found = containers.state_dict_of(read)
    assert found.place == "state_dict" and found.left_out.keys() == {"epoch", "args"}
    assert list(found.arrays) == ["a.weight", "a.bias", "b", "n"]
    base = SIX.reshape(2, 3)
    np.testing.assert_array_equal(found.arrays["a.weight"], base.T)
    np.testing.assert_array_equal(found.arrays["a.bias"], base[1])
    assert found.arrays["n"].dtype == np.int64 and found.arrays["n"].shape == ()
    # bfloat16, which NumPy lacks: as many digits as it has.
    assert found.arrays["b"].dtype == np.float32
    np.testing.assert_array_equal(found.arrays["b"], np.float32([1.5, -2, 0.10009765625]))


def test_paddles_own_file_is_read_and_what_it_calls_uint16_is_bfloat16():
    found = containers.state_dict_of(containers.read(FIXTURES / "paddle_bfloat16.pdparams"))
    np.testing.assert_array_equal(found.arrays["w"], np.full(3, 1.5, np.float32))
    assert found.left_out == {"StructuredToParameterName@@": "Paddle's own names"}


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_arrays_are_read_whatever_their_protocol(tmp_path, protocol):
    arrays = {
        "a": SIX.reshape(2, 3).T,
        "b": np.ones(3, ">f8"),
        "c": np.float16([1, 2]),
        "d": np.array([True, False]),
    }
    (tmp_path / "x.pkl").write_bytes(
        pickle.dumps({"blobs": {**arrays, "a_momentum": SIX}, "n": np.int64(4)}, protocol)
    )
    found = containers.state_dict_of(containers.read(tmp_path / "x.pkl"))
    assert found.place == "blobs" and found.left_out.keys() == {"n", "a_momentum"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("newest", [True, False])
def test_arrays_of_python_2_are_read(tmp_path, newest):
    # It wrote bytes as text, names as bytes; by protocol 0 where nobody said otherwise.
    oldest = (
        b"(dp0\nS'conv1_w'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\n"
        b"p3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n(I1\n(L2L\ntp8\ncnumpy\ndtype\np9\n(S'f4'\n"
        b"p10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\n"
        b"S'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\np15\ntp16\nbs."
    )
    later = (
        b"\x80\x02}U\x07conv1_wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x08\x00\x00\x80\x3f\x00\x00\x00\xc0tbs."
    )
    (tmp_path / "x.pkl").write_bytes(later if newest else oldest)
    np.testing.assert_array_equal(weights_of(tmp_path / "x.pkl")["conv1_w"], np.float32([1, -2]))


def test_the_ending_of_a_name_says_nothing(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=SIX, b=np.zeros(4000))
    (tmp_path / "x.npz").rename(tmp_path / "x.pth")
    assert containers.read(tmp_path / "x.pth").form == "npz"
    np.testing.assert_array_equal(weights_of(tmp_path / "x.pth")["a"], SIX)
    save(tmp_path / "x.npz", {"a": SIX})
    np.testing.assert_array_equal(weights_of(tmp_path / "x.npz")["a"], SIX)


def test_safetensors_come_back_as_they_were_written(tmp_path):
    arrays = {"half": SIX.astype(np.float16).reshape(3, 2).T, "a": SIX[:, None], "n": np.array(7)}
    (tmp_path / "x").write_bytes(safetensors.written(arrays, {"made by": "a test"}))
    found = weights_of(tmp_path / "x")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    head = b'{"b":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    content = len(head).to_bytes(8, "little") + head + b"\xc0\x3f"
    arrays, about = safetensors.read(content)
    np.testing.assert_array_equal(arrays["b"], np.float32([1.5]))
    assert safetensors.read(safetensors.written({}, {"a": "b"})) == ({}, {"a": "b"})


def test_what_stands_beside_the_weights_is_left_as_a_name(tmp_path):
    history = Call(Name("mmengine.logging.history_buffer", "HistoryBuffer"), state={"log": [1]})
    beside = {
        "optimizer": {"state": {0: {"step": 3, (1, (2,)): None}}},
        "message_hub": {"loss": history},
        "when": Call(Name("datetime", "datetime"), b"\x07\xe8\x01\x01\0\0\0\0\0\0"),
        "path": Call(Name("pathlib", "PosixPath"), "a", "b"),
        "table": Call(Name("pandas._libs.internals", "_unpickle_block"), [1], 2),
        "activation": Name("torch.nn.functional", "relu"),
        "bits": {1, 2},
    }
    read = containers.read(save(tmp_path / "x", {"a": SIX}, **beside))
    assert read.content["message_hub"]["loss"].name.endswith("history_buffer.HistoryBuffer")
    assert read.content["activation"].name == "torch.nn.functional.relu"
    assert sorted(read.content["bits"]) == [1, 2]
    found = containers.state_dict_of(read)
    assert list(found.arrays) == ["a"] and found.left_out.keys() == beside.keys()


def test_prefixes_of_several_gpus_and_of_compiling_are_taken_off(tmp_path):
    named = {f"_orig_mod.module.model.{name}": SIX for name in ("model.a", "b")}
    assert list(weights_of(save(tmp_path / "x", named))) == ["model.a", "b"]
    assert list(weights_of(save(tmp_path / "x", {"module.a": SIX, "b": SIX}))) == ["module.a", "b"]


def test_a_second_set_of_weights_is_taken_on_request(tmp_path):
    first = {"a.b": SIX, "a_c.d": SIX + 1, "n": SIX}
    mmcv = save(tmp_path / "x", {**first, "ema_a_b": SIX + 2, "ema_a_c_d": SIX + 3})
    found = containers.state_dict_of(containers.read(mmcv))
    assert found.arrays.keys() == first.keys()
    assert found.left_out.keys() == {"ema_a_b", "ema_a_c_d"}
    second = weights_of(mmcv, ema=True)
    assert [second[name][0] for name in first] == [2, 3, 0]
    ema = {"module.a.b": tensor("0", (2, 3)), "steps": tensor("0", ())}
    mmengine = save(tmp_path / "x", {"a.b": SIX}, ema_state_dict=ema)
    assert weights_of(mmengine)["a.b"].shape == (6,)
    assert weights_of(mmengine, ema=True)["a.b"].shape == (2, 3)
    with pytest.raises(InputError, match="x has no second set of weights"):
        weights_of(save(tmp_path / "x", {"a": SIX}), ema=True)


# What nobody writes by accident: each is refused within a second, and nothing of it runs.

Write = Callable[[Path], Any]


def of(value: Any, **storages: np.ndarray) -> Write:
    return lambda path: zipped(path, parts(value, storages or {"0": SIX}))


def raw(content: bytes) -> Write:
    return lambda path: path.write_bytes(content)


def members(change: Callable[[dict[str, bytes]], Any], how: int = zipfile.ZIP_STORED) -> Write:
    def write(path: Path) -> None:
        found = parts({"a": tensor("0", (6,))}, {"0": SIX})
        change(found)
        zipped(path, found, how)

    return write


def cut(share: float) -> Write:
    def write(path: Path) -> None:
        content = save(path, {"a": np.ones(1000, np.float32)}).read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return write


def flipped(path: Path) -> None:
    content = save(path, {"a": SIX}).read_bytes()
    path.write_bytes(content.replace(SIX.tobytes(), (-SIX).tobytes(), 1))


def directory(path: Path) -> None:
    """An archive whose list of members has bytes for 100,000 of them."""
    size = 5 * 2**20
    end = b"PK\5\6" + bytes(4) + struct.pack("<HHIIH", 9, 9, size, 4, 0)
    path.write_bytes(b"PK\3\4" + bytes(size) + end)


def safe(header: bytes, body: bytes = b"", length: int | None = None) -> Write:
    length = len(header) if length is None else length
    return raw(length.to_bytes(8, "little") + header + body)


def entry(shape: str = "[2]", place: str = "[0,8]", kind: str = "F32") -> bytes:
    text = f'{{"a":{{"dtype":"{kind}","shape":{shape},"data_offsets":{place}}}}}'
    return text.encode()


def dtyped(array: np.ndarray, old: bytes, new: bytes) -> Write:
    content = pickle.dumps({"a": array}, 2)
    assert old in content
    return raw(content.replace(old, new, 1))


LAUGHS = b"]" + b"".join(b"q%c(h%ch%ch%ch%cl" % ((i,) + (i,) * 4) for i in range(40)) + b"."
PICKLE = dumps({"a": tensor("0", (6,))})

HOSTILE: dict[str, tuple[Write, str]] = {
    "a command": (of(Call(SYSTEM, "touch trace")), r"would call 'posix\.system'"),
    "a command beside weights": (
        of({"state_dict": {"a": tensor("0", (6,))}, "x": Call(SYSTEM, "touch trace")}),
        r"would call 'posix\.system'",
    ),
    "a command in a bare pickle": (raw(dumps([Call(SYSTEM, "touch trace")])), r"posix\.system"),
    "a call in arguments of a call": (
        of(Call(Name("collections", "OrderedDict"), [Call(Name("builtins", "eval"), "1")])),
        r"builtins\.eval",
    ),
    "a call in a state": (
        of(Call(Name("a.b", "Class"), state={"x": Call(Name("__builtin__", "exec"), "1")})),
        r"builtins\.exec",
    ),
    "a function of nobody's": (of(Call(Name("evil", "run"), "1")), r"would call 'evil\.run'"),
    "a name with dots": (raw(b"\x80\x04\x8c\x02os\x8c\x0bpath.system\x93."), r"os\.path\.system"),
    "a loader of pickles": (of(Call(Name("numpy", "load"), "x")), r"numpy\.load"),
    "an attribute of a class": (
        of(Call(Name("builtins", "getattr"), Name("torch", "Size"), "x")),
        r"builtins\.getattr",
    ),
    "names without end": (raw(b"\x80\x02](" + b"ca\nB\n" * 10**5 + b"e."), "more than 10,000"),
    "a registered extension": (raw(b"\x80\x02\x82\x01."), "EXT1"),
    "a reference of its own": (raw(b"\x80\x02\x8c\x01aQ."), "refers to 'a'"),
    "a buffer from outside": (raw(b"\x80\x05\x97."), "NEXT_BUFFER"),
    "an instance of protocol 0": (raw(b"(dp0\nS'a'\n(S'x'\nios\nsystem\ns."), r"os\.system"),
    "nested lists": (raw(b"\x80\x02" + b"]" * 90_000 + b"a" * 89_999 + b"."), "one another"),
    "nested tuples as a key": (
        raw(b"\x80\x02}" + b")" + b"\x85" * 10**5 + b"Ns."),
        "holds no weights",
    ),
    "lists that double": (raw(b"\x80\x02" + LAUGHS), "one another"),
    "a list in itself": (raw(b"\x80\x02]q\x00h\x00a."), "one another"),
    "a million parts": (raw(b"\x80\x02]" + b"Na" * 10**6 + b"."), "more than 200,000 parts"),
    "one text that is taken again and again": (
        raw(
            b"\x80\x02c_codecs\nencode\nq\x00X"
            + struct.pack("<I", 10**6)
            + b"a" * 10**6
            + b"q\x01]q\x02"
            + b"(h\x00h\x01\x85Rl0" * 9000
            + b"h\x02."
        ),
        "uses the same bytes more often",
    ),
    "a memo without end": (raw(b"\x80\x02]r\xff\xff\xff\x7f."), "holds a list"),
    "bytes without end": (raw(b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b"."), "damaged pickle"),
    "numbers that collide": (
        raw(
            b"\x80\x02}("
            + b"".join(
                b"\x8a\x0c" + (k * (2**61 - 1)).to_bytes(12, "little") + b"N"
                for k in range(1, 90_000)
            )
            + b"u."
        ),
        "holds no weights",
    ),
    "a number of many digits": (raw(b"(I" + b"9" * 4000 + b"\nl."), "number of 4,001 digits"),
    "nothing on the stack": (raw(b"\x80\x02R."), "damaged pickle"),
    "no mark": (raw(b"\x80\x02]e."), "damaged pickle"),
    "a pickle without an end": (raw(dumps({"a": 1})[:-1]), "damaged pickle"),
    "a storage that is shorter than it claims": (
        of({"a": tensor("0", (600,))}),
        r"shape \(600,\) in storage '0': the storage is shorter than it claims",
    ),
    "a tensor beyond its storage": (
        of({"a": tensor("0", (3, 3), length=6)}),
        "it reaches number 9 of 6",
    ),
    "an offset beyond its storage": (
        of({"a": tensor("0", (3,), offset=4, length=6)}),
        "it reaches number 7 of 6",
    ),
    "strides beyond its storage": (
        of({"a": tensor("0", (2, 3), (3, 2), length=6)}),
        "it reaches number 8 of 6",
    ),
    "a storage inside of the pickle": (
        raw(
            dumps(
                Call(
                    Name("torch._utils", "_rebuild_tensor_v2"),
                    *(Call(Name("torch.storage", "_load_from_bytes"), b""), 0, (1,), (1,)),
                )
            )
        ),
        r"lies in torch\.storage\._load_from_bytes, which is not read; write it with torch\.save",
    ),
    "negative strides": (of({"a": tensor("0", (2,), (-1,), 1, length=6)}), "stride or offset"),
    "sides without strides": (of({"a": tensor("0", (2, 3), (3,))}), "2 sides and 1 strides"),
    "a tensor of one number and 10^12 sides": (
        of({"a": tensor("0", (10**6, 10**6), (0, 0), length=6)}),
        "tensors claim more than 4 times its size",
    ),
    "many tensors of one storage": (
        of(
            {str(i): tensor("0", (10**5,), length=10**5) for i in range(99)},
            **{"0": np.zeros(10**5, np.float32)},
        ),
        "tensors claim more than 4 times its size",
    ),
    "a storage that is not there": (of({"a": tensor("../0", (6,))}), r"no storage '\.\./0'"),
    "numbers of an unknown type": (
        of({"a": tensor("0", (6,), kind="QInt8Storage")}),
        r"torch\.QInt8Storage",
    ),
    "a member above the archive": (
        members(lambda found: found.update({"x/../../trace": b""})),
        "leads out of it",
    ),
    "a member at the root of the disk": (
        members(lambda found: found.update({"/tmp/trace": b""})),
        "leads out of it",
    ),
    "a zip bomb": (
        members(lambda found: found.update({"x/data/1": bytes(10**8)}), zipfile.ZIP_DEFLATED),
        "claim more than 8 times its size",
    ),
    "a long list of members": (directory, "list of members claims 5,242,880 bytes"),
    "two pickles": (members(lambda found: found.update({"y/data.pkl": PICKLE})), "zip file of"),
    "a TorchScript program": (
        members(lambda found: found.update({"x/constants.pkl": PICKLE})),
        "TorchScript",
    ),
    "a cut zip": (cut(0.5), "cut or damaged"),
    "a zip that is cut at its end": (cut(0.99), "cut or damaged"),
    "flipped bits": (flipped, r"member 'x/data/0' is cut or damaged \(Bad CRC-32"),
    "a cut checkpoint of before": (
        raw((FIXTURES / "torch_legacy.pth").read_bytes()[:-4]),
        "it is cut: storage",
    ),
    "an array without its bytes": (
        dtyped(SIX, b"(K\x01K\x06\x85", b"(K\x01K\x07\x85"),
        r"shape \(7,\) has 24 bytes",
    ),
    "an array of objects": (
        raw(pickle.dumps({"a": np.array([SIX, None], object)})),
        "holds no weights|object",
    ),
    "a whole model": (
        of(Call(Name("torch.nn.modules.container", "Sequential"), state={})),
        r"whole object, torch\.nn.*save the state_dict\(\)",
    ),
    "a header that is cut": (safe(entry(), bytes(8), 10**6), "header claims 1,000,000 bytes"),
    "a header that is no JSON": (safe(b"{" + b"[" * 10**5), "no JSON"),
    "an array beyond its file": (safe(entry("[2000]", "[0,8000]"), bytes(8)), "8 bytes of arrays"),
    "an array of another size": (safe(entry("[3]"), bytes(8)), "as many bytes as its shape"),
    "an array over another": (
        safe(entry()[:-1] + b"," + entry().replace(b'"a"', b'"b"')[1:], bytes(8)),
        "'b' in it begins at byte 0, not 8",
    ),
    "one name twice": (safe(entry()[:-1] + b"," + entry()[1:], bytes(8)), "no JSON"),
    "sides that are none": (safe(entry("[-2,-1]"), bytes(8)), "a shape or place that is none"),
    "an unknown type": (safe(entry(kind="F7"), bytes(8)), "type 'F7'"),
    "nothing": (raw(b""), "it is empty"),
    "a web page": (raw(b"\n<!DOCTYPE html><html>"), "a web page"),
    "a pointer of Git LFS": (raw(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS"),
    "text": (raw(b"hello"), r"it begins with b'hello'; take torch's \.pth"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_may_do_harm_is_refused_at_once_and_nothing_of_it_runs(tmp_path, monkeypatch, case):
    write, said = HOSTILE[case]
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.pth")
    began = time.process_time()
    with pytest.raises(InputError, match=said) as caught:
        weights_of(tmp_path / "x.pth")
    assert time.process_time() - began < 1
    assert str(caught.value).startswith(f"{tmp_path / 'x.pth'} ")
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_a_command_ends_in_one_line_at_a_program_and_writes_nothing(tmp_path, capsys):
    HOSTILE["a command beside weights"][0](tmp_path / "x.pth")
    assert main(["convert", str(tmp_path / "x.pth"), "--to", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert "would call 'posix.system'" in said.err and len(said.err.splitlines()) == 1
    assert not said.out and [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_what_is_no_file_is_never_waited_for(tmp_path):
    for path, said in ((tmp_path, "no file of weights"), (tmp_path / "y", "no such file")):
        with pytest.raises(InputError, match=said):
            containers.read(path)


def test_a_view_that_repeats_a_number_is_an_array_of_its_own(tmp_path):
    write = of({"a": tensor("0", (2, 3), (0, 1), length=6), "b": tensor("0", (0, 3), length=6)})
    write(tmp_path / "x")
    found = weights_of(tmp_path / "x")
    np.testing.assert_array_equal(found["a"], [SIX[:3], SIX[:3]])
    assert found["b"].shape == (0, 3)
