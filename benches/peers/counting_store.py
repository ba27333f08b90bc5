"""An S3 bucket named `bench` over local files that counts what is read of them: enough of S3 for all peers.

Answers HeadObject, GetObject with ranges, and ListObjectsV2 in one page; asks for no credentials.
"""

import os
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

CONTENT = "<Contents><Key>{key}</Key><LastModified>{time}</LastModified><ETag>&quot;{tag}&quot;</ETag>"
CONTENT += "<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
COMMON = "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"
TIME = "2026-01-01T00:00:00.000Z"


class CountingStore(ThreadingHTTPServer):
    """Serves `folder` as `s3://bench/images/`; `sent_bytes` counts bytes of bodies, not of listings."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.sent_bytes, self.lock = folder, 0, threading.Lock()
        self.bytes_a_second, self.free_at = None, 0.0
        self.sizes = {f"images/{entry.name}": entry.stat().st_size for entry in os.scandir(folder)}
        self.total_bytes = sum(self.sizes.values())
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def count(self, num_bytes):
        """Counts, and keeps the caller waiting if there is a limit of `bytes_a_second`."""
        with self.lock:
            self.sent_bytes += num_bytes
            now = time.monotonic()
            if self.bytes_a_second is not None:
                self.free_at = max(self.free_at, now) + num_bytes / self.bytes_a_second
            wait = self.free_at - now
        if wait > 0:
            time.sleep(wait)

    def take_count(self):
        """Returns the count and begins anew."""
        with self.lock:
            count, self.sent_bytes = self.sent_bytes, 0
        return count

    def handle_error(self, _request, _address):
        """Says nothing of clients that were killed."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self.list(query.get("prefix", [""])[0], query.get("delimiter", [""])[0])
        else:
            self.answer(body=True)

    def list(self, prefix, delimiter):
        keys = [key for key in sorted(self.server.sizes) if key.startswith(prefix)]
        rests = {key: key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "") for key in keys}
        folders = {prefix + name + delimiter for name, found, _ in rests.values() if found}
        sizes = {key: self.server.sizes[key] for key, (_, found, _) in rests.items() if not found}
        entries = "".join(
            CONTENT.format(key=key, time=TIME, tag=f"{size:032x}", size=size) for key, size in sizes.items()
        )
        entries += "".join(COMMON.format(folder=folder) for folder in sorted(folders))
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name>'
            f"<Prefix>{prefix}</Prefix><KeyCount>{len(keys)}</KeyCount><MaxKeys>100000</MaxKeys>"
            f"<IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        )
        self.reply(200, text.encode(), "application/xml")

    def answer(self, body):
        key = unquote(urlsplit(self.path).path).removeprefix("/bench/")
        size = self.server.sizes.get(key)
        if size is None:
            self.reply(404, b"", "application/xml")
            return
        first, last = self.range(size)
        status = 206 if "Range" in self.headers else 200
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("ETag", f'"{size:032x}"')
        self.send_header("Last-Modified", formatdate(1767225600, usegmt=True))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if body:
            self.server.count(last - first + 1)
            with open(os.path.join(self.server.folder, key.removeprefix("images/")), "rb") as file:
                file.seek(first)
                self.wfile.write(file.read(last - first + 1))

    def range(self, size):
        """Returns the first and last byte asked for; a suffix counts from the end."""
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        if not first:
            return max(0, size - int(last)), size - 1
        return int(first), min(int(last or size), size - 1)

    def reply(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing of each request."""
