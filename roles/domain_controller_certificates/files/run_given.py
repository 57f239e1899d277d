# SPDX-License-Identifier: GPL-3.0-or-later
# Runs a program without installing it: python3 -c THIS ARGUMENT..., with JSON on standard input: modules (texts by name, __main__ last) and
# the input that the program is to find there. That may be too long for an argument: Linux takes 128 KiB for one (MAX_ARG_STRLEN).
import io
import json
import sys
import types

given = json.load(sys.stdin)
sys.stdin = io.StringIO(json.dumps(given["input"]))
for name, text in given["modules"].items():
    sys.modules[name] = module = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
