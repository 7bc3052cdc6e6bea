#!/usr/bin/env python3
"""Writes pyyaml-vectors.json: what PyYAML makes of chosen and of seeded random values.

usage: make-pyyaml-vectors.py [COUNT [SEED]] > pyyaml-vectors.json   (needs PyYAML 6; larger COUNTs are for by hand)
Each vector: {"value": …, "shortest": …, "lines": …, "blocks": … (null unless the value has strings only)}
"""
import json, random, sys, yaml


class Lines(yaml.SafeDumper):
    pass


def text(dumper, data):
    style = "|" if len(data.splitlines()) > 1 else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


Lines.add_representer(str, text)


def only_strings(v):
    if isinstance(v, str):
        return True
    if isinstance(v, list):
        return all(map(only_strings, v))
    return isinstance(v, dict) and all(map(only_strings, v.values()))


def vector(v):
    v = json.loads(json.dumps(v))  # no shared objects, so no anchors
    return {
        "value": v,
        "shortest": yaml.safe_dump(v),
        "lines": yaml.dump(v, Dumper=Lines),
        "blocks": yaml.safe_dump(v, default_style="|") if only_strings(v) else None,
    }


WORDS = """yes Yes YES yEs no No NO y n on On ON off true True TRUE tRUE false null Null NULL nULL ~ ~a << = == - -- --- ---a ... ...a
? ?a : :a a: a:b a:\tb # #a a#b , ,a [ [a ] { } &a *a !a |a >a 'a 'a' it's "a a"b %a @a `a 0 00 007 08 0o7 0b1 0b2 0b 0x 0xfg 0xFF 1 -1 +1 1_0 _1
1_ 1. 1.5 .5 -.5 +.5 . .. 1e3 1.e3 1.e+3 1.5e-3 1.5E+3 1.5e .5e+3 ._5 1._5 .inf -.inf +.Inf .INF .iNF .nan .NaN .Nan -.nan 1:30 0:30 1:60 1:5 1:5: 190:20:30
190:20:30.15 0:30.5 1:30e+1 2026-11-23 2026-1-2 2026-11-23T10:20:30 2026-1-2t1:02:03.5Z 2026-11-23T10:20:30+02 2026-11-23T10:20:30-02:00
2026-11-23T10:20 a,b a[b a{b} a?b a|b -a - -1- ! & * <a <<a =a""".split()
LITERAL = ["", " ", "  ", "\n", "\n\n", " a", "a ", "a\n", "a\n\n", "a\n\n\n", "\na", "\n\na\n", " \na", "a \nb", "a\n b", "a\nb", "a\nb\n", "a\n\nb\n",
    "2026-11-23 10:20:30", "2026-11-23  10:20:30 Z", "2026-11-23 10:20:30 ", "2026-11-23\t10:20:30", "a: b", "a #b", "a # b", "- a", "? a", ": a", "a\tb", "\t", "a\rb", "a\r\nb\r\n",
    "é", "é é", "鍵", "🔑", "\u00a0", "\ufeff", "\u2028", "\x85", "\x7f", "\x00", "\x1b", "\x07\x08\x0b\x0c", "\\", "\"", "'", "''", "a'b\nc'd\n",
    "yes\n", "1\n", "x" * 200, "x " * 100, ("word " * 40).strip(), "é" + " word" * 40, "é" * 60, " " * 100, "a" + " " * 100 + "b", "é" + " " * 100 + "b",
    "word  word " * 20 + "end", "'" * 90, "it's a " * 20 + "x", "line one\nline two " + "word " * 30 + "\nend\n", "  indented\n    more\n", "\n  a\n", "a\n\t\nb", "#!/bin/sh\nset -e\n",
    "key: value\nother: [1, 2]\n", "{}", "[]", "a\x85b", "a\u2028b\n", "a\x0bb\x0c", "-----BEGIN KEY-----\nabc\n-----END KEY-----\n"]
KEYS = ["", "k", "yes", "1", "a b", "a: b", "é", "a\nb", " a", "x" * 121, "x" * 122, "x" * 123, "x" * 128, "é" * 122, "é" * 123, "key with é " * 9, "#", "-", "- a", "?"]
SHAPES = [lambda s: s, lambda s: {"k": s}, lambda s: {"host": {"name": {"content": s, "path": "p"}}}, lambda s: [s, s], lambda s: {"k": [s, "x"]}]
VALUES = [{}, [], None, True, False, 0, -7, 10**12, {"a": {}}, {"a": []}, {"a": None, "b": True, "c": 1}, [[1, [2]], []], [{"a": 1, "b": [1, 2]}, {}],
    {"a": [{"b": 1}, {"c": [1]}]}, {"b": 1, "a": 2, "B": 3, "é": 4, "鍵": 5, "🔑": 6}, [[]], [{}], [None, "null"], {"é" * 123: {"a": [1]}}]
CHARS = ["a", "b", "word", " ", " ", "\n", "\t", ":", "#", "-", "'", '"', "\\", "é", "鍵", "🔑", "\r", ",", "x" * 17, "1", ".", "yes", "{", "\u00a0", "  ", "\n\n"]
PLAIN = ["a", "word", " ", " ", "\n", "'", "0123456789", "-", ":"]


def random_text(r):
    pool = r.choice([CHARS, PLAIN, PLAIN[:4], ["é", "word", " "], ["é", "a", " ", "\n", "0123456789"]])
    return "".join(r.choice(pool) for _ in range(r.choice([1, 3, 6, 20, 60])))


def random_value(r, depth):
    kind = r.randrange(8 if depth else 5)
    if kind < 4:
        return random_text(r)
    if kind == 4:
        return r.choice([None, True, False, 5, -3])
    if kind == 5:
        return [random_value(r, depth - 1) for _ in range(r.randrange(4))]
    return {random_text(r): random_value(r, depth - 1) for _ in range(r.randrange(4))}


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    r = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    values = VALUES + [shape(s) for s in WORDS + LITERAL for shape in SHAPES[:3]] + [shape(s) for s in LITERAL for shape in SHAPES[3:]]
    values += [{k: v} for k in KEYS for v in ["v", ["v"], {"a": "v"}, "a\nb\n"]]
    values += [random_value(r, 4) for _ in range(count)]
    print("[\n" + ",\n".join(json.dumps(vector(v)) for v in values) + "\n]")


main()
