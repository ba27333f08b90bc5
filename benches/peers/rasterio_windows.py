"""The peer for scenes: the job of `tilefleet run` over a COG, written with rasterio, and written well.

Each reader has a handle of its own and a run of neighbouring rows of windows, so that no block is decoded twice
for want of room; GDAL converts the samples on the way into the batch. ONNX Runtime runs a batch at a time, and
pyarrow writes one Parquet file with the place of each window and its embedding. Every library releases the
interpreter's lock while it works.

python benches/peers/rasterio_windows.py SCENE MODEL OUT.parquet SIDE [--batch N] [--threads N]

prints one line of JSON. The clock runs from the opening of the scene to the closed table; imports and loading
the model do not count.
"""

import argparse
import json
import queue
import threading
import time

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
from rasterio.windows import Window

BATCHES_AHEAD = 4


def starts(length, side):
    last = length - side
    return sorted({*range(0, last + 1, side), last})


def read(scene, side, size, rows, batches):
    """Reads some rows of windows; puts batches with their places into a queue, and nothing at the end."""
    with rasterio.open(scene) as file:
        places = [(x, y) for y in rows for x in starts(file.width, side)]
        for first in range(0, len(places), size):
            part = places[first : first + size]
            batch = np.empty((len(part), file.count, side, side), np.float32)
            for slot, (x, y) in zip(batch, part):
                file.read(out=slot, window=Window(x, y, side, side))
            batches.put((part, batch))
    batches.put(None)


def run(arguments):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    start = time.perf_counter()
    with rasterio.open(arguments.scene) as file:
        rows = starts(file.height, arguments.side)
    batches = queue.Queue(BATCHES_AHEAD)
    shares = [
        rows[len(rows) * part // arguments.threads : len(rows) * (part + 1) // arguments.threads]
        for part in range(arguments.threads)
    ]
    readers = [
        threading.Thread(target=read, args=(arguments.scene, arguments.side, arguments.batch, share, batches))
        for share in shares
    ]
    for reader in readers:
        reader.start()
    places, embeddings, left = [], [], len(readers)
    while left:
        filled = batches.get()
        if filled is None:
            left -= 1
            continue
        places += filled[0]
        embeddings.append(session.run(["embedding"], {"input": filled[1]})[0])
    values = np.concatenate(embeddings)
    columns = {
        "x": pa.array([x for x, _ in places], pa.int32()),
        "y": pa.array([y for _, y in places], pa.int32()),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]),
    }
    pq.write_table(pa.table(columns), arguments.out)
    return {"windows_per_second": round(len(places) / (time.perf_counter() - start), 3)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("scene")
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("side", type=int)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    print(json.dumps(run(parser.parse_args())))


if __name__ == "__main__":
    main()
