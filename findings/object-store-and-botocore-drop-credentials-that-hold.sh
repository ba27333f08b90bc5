#!/usr/bin/env bash
# object_store 0.13 (seen through its Python binding obstore 0.12.1) and botocore 1.44.8 renew temporary credentials before they
# expire. If the service that lends them does not answer in the last minutes, requests fail, although the old credentials hold.
#
# Seen, EKS Pod Identity's protocol on the loopback: the agent lends once and answers 503 from then on. The next read:
#                  object_store                 botocore
#   610 s left     works                        works
#   590 s left     works                        fails, the store isn't asked
#   310 s left     works
#   290 s left     fails, the store isn't asked
#
# Why a good guess is wrong: renewing early is done so that an outage of the lender costs nothing. Both libraries ignore the
# lender's failure while there is more time left; in the last five or ten minutes they count the credentials as gone.
# Whom it bites: long-lived workers. With credentials for an hour, a lender that is away for seconds at the
# wrong time ends all reads and writes of a process; a node's agent that is updated, those of all its pods.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check obstore==0.12.1 botocore==1.44.8

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import json
import os
import threading
import time
from datetime import datetime, timedelta, timezone

import botocore.session
import obstore
from obstore.store import S3Store

lends, life, asked, served = True, 0, 0, 0


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        global asked, served
        if self.path == "/credentials":
            asked += 1
            expires = datetime.now(timezone.utc) + timedelta(seconds=life)
            keys = {"AccessKeyId": "A", "SecretAccessKey": "S", "Token": "T"}
            body = json.dumps(keys | {"Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}).encode()
            self.reply(200 if lends else 503, body if lends else b"")
        else:
            served += 1
            self.reply(200, b"content")

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
with open("token", "w") as file:
    file.write("of the pod")


def with_object_store():
    store = S3Store(
        "bucket",
        endpoint=url,
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
        aws_container_credentials_full_uri=f"{url}/credentials",
        aws_container_authorization_token_file="token",
    )
    return lambda: obstore.get(store, "x").bytes()


def with_botocore():
    os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{url}/credentials"
    os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = "token"
    client = botocore.session.get_session().create_client("s3", "us-east-1", endpoint_url=url)
    return lambda: client.get_object(Bucket="bucket", Key="x")["Body"].read()


def second_read(reader, seconds):
    """Reads once while the agent lends, and once when it doesn't any more."""
    global lends, life, asked, served
    lends, life, asked, served = True, seconds, 0, 0
    read = reader()
    assert bytes(read()) == b"content" and served == 1
    lends = False
    time.sleep(1)
    try:
        read()
        result = "read"
    except Exception as error:
        result = f"{type(error).__name__}: {error}".splitlines()[0][:120]
    print(f"{reader.__name__}, lent for {seconds} s: {result}; the store was asked {served} times")
    return result == "read", served


for reader, early in [(with_object_store, 300), (with_botocore, 600)]:
    assert second_read(reader, early + 10) == (True, 2), "the behaviour has changed"
    assert second_read(reader, early - 10) == (False, 1), "the behaviour has changed"
PYTHON
