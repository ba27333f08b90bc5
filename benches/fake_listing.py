"""An S3 bucket that exists only as a listing (ListObjectsV2, a thousand keys a page)."""

import functools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PAGE = 1000
SIZE = 20_000
TAG = "0123456789abcdef01234567"

OBJECT = (
    "<Contents><Key>{prefix}@{last}.jpg</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    f'<ETag>"{TAG}@0{{last}}"</ETag><Size>{SIZE}</Size><StorageClass>STANDARD</StorageClass></Contents>'
)


def etag(number):
    """The entity tag of an object, as it is listed."""
    return f'"{TAG}{number // PAGE:04}0{number % PAGE:03}"'


@functools.cache
def entries(prefix):
    """A thousand objects, with the thousands of their numbers left open: pages differ in nothing else."""
    names = (OBJECT.format(prefix=prefix, last=f"{last:03}") for last in range(PAGE))
    return "".join(names)


def page(prefix, start, num_keys):
    end = min(start + PAGE, num_keys)
    contents = entries(prefix).replace("@", f"{start // PAGE:04}")
    if end < start + PAGE:
        contents = "".join(contents.partition(f"{end:07}.jpg")[0].rpartition("<Contents>")[0])
    more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < num_keys else ""
    truncated = "true" if more else "false"
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>bench</Name>'
        f"<Prefix>{prefix}</Prefix><KeyCount>{end - start}</KeyCount><MaxKeys>{PAGE}</MaxKeys>"
        f"<IsTruncated>{truncated}</IsTruncated>{more}{contents}</ListBucketResult>"
    )


class Bucket(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    num_keys = 0

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" not in query:
            self.send_error(404)
            return
        start = int(query.get("continuation-token", ["0"])[0])
        body = page(query.get("prefix", [""])[0], start, self.num_keys).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self):
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Says nothing of each request."""


def start(num_keys):
    """Starts the server on a free port; it ends with the process. Returns the settings that lead there."""
    bucket = type("Bucket", (Bucket,), {"num_keys": num_keys})
    server = ThreadingHTTPServer(("127.0.0.1", 0), bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "storage.endpoint": f"http://127.0.0.1:{server.server_port}",
        "storage.allow_http": "true",
        "storage.anonymous": "true",
        "storage.region": "us-east-1",
    }
    return [f"--set={name}={value}" for name, value in settings.items()]
