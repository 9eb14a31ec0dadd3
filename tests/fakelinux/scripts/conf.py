"""The toy's scripts/kconfig/conf: tinyconfig and olddefconfig over bool, tristate, int, hex and string.

Called as ``conf.py <target> <srctree> <.config>``.  Dependencies are evaluated as Python, after
``&&``, ``||`` and ``!`` have become its operators; symbols take their values until nothing changes.
"""

import re
import sys
from pathlib import Path

TARGET, TREE, CONFIG = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])


def read(path):
    """Return the symbols of a Kconfig file and of those it sources, in order."""
    symbols = {}
    now = {}
    for number, line in enumerate((TREE / path).read_text().splitlines(), start=1):
        words = line.split()
        if not words or words[0] in {"#", "mainmenu", "help", "modules"} or line.startswith("#"):
            continue
        if words[0] == "source":
            symbols |= read(words[1].strip('"'))
        elif words[0] == "config":
            now = symbols.setdefault(words[1], {"type": "bool", "prompt": "", "deps": [], "select": [], "default": ""})
        elif words[0] in {"bool", "tristate", "int", "hex", "string"}:
            now |= {"type": words[0], "prompt": line.partition('"')[2]}
        elif words[0] == "depends":
            now["deps"].append(" ".join(words[2:]))
        elif words[0] in {"default", "range"}:
            now[words[0]] = words[1:]
        elif words[0] == "select":
            now["select"].append(words[1])
        else:
            sys.exit(f'{path}:{number}: unknown statement "{words[0]}"')
    return symbols


def met(symbol, values):
    """Whether the dependencies of a symbol hold."""
    text = " and ".join(f"({x})" for x in symbol["deps"]) or "True"
    text = text.replace("&&", " and ").replace("||", " or ").replace("!", " not ")
    words = re.sub(r"\b(?!and\b|or\b|not\b|True\b)\w+\b", lambda m: str(values.get(m[0], "n") != "n"), text)
    return eval(words)


def value(name, symbol, values, asked):
    """Return what a symbol comes out as."""
    selected = any(name in other["select"] and values.get(key, "n") != "n" for key, other in symbols.items())
    if selected:
        return "y"
    if not met(symbol, values):
        return "n"
    wanted = asked.get(name) if symbol["prompt"] else None
    if wanted is None:
        wanted = "n" if TARGET == "tinyconfig" or not symbol["default"] else symbol["default"][0]
    if symbol["type"] == "tristate" and wanted == "m" and values.get("MODULES", "n") == "n":
        return "y"
    if symbol.get("range") and wanted.isdigit():
        low, high = map(int, symbol["range"][:2])
        return str(min(max(int(wanted), low), high))
    return wanted


symbols = read("Kconfig")
asked = {}
if TARGET == "olddefconfig":
    for line in CONFIG.read_text().splitlines():
        if match := re.fullmatch(r"CONFIG_(\w+)=(.*)", line):
            asked[match[1]] = match[2]
        elif match := re.fullmatch(r"# CONFIG_(\w+) is not set", line):
            asked[match[1]] = "n"
values = {}
for _ in range(10):
    before = dict(values)
    values |= {name: value(name, symbol, values, asked) for name, symbol in symbols.items()}
    if values == before:
        break
lines = []
for name, symbol in symbols.items():
    if values[name] != "n":
        lines.append(f"CONFIG_{name}={values[name]}")
    elif symbol["prompt"] and met(symbol, values) and symbol["type"] in {"bool", "tristate"}:
        lines.append(f"# CONFIG_{name} is not set")
CONFIG.write_text("\n".join(lines) + "\n")
