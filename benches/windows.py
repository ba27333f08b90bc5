"""Windows of a deflate COG: tilefleet over rasterio (GDAL), locally and from an S3 server that is 20 ms away.

tilefleet plans, fetches, decodes, runs an almost-free model and commits a verified table. Beside it stand the same
job written with rasterio, and rasterio reading the same windows into arrays and doing nothing with them, each with
as many threads and a file handle a thread, row by row. Also the peak memory of scenes of 4,000 and 40,000 pixels
a side.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
import onnx_bytes as onnx

SIDE, BANDS = 224, 3
SCENE = 8_064
DELAY_SECONDS = 0.020
PEER = Path(__file__).resolve().parent / "peers" / "rasterio_windows.py"
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret"}

CONTRACT = f"""\
contract = 1
name = "almost-free-windows"

[input]
tensor = "input"
layout = "nchw"
sample_type = "float32"
bands = ["1", "2", "3"]
unit = "dn"
width = {SIDE}
height = {SIDE}

[output]
embedding = "embedding"
embedding_length = {BANDS}
"""


def make_model(folder):
    """The mean of every band."""
    model = onnx.model(
        "free-windows",
        onnx.node("GlobalAveragePool", ["input"], "means"),
        onnx.node("Flatten", ["means"], "embedding", axis=1),
        onnx.graph_input("input", ["n", BANDS, SIDE, SIDE], onnx.FLOAT),
        onnx.graph_output("embedding", ["n", BANDS]),
    )
    (folder / "windows.onnx").write_bytes(model)
    (folder / "windows.contract.toml").write_text(CONTRACT)
    return folder / "windows.onnx"


def make_scene(path, side, block=512):
    """Writes a COG of 16-bit bands, deflate with predictor 2, that looks like land: smooth with noise."""
    if path.is_file():
        return path
    import rasterio
    from rasterio.transform import from_origin

    random = np.random.default_rng(7)
    base = random.integers(200, 3000, (side // 64 + 2, side // 64 + 2, BANDS))
    profile = dict(driver="GTiff", width=side, height=side, count=BANDS, dtype="uint16", crs="EPSG:32633")
    profile |= dict(transform=from_origin(600_000, 5_500_000, 10, 10), tiled=True, blockxsize=block, blockysize=block)
    profile |= dict(compress="deflate", predictor=2, interleave="pixel", bigtiff="if_safer", nodata=0)
    partial = path.with_suffix(".part")
    with rasterio.open(partial, "w", **profile) as file:
        for y in range(0, side, block):
            height = min(block, side - y)
            rows = base[(y + np.arange(height)) // 64][:, np.arange(side) // 64]
            noise = random.integers(0, 60, rows.shape, dtype=np.int16)
            strip = (rows + noise).astype(np.uint16).transpose(2, 0, 1)
            file.write(strip, window=((y, y + height), (0, side)))
    partial.rename(path)
    return path


def starts(length):
    last = length - SIDE
    return sorted({*range(0, last + 1, SIDE), last})


def rasterio_rate(path, threads, side):
    """Reads all windows; returns windows a second."""
    import rasterio
    from rasterio.windows import Window

    rows = starts(side)

    def read(share):
        with rasterio.open(path) as file:
            for y in share:
                for x in starts(side):
                    file.read(window=Window(x, y, SIDE, SIDE))

    began = time.perf_counter()
    # Neighbouring rows share blocks, so that each thread takes a run of them.
    shares = [rows[len(rows) * part // threads : len(rows) * (part + 1) // threads] for part in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, shares))
    return len(rows) ** 2 / (time.perf_counter() - began)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def s3_server(weed, objects):
    """Starts SeaweedFS with objects in the bucket `scenes`; yields its port."""
    with tempfile.TemporaryDirectory() as folder:
        ports = {name: (free_port(), free_port()) for name in ("s3", "filer", "master", "volume")}
        keys = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
        identity = {"name": "bench", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List"]}
        config = Path(folder) / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        command = [weed, "-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-s3"]
        command += [f"-s3.config={config}", f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=1024", "-volume.max=100"]
        for name, (http, grpc) in ports.items():
            command += [f"-{name}.port={http}", f"-{name}.port.grpc={grpc}"]
        with open(Path(folder) / "log", "wb") as log:
            server = subprocess.Popen(list(map(str, command)), stderr=log, stdout=log)
        try:
            upload(ports["s3"][0], objects)
            yield ports["s3"][0]
        finally:
            server.terminate()
            server.wait()


def upload(port, objects):
    from pyarrow import fs

    store = fs.S3FileSystem(
        access_key=KEYS["AWS_ACCESS_KEY_ID"],
        secret_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=f"127.0.0.1:{port}",
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    )
    for attempt in range(60):
        try:
            store.create_dir("scenes")
            break
        except OSError:
            time.sleep(1)
    for path in objects:
        with store.open_output_stream(f"scenes/{path.name}") as out:
            out.write(path.read_bytes())


def wait_between(port, ready):
    """Serves as a proxy before a port, and lets every request wait; says on which port through `ready`."""

    async def pump(reader, writer, delay):
        try:
            while data := await reader.read(1 << 18):
                if delay:
                    await asyncio.sleep(delay)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back, DELAY_SECONDS), pump(there, writer, 0))

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextlib.contextmanager
def distance(port):
    """A proxy that lets every request wait, in a process of its own; yields its port."""
    ready, told = multiprocessing.Pipe(duplex=False)
    proxy = multiprocessing.get_context("spawn").Process(target=wait_between, args=(port, told), daemon=True)
    proxy.start()
    try:
        yield ready.recv()
    finally:
        proxy.kill()
        proxy.join()


def rate_of_windows(tilefleet, source, model, threads):
    """Runs the pipeline; returns windows a second.

    - `tilefleet(input, model, *settings)`: runs it; returns its report and its peak memory
    """
    report, _ = tilefleet(source, model, "tiles.grid=regular", f"run.threads={threads}", "plan.shard_tiles=1024")
    now = report["this_process"]
    return now["settled"] / now["seconds"]


@contextlib.contextmanager
def far_away(weed, scene):
    """Serves the scene from a store 20 ms away, and sets the environment so that all find it."""
    with s3_server(weed, [scene]) as port, distance(port) as far:
        ours_environment = KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{far}", "AWS_ALLOW_HTTP": "true"}
        theirs = {"AWS_S3_ENDPOINT": f"127.0.0.1:{far}", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
        theirs |= {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_HTTP_MULTIPLEX": "YES", "AWS_REGION": "us-east-1"}
        theirs |= {"GDAL_INGESTED_BYTES_AT_OPEN": "32768", "VSI_CACHE": "FALSE"}
        os.environ.update(ours_environment | theirs | {"AWS_DEFAULT_REGION": "us-east-1"})
        yield


def titles(threads):
    """What is measured: the local file, and the same from a store."""
    title = f"(windows) {SCENE}×{SCENE}×{BANDS} uint16 deflate COG, {threads} threads, a local file, in windows"
    return title, f"(windows) the same from SeaweedFS, {1000 * DELAY_SECONDS:.0f} ms away, in windows"


def measure(work, weed, tilefleet, alternate, rounds, threads):
    """Prints the ratios over rasterio."""
    model, scene = make_model(work), make_scene(work / "scene.tif", SCENE)
    scene.read_bytes()

    def ours(source):
        return rate_of_windows(tilefleet, source, model, threads)

    def job(source):
        command = [sys.executable, PEER, source, model, work / "peer.parquet", str(SIDE), "--threads", str(threads)]
        answer = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE)
        return json.loads(answer.stdout)["windows_per_second"]

    def beside(title, source, theirs):
        alternate(title, rounds, tilefleet=lambda: ours(source), job=lambda: job(theirs))
        alternate(
            f"{title}, rasterio reading alone",
            rounds,
            tilefleet=lambda: ours(source),
            reading=lambda: rasterio_rate(theirs, threads, SCENE),
        )

    local, remote = titles(threads)
    beside(local, scene, scene)
    with far_away(weed, scene):
        beside(remote, f"s3://scenes/{scene.name}", f"/vsis3/scenes/{scene.name}")


def measure_before(work, weed, tilefleet, earlier, alternate, rounds, threads):
    """Prints the ratios over an earlier build."""
    model, scene = make_model(work), make_scene(work / "scene.tif", SCENE)
    scene.read_bytes()

    def beside(title, source):
        alternate(
            f"{title}, this build and an earlier one",
            rounds,
            now=lambda: rate_of_windows(tilefleet, source, model, threads),
            before=lambda: rate_of_windows(earlier, source, model, threads),
        )

    local, remote = titles(threads)
    beside(local, scene)
    with far_away(weed, scene):
        beside(remote, f"s3://scenes/{scene.name}")


def memory(work, tilefleet, rounds):
    """Prints peak memory of a small scene, of a hundred of them, and of one as large as those."""
    model = make_model(work)
    settings = ["tiles.grid=regular", "plan.shard_tiles=256", "run.memory=32MiB", "run.batch=4"]
    print(f"(scenes) peak memory, almost-free model, {', '.join(settings[1:])}, {rounds} rounds in turns")
    # In a process of its own: what a parent held when it forked counts as its child's peak.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        small, large = pool.starmap(make_scene, [(work / f"scene-{side}.tif", side) for side in (4_000, 40_000)])
    hundred = work / "scenes-4000"
    hundred.mkdir(exist_ok=True)
    for number in range(100):
        link = hundred / f"{number:02}.tif"
        if not link.exists():
            os.link(small, link)
    inputs = {"one of 4,000 pixels a side": small, "a hundred of them": hundred, "one of 40,000": large}
    peaks, windows = {name: [] for name in inputs}, {}
    for _ in range(rounds):
        for name, source in inputs.items():
            report, peak = tilefleet(source, model, *settings)
            peaks[name].append(peak / 2**20)
            windows[name] = report["summary"]["tiles"]
    medians = {name: statistics.median(found) for name, found in peaks.items()}
    for name, found in peaks.items():
        spread = f"{min(found):.1f} to {max(found):.1f}"
        print(f"  {name:<28} {windows[name]:>6} windows   {medians[name]:8.1f} MiB  ({spread})")
    print(f"  the large over the small one       {medians['one of 40,000'] / medians['one of 4,000 pixels a side']:8.3f}")
