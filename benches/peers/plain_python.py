"""The peer: what one would write in Python for the same job, and write well.

Pillow decodes and resizes (bilinear, short side 256, centre crop 224) on two threads, straight into the
arrays of the batches ahead; ONNX Runtime runs one batch at a time; pyarrow writes one Parquet file, a row
group at a time on a thread of its own. Every library releases the interpreter's lock while it works.

python benches/peers/plain_python.py IMAGES MODEL OUT.parquet [--batch N] [--threads N]

prints one line of JSON. The clock runs from the first file to the closed table; imports and loading the
model do not count.
"""

import argparse
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SHORT_SIDE, SIDE = 256, 224
DECODE_THREADS = 2
BATCHES_AHEAD = 4
BATCHES_A_ROW_GROUP = 64


def decode_into(slot, path):
    with Image.open(path) as image:
        image = image.convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    width, height = (max(SHORT_SIDE, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    slot[...] = image.crop((left, top, left + SIDE, top + SIDE))


def open_session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def batches(paths, size, pool):
    """Yields filled batches in order, some of them being decoded ahead."""
    starts = iter(range(0, len(paths), size))
    ahead = []

    def begin():
        start = next(starts, None)
        if start is not None:
            part = paths[start : start + size]
            batch = np.empty((len(part), SIDE, SIDE, 3), np.uint8)
            ahead.append((part, batch, [pool.submit(decode_into, *pair) for pair in zip(batch, part)]))

    for _ in range(BATCHES_AHEAD):
        begin()
    while ahead:
        part, batch, futures = ahead.pop(0)
        for future in futures:
            future.result()
        begin()
        yield part, batch


def record_batch(part, embeddings, schema):
    values = pa.array(embeddings.reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(values, embeddings.shape[1])
    return pa.record_batch([pa.array(part, pa.string()), column], schema=schema)


def run(images, model, out, size, threads):
    session = open_session(model, threads)
    name, length = session.get_inputs()[0].name, session.get_outputs()[0].shape[1]
    schema = pa.schema([("source", pa.string()), ("embedding", pa.list_(pa.float32(), length))])
    start = time.perf_counter()
    paths = sorted(entry.path for entry in os.scandir(images))
    group, written = [], None
    with (
        ThreadPoolExecutor(DECODE_THREADS) as decoders,
        ThreadPoolExecutor(1) as writer,
        pq.ParquetWriter(out, schema, use_dictionary=False, write_statistics=["source"]) as table,
    ):
        def flush():
            nonlocal group, written
            if written is not None:
                written.result()
            rows, group = pa.Table.from_batches(group, schema), []
            written = writer.submit(table.write_table, rows, row_group_size=len(rows))

        for part, batch in batches(paths, size, decoders):
            (embeddings,) = session.run(None, {name: batch})
            group.append(record_batch(part, embeddings, schema))
            if len(group) == BATCHES_A_ROW_GROUP:
                flush()
        if group:
            flush()
        written.result()
    return len(paths) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    rate = run(arguments.images, arguments.model, arguments.out, arguments.batch, arguments.threads)
    print(json.dumps({"images_per_second": round(rate, 3)}))


if __name__ == "__main__":
    main()
