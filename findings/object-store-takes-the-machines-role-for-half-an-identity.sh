#!/usr/bin/env bash
# object_store 0.13 (seen through its Python binding obstore 0.12.1) reads the variables by which AWS gives a workload its
# identity. If one of a pair is missing it does not say so: it goes on to the metadata service of the machine, and the requests
# are signed with the machine's role.
#
# Seen, with a metadata service, a container's credentials service and a store on the loopback:
#                                                                        object_store          botocore 1.44.8
#   AWS_CONTAINER_CREDENTIALS_FULL_URI with ..._AUTHORIZATION_TOKEN_FILE  the workload's        the workload's
#   the same with ..._AUTHORIZATION_TOKEN instead of the file             the machine's         the workload's
#   the same without either                                               the machine's         the workload's
#   AWS_WEB_IDENTITY_TOKEN_FILE without AWS_ROLE_ARN                      the machine's         an error that names the role
#
# Why a good guess is wrong: an identity that was asked for and cannot be had is an error elsewhere, and the SDKs take
# the address of the service without a token, as AWS documents it.
# Whom it bites: jobs in containers with a sidecar or a proxy that lends credentials, and pods whose annotation was
# edited: they read and write with the rights of the node, which are wider or of another account, and nothing tells.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check obstore==0.12.1 botocore==1.44.8

cd "$folder"
cat >read.py <<'PYTHON'
import sys

library, url = sys.argv[1:]
if library == "object_store":
    import obstore
    from obstore.store import S3Store

    options = {"client_options": {"allow_http": True}, "retry_config": {"max_retries": 0}}
    store = S3Store("bucket", endpoint=url, region="us-east-1", aws_metadata_endpoint=url, **options)
    obstore.get(store, "x").bytes()
else:
    import botocore.session

    client = botocore.session.get_session().create_client("s3", "us-east-1", endpoint_url=url)
    client.get_object(Bucket="bucket", Key="x")
PYTHON
"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import json
import subprocess
import sys
import threading

signed = []


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_PUT(self):
        self.reply(b"a token of the metadata service")

    def do_GET(self):
        if self.path.endswith("/security-credentials/"):
            self.reply(b"role-of-the-machine")
        elif self.path == "/credentials" or "/security-credentials/" in self.path:
            key = "WORKLOAD" if self.path == "/credentials" else "MACHINE"
            keys = {"AccessKeyId": key, "SecretAccessKey": "S", "Token": "T", "Code": "Success"}
            self.reply(json.dumps(keys | {"Expiration": "2999-01-01T00:00:00Z"}).encode())
        else:
            signed.append(self.headers["Authorization"].split("Credential=")[1].split("/")[0])
            self.reply(b"content")

    def reply(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
with open("token", "w") as file:
    file.write("of-the-pod")
service = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/credentials"}
cases = {
    "service and token file": service | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "token"},
    "service and token": service | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "of-the-pod"},
    "service alone": service,
    "web identity without its role": {"AWS_WEB_IDENTITY_TOKEN_FILE": "token"},
}
found = {}
for name, variables in cases.items():
    for library in ("object_store", "botocore"):
        signed.clear()
        variables = variables | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "HOME": "/nonexistent"}
        command = [sys.executable, "read.py", library, url]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
        result = signed[0] if signed else "no role ARN" if "no role ARN" in done.stderr else done.stderr[-300:]
        print(f"{name}, {library}: {result}")
        found[name, library] = result
silent = {(name, "object_store"): "MACHINE" for name in list(cases)[1:]}
told = {(name, "botocore"): "WORKLOAD" for name in list(cases)[:3]}
first, last = ("service and token file", "object_store"), ("web identity without its role", "botocore")
expected = silent | told | {first: "WORKLOAD", last: "no role ARN"}
assert found == expected, "the behaviour has changed"
PYTHON
