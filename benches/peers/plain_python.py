"""The peer: what one would write in Python for the same job, and write well.

Pillow decodes and resizes (bilinear, short side 256, centre crop 224) on two threads, straight into the
arrays of the batches ahead; ONNX Runtime runs a batch at a time in each session; pyarrow writes one Parquet
file, a row group at a time on a thread of its own. Every library releases the interpreter's lock while it
works.

python benches/peers/plain_python.py IMAGES MODEL OUT.parquet [--batch N] [--threads N] [--sessions N]

prints one line of JSON. The clock runs from the first file to the closed table; imports and loading the
model do not count.
"""

import argparse
import json
import os
import queue
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import ImageFile

import chips

DECODE_THREADS = 2
BATCHES_AHEAD = 4
BATCHES_A_ROW_GROUP = 64


def decode_into(slot, path):
    chips.decode_into(slot, chips.fetch(path) if path.startswith("http://") else path)


def batches(paths, size, pool):
    """Yields filled batches in order, some of them being decoded ahead."""
    starts = iter(range(0, len(paths), size))
    ahead = []

    def begin():
        start = next(starts, None)
        if start is not None:
            part = paths[start : start + size]
            batch = np.empty((len(part), chips.SIDE, chips.SIDE, 3), np.uint8)
            ahead.append((part, batch, [pool.submit(decode_into, *pair) for pair in zip(batch, part)]))

    for _ in range(BATCHES_AHEAD):
        begin()
    while ahead:
        part, batch, futures = ahead.pop(0)
        for future in futures:
            future.result()
        begin()
        yield part, batch


def embedded(filled, sessions):
    """Yields the batches with their embeddings, in order; as many are under way as there are sessions."""
    idle = queue.SimpleQueue()
    for session in sessions:
        idle.put(session)

    def embed(batch):
        session = idle.get()
        try:
            return chips.embed(session, batch)
        finally:
            idle.put(session)

    with ThreadPoolExecutor(len(sessions)) as pool:
        ahead = []
        for part, batch in filled:
            ahead.append((part, pool.submit(embed, batch)))
            if len(ahead) > len(sessions):
                part, embeddings = ahead.pop(0)
                yield part, embeddings.result()
        for part, embeddings in ahead:
            yield part, embeddings.result()


def list_images(images, endpoint):
    """Returns the paths of a folder's files, or their URLs where a store serves the folder's parent."""
    paths = sorted(entry.path for entry in os.scandir(images))
    if endpoint:
        paths = [f"{endpoint}/bench/images/{os.path.basename(path)}" for path in paths]
    return paths


def run(arguments):
    threads = max(1, arguments.threads // arguments.sessions)
    sessions = [chips.open_session(arguments.model, threads) for _ in range(arguments.sessions)]
    embedding = pa.list_(pa.float32(), chips.EMBEDDING_LENGTH)
    schema = pa.schema([("source", pa.string()), ("embedding", embedding)])
    started, start = time.time(), time.perf_counter()
    paths = list_images(arguments.images, arguments.endpoint)
    group, written = [], None
    with (
        ThreadPoolExecutor(DECODE_THREADS) as decoders,
        ThreadPoolExecutor(1) as writer,
        pq.ParquetWriter(arguments.out, schema, use_dictionary=False, write_statistics=["source"]) as table,
    ):
        def flush():
            nonlocal group, written
            if written is not None:
                written.result()
            rows, group = pa.Table.from_batches(group, schema), []
            written = writer.submit(table.write_table, rows, row_group_size=len(rows))

        for part, embeddings in embedded(batches(paths, arguments.batch, decoders), sessions):
            columns = [pa.array(part, pa.string()), embeddings]
            group.append(pa.record_batch(columns, schema=schema))
            if len(group) == BATCHES_A_ROW_GROUP:
                flush()
        if group:
            flush()
        if written is not None:
            written.result()
    seconds = time.perf_counter() - start
    return {"images_per_second": round(len(paths) / seconds, 3), "started": started, "seconds": seconds}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("images")
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sessions", type=int, default=1, help="they share the threads")
    parser.add_argument("--tolerate", action="store_true", help="LOAD_TRUNCATED_IMAGES")
    parser.add_argument("--endpoint", help="read the images from this HTTP server instead")
    arguments = parser.parse_args()
    ImageFile.LOAD_TRUNCATED_IMAGES = arguments.tolerate
    print(json.dumps(run(arguments)))


if __name__ == "__main__":
    main()
