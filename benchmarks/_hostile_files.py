"""Model files that are damaged, altered or made to mislead: subcommand ``files`` of bench_trust.py.

``python benchmarks/bench_trust.py files`` makes files of four kinds from a published model and loads them:

- truncated: cut at a random place;
- altered: some random bytes changed;
- wrong content: random bytes of its content changed, and the checksum computed again, as only a writer can;
- hostile: a content that would run a command if names of types and functions were not checked, with the right
  checksum.

It prints how many were errors, how many were loaded, and whether a command ran. Files of the third kind can
hold a model with other numbers, which no check can find. So they may load.
"""

import collections
import io
import itertools
import json
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch

import xtalsk
from xtalsk.utils._container import read_container, write_container


def rewrite(file, path, schema=None, **header):
    """Write a file with another header or another schema, and the right checksum."""
    values, tensors = read_container(file)
    if schema is not None:
        old = zipfile.ZipFile(io.BytesIO(tensors["content"].numpy().tobytes()))
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as new:
            for name in old.namelist():
                new.writestr(name, json.dumps(schema) if name == "schema.json" else old.read(name))
        tensors["content"] = torch.frombuffer(bytearray(data.getvalue()), dtype=torch.uint8)
    write_container(path, values | header, tensors)


def plain(content):
    return {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "content": json.dumps(content),
    }


def sequence(items, name="tuple"):
    loader = f"{name.capitalize()}Node"
    return {"__class__": name, "__module__": "builtins", "__loader__": loader, "content": items}


def mapping(content, key_types=None, **names):
    text = {"__class__": "str", "__module__": "builtins", "__loader__": "TypeNode"}
    node = {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": content}
    return node | {"key_types": sequence(key_types or [text] * len(content), "list")} | names


def named(loader, name, **more):
    module, _, cls = name.rpartition(".")
    return {"__class__": cls, "__module__": module, "__loader__": loader, **more}


def hostile_schemas(command):
    """Yield schemas that would run a command if names were not checked, and the name that is refused."""
    arguments = sequence([plain(command)])
    function = named("FunctionNode", "os.system")
    for name in (
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "pickle.loads",
        "xtalsk.load",
        "xtalsk.io.open",
    ):
        yield named("TypeNode", name), name
        yield named("FunctionNode", name), name
        yield named("ConstructorFromReduceNode", name, content=arguments), name
        yield named("ObjectNode", name, content=mapping({"args": plain(command)})), name
        yield mapping({command: plain(1)}, [named("TypeNode", name)]), name
        yield sequence([plain(command)], "list") | named("ListNode", name), name
        reduced = {"__reduce__": {"args": arguments}, "content": mapping({})}
        yield named("LossNode", name, **reduced), name
    content = {"func": function, "args": arguments, "kwds": mapping({}), "namespace": plain(None)}
    yield named("PartialNode", "functools.partial", content=content), "functools.partial"
    attrs = sequence([plain("system"), plain(command)])
    yield named("OperatorFuncNode", "operator.methodcaller", attrs=attrs), "operator.methodcaller"
    owner = named("ObjectNode", "xtalsk.library._match.LibraryMatch", content=mapping({}))
    method = named("MethodNode", "xtalsk.library._match.LibraryMatch", content={"func": "load", "obj": owner})
    yield mapping({command: plain(1)}, [method]), "LibraryMatch"
    yield (
        named("ConstructorFromReduceNode", "xtalsk.streaming._stored.StoredStream", content=arguments),
        "StoredStream",
    )
    yield named("ObjectNode", "xtalsk.streaming._stored.StoredStream", content=mapping({})), "StoredStream"
    yield named("NoSuchNode", "os.system"), "os.system"


def damaged_files(file, n, seed):
    """Yield the kind of each file and its bytes, or a function that writes it to a path."""
    data, rng = Path(file).read_bytes(), np.random.default_rng(seed)
    values, tensors = read_container(file)
    for _ in range(n):
        yield "truncated", data[: rng.integers(len(data))]
    for _ in range(n):
        yield "altered", _with_other_bytes(data, rng)
    for _ in range(n):
        name = rng.choice([name for name, tensor in tensors.items() if tensor.numel()])
        raw = _with_other_bytes(tensors[name].numpy().tobytes(), rng)
        other = torch.frombuffer(bytearray(raw), dtype=tensors[name].dtype).reshape(tensors[name].shape)
        yield (
            "wrong content",
            lambda path, change={name: other}: write_container(path, values, tensors | change),
        )


def _with_other_bytes(data, rng):
    """Return bytes of which 1 to 8 are replaced."""
    data = bytearray(data)
    for place in rng.integers(len(data), size=rng.integers(1, 9)):
        data[place] ^= int(rng.integers(1, 256))
    return bytes(data)


def count(options):
    """Print what became of the files of each kind."""
    counts = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as folder:
        model, path, canary = (Path(folder, name) for name in ("model", "file", "canary"))
        xtalsk.save(xtalsk.load_pretrained(options.model), model)
        n = options.n // 4
        for kind, content in damaged_files(model, n, options.seed):
            content(path) if callable(content) else path.write_bytes(content)
            counts[kind][outcome(path)] += 1
        hostile = itertools.islice(itertools.cycle(hostile_schemas(f"touch {canary}")), n)
        for number, (schema, _) in enumerate(hostile):
            rewrite(model, path, schema | {"protocol": number % 3})
            counts["hostile"][outcome(path)] += 1
        ran = canary.exists()
    for kind, outcomes in counts.items():
        print(f"{kind:14} {outcomes.total():5} files, {outcomes['error']:5} errors, {dict(outcomes)}")
    print(f"commands that ran: {int(ran)}")


def outcome(path):
    """Return what loading a file did: "error", "loaded", or the name of another exception."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            xtalsk.load(path)
    except xtalsk.ModelFileError:
        return "error"
    except Exception as error:
        return type(error).__name__
    return "loaded"


def add_commands(subparsers):
    """Add the subcommand ``files``."""
    command = subparsers.add_parser("files", help="damaged and hostile model files")
    command.add_argument("--n", type=int, default=1000, help="number of files (1000)")
    command.add_argument("--model", default="powder", help="name of a model of the package (powder)")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=count)
