"""A worker that joins a planned run: time from its start to its first tiles, and requests before its first image.

Runs of few and of many sources are planned beforehand and lie in SeaweedFS, behind a proxy that lets each request wait 20 ms,
notes when it came, and answers for the images: they exist only as a listing. The model is almost free, and the settings that are
otherwise measured at the start of long runs are given. A worker is killed once its first tiles are through; then one on the
other run has its turn.
"""

import collections
import contextlib
import http.client
import io
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fake_listing
import windows

SMALL = 10_000
IMAGE = re.compile(r"/bench/tiles/(\d{7})\.jpg")
FIRST_TILES = re.compile(rb"^tilefleet_inferred_tiles_total [1-9]", re.MULTILINE)
SETTINGS = ["--set=run.sessions=1", "--set=run.spinning=false"]
OF_THE_CONNECTION = {"connection", "content-length", "keep-alive", "transfer-encoding"}
GIVE_UP_SECONDS = 120


def picture():
    """A JPEG of the size that is listed, filled up with a comment."""
    from PIL import Image

    out = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(out, "JPEG")
    jpeg = out.getvalue()
    length = fake_listing.SIZE - len(jpeg) - 2
    return jpeg[:2] + b"\xff\xfe" + length.to_bytes(2, "big") + bytes(length - 2) + jpeg[2:]


class Far(BaseHTTPRequestHandler):
    """Passes requests on to the store, each after a while; answers for images itself."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    store_port, jpeg, requests = 0, b"", []

    def answer(self):
        self.requests.append((self.command, self.path))
        time.sleep(windows.DELAY_SECONDS)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        image = IMAGE.fullmatch(self.path)
        if image:
            tag = {"ETag": fake_listing.etag(int(image[1])), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
            self.reply(200, tag, self.jpeg, fake_listing.SIZE)
            return
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.store_port)) as store:
            store.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = store.getresponse()
            content = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in OF_THE_CONNECTION}
        # That of a HEAD is of what is not sent.
        self.reply(answer.status, headers, content, answer.getheader("Content-Length", len(content)))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def reply(self, status, headers, content, length):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Says nothing of each request."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, _request, _address):
        """Says nothing of clients that were killed."""


def serve(store_port, jpeg, line):
    """Serves the store from afar; tells the requests so far when asked, and forgets them."""
    Far.store_port, Far.jpeg = store_port, jpeg
    server = Server(("127.0.0.1", 0), Far)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    line.send(server.server_port)
    while line.recv():
        line.send(Far.requests[:])
        Far.requests.clear()


@contextlib.contextmanager
def distance(store_port):
    """The store from afar, in a process of its own; yields its port, and what asks for the requests."""
    ours, theirs = multiprocessing.Pipe()
    start = multiprocessing.get_context("spawn").Process
    proxy = start(target=serve, args=(store_port, picture(), theirs), daemon=True)
    proxy.start()

    def requests():
        ours.send(True)
        return ours.recv()

    try:
        yield ours.recv(), requests
    finally:
        proxy.kill()
        proxy.join()


class Store:
    """The store itself, for what belongs to no worker."""

    def __init__(self, port):
        from pyarrow import fs

        keys = {"access_key": windows.KEYS["AWS_ACCESS_KEY_ID"], "secret_key": windows.KEYS["AWS_SECRET_ACCESS_KEY"]}
        self.files = fs.S3FileSystem(endpoint_override=f"127.0.0.1:{port}", scheme="http", region="us-east-1", **keys)

    def put_record(self, output, table):
        """Copies the record of a planned run."""
        for path in output.glob("_tilefleet/**/*"):
            if path.is_file():
                with self.files.open_output_stream(f"scenes/{table}/{path.relative_to(output)}") as out:
                    out.write(path.read_bytes())

    def forget_worker(self, table, run):
        """Removes the notes of a killed worker, of which the next one would decode its shard in child processes."""
        self.files.delete_dir_contents(f"scenes/{table}/_tilefleet/{run}/begun", missing_dir_ok=True)


def first_tiles(command, environment, port):
    """Starts a worker, and kills it once tiles went through its model; returns the seconds until then."""
    started = time.monotonic()
    worker = subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while time.monotonic() < started + GIVE_UP_SECONDS:
            if worker.poll() is not None:
                sys.exit(f"the worker ended with {worker.returncode}: {worker.stderr.read().decode()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    if FIRST_TILES.search(answer.read()):
                        return time.monotonic() - started
            except urllib.error.URLError:
                pass
            time.sleep(0.005)
        sys.exit(f"no tile went through the model in {GIVE_UP_SECONDS} s")
    finally:
        worker.kill()
        worker.wait()
        worker.stderr.close()


def before_first_image(requests):
    """Counts requests by method, up to the first for an image."""
    images = [number for number, (_, path) in enumerate(requests) if IMAGE.fullmatch(path)]
    assert images, requests
    return collections.Counter(method for method, _ in requests[: images[0]])


def measure(work, tilefleet, pipeline, weed, plan, rounds, many):
    """Prints times and requests of many sources over those of few.

    - `plan(output, num)`: plans a run of so many sources
    """
    outputs = {num: work / f"joining-{num}" for num in (SMALL, many)}
    records = {num: plan(output, num) for num, output in outputs.items()}
    seconds, counts = collections.defaultdict(list), collections.defaultdict(list)
    with windows.s3_server(weed, []) as store_port, distance(store_port) as (port, requests):
        store = Store(store_port)
        for num, output in outputs.items():
            store.put_record(output, f"table-{num}")
        environment = os.environ | windows.KEYS | {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        requests()
        # The first round finds nothing in the page cache, and does not count.
        for number in range(rounds + 1):
            for num, record in records.items():
                command = [tilefleet, "run", pipeline, "--input", "s3://bench/tiles/", "--output", f"s3://scenes/table-{num}"]
                command += ["--model", work / "free.onnx", "--share", f"{record['shards'] // 2}/{record['shards']}", *SETTINGS]
                metrics = windows.free_port()
                command += [f"--set=observe.listen=127.0.0.1:{metrics}", "--set=storage.allow_http=true"]
                took = first_tiles(command, environment, metrics)
                counted = before_first_image(requests())
                store.forget_worker(f"table-{num}", record["run_id"])
                if number > 0:
                    seconds[num].append(took)
                    counts[num].append(counted)
    report(seconds, counts, many)


def report(seconds, counts, many):
    for num in (SMALL, many):
        found, by_method = seconds[num], counts[num][0]
        methods = ", ".join(f"{count} {method}" for method, count in sorted(by_method.items()))
        totals = sorted({counted.total() for counted in counts[num]})
        spread = f"{statistics.median(found):.3f} s ({min(found):.3f} to {max(found):.3f})"
        print(f"joining {num:,} sources: {spread} to the first tiles; requests before the first image {totals}: {methods}")
    time_ratio = statistics.median(seconds[many]) / statistics.median(seconds[SMALL])
    total = {num: statistics.median(counted.total() for counted in counts[num]) for num in (SMALL, many)}
    print(f"  {many:,} over {SMALL:,}: time {time_ratio:.2f} (≤ 1.5), requests {total[many] / total[SMALL]:.2f} (≤ 1.2)")
