"""Workers on one plan in SeaweedFS, each with a device that sleeps two seconds a shard: what coordination costs. 32 with shares
of an array, 64 on a queue in NATS, and 64 of which half leave in the middle.

Images are local and small, so that decoding is a small part of the two cores. A proxy before the store counts requests.
`benches/fleet.rs` is the workers; it prints the commits as a share of the ideal.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import shutil
import subprocess
import time
from pathlib import Path

import inputs
import numpy as np
import windows
from PIL import Image

SHARD_TILES = 16
# Workers, shards, whether they share a queue, and how many leave in the middle.
FLEETS = [(32, 640, False, 0), (64, 2000, True, 0), (64, 2000, True, 32)]
METHODS = (b"GET", b"PUT", b"HEAD", b"DELETE", b"POST")


def make_images(folder, shards):
    """Small images, a few different ones under many names."""
    if folder.is_dir():
        return
    stage = folder.with_name("images.stage")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    random = np.random.default_rng(7)
    first = []
    for number in range(shards * SHARD_TILES):
        path = stage / f"{number:06}.jpg"
        if len(first) < 64:
            Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
            first.append(path)
        else:
            os.link(first[number % 64], path)
    stage.rename(folder)


def count_before(port, line):
    """Serves as a proxy before a port, counts requests by method, and says the counts when asked."""
    counts = dict.fromkeys((method.decode() for method in METHODS), 0)

    async def pump(reader, writer, counted):
        try:
            while data := await reader.read(1 << 18):
                method = data.split(b" ", 1)[0] if counted else None
                if method in METHODS:
                    counts[method.decode()] += 1
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back, True), pump(there, writer, False))

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
        line.send(server.sockets[0].getsockname()[1])
        while True:
            if line.poll():
                line.recv()
                line.send(counts)
            await asyncio.sleep(0.05)

    asyncio.run(main())


@contextlib.contextmanager
def queue(work, nats):
    """A NATS server that flushes whatever it acknowledges; yields its URL."""
    store = work / "nats"
    shutil.rmtree(store, ignore_errors=True)
    (store / "ports").mkdir(parents=True)
    (store / "nats.conf").write_text(f'listen: "127.0.0.1:-1"\njetstream {{ store_dir: "{store}", sync_interval: always }}\n')
    server = subprocess.Popen(
        [nats, "--config", store / "nats.conf", "--ports_file_dir", store / "ports"], stderr=subprocess.DEVNULL
    )
    try:
        while not (files := [file for file in (store / "ports").iterdir() if file.stat().st_size]):
            time.sleep(0.05)
        yield json.loads(files[0].read_text())["nats"][0]
    finally:
        server.kill()
        server.wait()


def measure(work, weed, nats, fleet, tilefleet):
    for workers, shards, on_queue, leavers in FLEETS:
        measure_one(work, weed, nats, fleet, tilefleet, workers, shards, on_queue, leavers)


def measure_one(work, weed, nats, fleet, tilefleet, workers, shards, on_queue, leavers):
    work.mkdir(parents=True, exist_ok=True)
    images = work / f"images-{shards}"
    make_images(images, shards)
    (work / "free.onnx").write_bytes(inputs.free_model())
    (work / "free.contract.toml").write_text(inputs.CONTRACT)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(windows.s3_server(weed, []))
        url = stack.enter_context(queue(work, nats)) if on_queue else ""
        ours, theirs = multiprocessing.Pipe()
        proxy = multiprocessing.get_context("spawn").Process(target=count_before, args=(port, theirs), daemon=True)
        proxy.start()
        endpoint = f"http://127.0.0.1:{ours.recv()}"
        pipeline = work / "fleet.toml"
        pipeline.write_text(
            f'[input]\nuris = ["{images}"]\n[model]\nfile = "{work}/free.onnx"\n'
            f'[output]\nuri = "s3://scenes/table"\n[plan]\nshard_tiles = {SHARD_TILES}\n'
            f'[queue]\nurl = "{url}"\n'
            '[run]\nthreads = 1\nmemory = "32MiB"\n[storage]\nallow_http = true\n'
        )
        environment = os.environ | windows.KEYS | {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1"}
        command = [fleet, "--pipeline", pipeline, "--workers", workers, "--leavers", leavers]
        done = subprocess.run(
            [str(word) for word in command], env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        report = json.loads(done.stdout.splitlines()[-1])
        ours.send("?")
        counts = ours.recv()
        verify = [tilefleet, "verify", "s3://scenes/table", "--set", "storage.allow_http=true"]
        subprocess.run([str(word) for word in verify], env=environment, check=True, stdout=subprocess.DEVNULL)
        proxy.kill()
    assert report["shards"] == shards, report
    by = "on a queue" if on_queue else "with shares"
    if leavers:
        print(f"{workers} workers {by}, {leavers} of which leave in the middle: {shards} shards, each tile has one row")
        return
    per_shard = ", ".join(f"{count / shards:.1f} {method}" for method, count in counts.items() if count)
    ideal = 100 * report["share_of_ideal"]
    print(f"{workers} workers {by}, {shards} shards of 2 s: {ideal:.1f} % of the ideal (≥ 95 %)")
    print(f"requests a shard, joining included: {sum(counts.values()) / shards:.1f} ({per_shard})")
