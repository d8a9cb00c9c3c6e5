"""Packed weights, written for a test."""

import struct

import numpy as np

HIDDEN, FFN, POSITIONS = 32, 64, 16


PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁the", "▁", "a", "b", "1", "<mask>"]


RULES = {ord("½"): "1⁄2", 0x200B: " ", 7: ""}


def _tensors():
    rng = np.random.default_rng(0)
    shapes = {
        "emb.word": (len(PIECES), HIDDEN),
        "emb.pos": (POSITIONS, HIDDEN),
        "emb.type": (2, HIDDEN),
        "emb.ln.w": (HIDDEN,),
        "emb.ln.b": (HIDDEN,),
    }
    for short, shape in {"q": (HIDDEN, HIDDEN), "fi": (FFN, HIDDEN), "fo": (HIDDEN, FFN)}.items():
        for name in {"q": ("q", "k", "v", "ao")}.get(short, (short,)):
            shapes[f"l0.{name}.w"] = shape
            shapes[f"l0.{name}.b"] = shape[:1]
    for name in ("aln", "oln"):
        shapes[f"l0.{name}.w"] = shapes[f"l0.{name}.b"] = (HIDDEN,)
    return {name: rng.normal(size=shape).astype("<f4") for name, shape in shapes.items()}


def write_e5(path, magic=b"E5S1", version=1, block=32, cut=None, lie_about_bytes=0):
    """A whole file of tiny sizes, every tensor in float32."""
    out = bytearray(struct.pack("<4sI", magic, version))
    out += struct.pack("<7i", HIDDEN, 1, 2, FFN, len(PIECES), POSITIONS, 2)
    out += struct.pack("<fi", 1e-12, block) + struct.pack("<5i", len(PIECES), 0, 2, 1, 3)
    encoded = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, encoded)])
    out += struct.pack("<Q", offsets[-1]) + offsets.astype("<u4").tobytes()
    out += np.linspace(-1, -3, len(PIECES)).astype("<f4").tobytes() + b"".join(encoded)
    rules = b"".join(struct.pack(f"<IB{len(t)}I", c, len(t), *map(ord, t)) for c, t in RULES.items())
    out += struct.pack("<iI", len(RULES), len(rules)) + rules
    tensors = _tensors()
    out += struct.pack("<i", len(tensors))
    directory = sum(2 + len(name) + 21 for name in tensors)
    at, body = -(-(len(out) + directory) // 64) * 64, bytearray()
    start = at
    for name, values in tensors.items():
        raw = values.tobytes()
        out += struct.pack("<H", len(name)) + name.encode()
        out += struct.pack("<BIQQ", 0, values.size, at + len(body), len(raw) + lie_about_bytes)
        body += raw + b"\0" * (-len(raw) % 64)
    out += b"\0" * (start - len(out)) + body
    path.write_bytes(bytes(out[:cut] if cut else out))
    return path
