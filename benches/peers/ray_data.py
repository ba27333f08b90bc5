"""The same job in Ray Data, in its documented form: read, `map_batches` over actors, `write_parquet`.

What was tried on 2 cores, almost-free model, 2,000 images:

- `override_num_blocks`: by default 38 blocks, and as many files; 8 blocks are a third faster
- decoding in tasks of their own before the actors (`map_batches(decode)`) is a fifth slower than decoding in
  the actors, since chips then travel through the object store
- actors hold half a logical CPU each: two that hold a whole one leave none for reading, and the job hangs
- batches of 16, 32, 64: no difference beyond the noise
- two actors with a session of one thread each: no difference; with ResNet-152 a quarter faster

Two ways to name the inputs, both documented:

- `--source files`: `read_binary_files`, which reads before a checkpoint's filter can drop a row
- `--source uris`: `read_parquet` of a list of paths, then `download()`, which a checkpoint's filter precedes;
  half as fast here, with and without obstore

Prints one line of JSON. The clock runs from the first call on the data to the closed table: imports and the
start of the cluster do not count, the start of the actors does, loading the model is taken off.
"""

import argparse
import json
import os
import tempfile
import time

os.environ.update(RAY_USAGE_STATS_ENABLED="0")

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import ray
from ray.data.checkpoint import CheckpointConfig
from ray.data.expressions import download

import chips

ROWS_A_BLOCK, FEWEST_BLOCKS = 250, 4
MORE_ACTORS = 12  # a checkpoint's filter grows to ten


class Embed:
    """Encoded images to embeddings; each actor keeps one session."""

    def __init__(self, model, threads, load_log):
        self.session = chips.open_session(model, threads, load_log)

    def __call__(self, batch):
        embeddings = chips.embed(self.session, chips.chips_from_bytes(batch["bytes"]))
        return pa.table({"path": batch["path"], "embedding": embeddings})


def store(endpoint):
    """Returns the file system of an S3 endpoint; None is the local one."""
    if not endpoint:
        return None
    address = endpoint.removeprefix("http://")
    where = {"endpoint_override": address, "scheme": "http", "region": "us-east-1"}
    return pyarrow.fs.S3FileSystem(anonymous=True, **where)


def read_files(arguments, num_blocks):
    folder = "bench/images" if arguments.endpoint else arguments.images
    return ray.data.read_binary_files(
        folder, include_paths=True, filesystem=store(arguments.endpoint), override_num_blocks=num_blocks
    )


def read_uris(arguments, num_blocks):
    prefix = "s3://bench/images" if arguments.endpoint else f"file://{arguments.images}"
    paths = [f"{prefix}/{name}" for name in sorted(os.listdir(arguments.images))]
    pq.write_table(pa.table({"path": paths}), f"{arguments.out}.paths.parquet", row_group_size=ROWS_A_BLOCK)
    rows = ray.data.read_parquet(f"{arguments.out}.paths.parquet", override_num_blocks=num_blocks)
    return rows.with_column("bytes", download("path", filesystem=store(arguments.endpoint)))


def configure(arguments):
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if arguments.block_bytes:
        context.target_max_block_size = context.target_min_block_size = arguments.block_bytes
    if arguments.tolerate:
        context.max_errored_blocks = -1
    if arguments.checkpoint:
        context.checkpoint_config = CheckpointConfig(
            id_column="path", checkpoint_path=arguments.checkpoint, delete_checkpoint_on_success=False
        )


def run(arguments):
    num_images = len(os.listdir(arguments.images))
    num_blocks = arguments.blocks or max(FEWEST_BLOCKS, num_images // ROWS_A_BLOCK)
    with tempfile.TemporaryDirectory() as logs:
        load_log = os.path.join(logs, "loads")
        started, start = time.time(), time.perf_counter()
        rows = (read_uris if arguments.source == "uris" else read_files)(arguments, num_blocks)
        rows = rows.map_batches(
            Embed,
            fn_constructor_args=(arguments.model, max(1, arguments.threads // arguments.actors), load_log),
            batch_size=arguments.batch,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=arguments.actors),
            num_cpus=0.5,
        )
        rows.write_parquet(arguments.out)
        seconds = time.perf_counter() - start - chips.loading_seconds(load_log)
    return {"images_per_second": round(num_images / seconds, 3), "started": started, "seconds": seconds}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("images")
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--blocks", type=int, help="instead of a block every 250 images, four at least")
    parser.add_argument("--block-bytes", type=int, help="target_max_block_size; Ray's default is 128 MiB")
    parser.add_argument("--source", choices=("files", "uris"), default="files")
    parser.add_argument("--tolerate", action="store_true", help="max_errored_blocks = -1")
    parser.add_argument("--checkpoint", help="CheckpointConfig's folder")
    parser.add_argument("--endpoint", help="read from the bucket `bench` of this S3 server instead")
    parser.add_argument("--temp", help="for Ray's sockets and logs; a short path")
    arguments = parser.parse_args()
    # `download()` and a checkpoint's filter add actors that hold a logical CPU each: on two, the job hangs.
    more = arguments.source == "uris" or arguments.checkpoint
    num_cpus = arguments.threads + (MORE_ACTORS if more else 0)
    ray.init(
        num_cpus=num_cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=arguments.temp,
    )
    try:
        configure(arguments)
        print(json.dumps(run(arguments)))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
