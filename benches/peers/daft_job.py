"""The same job in Daft, in its documented form: glob, `download`, functions over batches, `write_parquet`.

What was tried on 2 cores, almost-free model, 2,000 images, on Daft's own runner (the default):

- decoding in a `@daft.func.batch` ahead of the session's `@daft.cls` is a third faster than decoding inside
  the class, even with a thread pool there; it lets Daft run the two side by side
- two sessions of one thread each (`max_concurrency` 2), and `use_process`, gain nothing; with ResNet-152
  two sessions are a tenth faster
- batches of 16, 32, 64, 128, and Parquet with or without Snappy: no difference beyond the noise
- row by row (`@daft.func`) is about 5 % slower; it is used where one bad row must not take its batch along

`--decoder daft` takes Daft's own `decode_image` instead of Pillow, so its pixels differ; it is here for what
it does with a truncated image. Resuming is an anti-join with the rows that are there, before anything is
downloaded; `skip_existing` and checkpoints do the same, on the Ray runner only.

Prints one line of JSON. The clock runs from the first call on the data to the closed table: imports do not
count, loading the model is taken off.
"""

import argparse
import io
import json
import os
import tempfile
import time

os.environ.update(DO_NOT_TRACK="1", DAFT_PROGRESS_BAR="0")

import daft
import numpy as np
import pyarrow as pa
from daft import DataType, col
from daft.functions import decode_image, download
from PIL import Image

import chips

CHIP = DataType.tensor(DataType.uint8(), (chips.SIDE, chips.SIDE, 3))
EMBEDDING = DataType.fixed_size_list(DataType.float32(), chips.EMBEDDING_LENGTH)


def decoder_of_batches(size, on_error):
    @daft.func.batch(return_dtype=CHIP, batch_size=size, on_error=on_error)
    def decode(encoded):
        return list(chips.chips_from_bytes(encoded.to_arrow()))

    return decode


def decoder_of_rows(on_error):
    @daft.func(return_dtype=CHIP, on_error=on_error)
    def decode(encoded: bytes):
        chip = np.empty((chips.SIDE, chips.SIDE, 3), np.uint8)
        chips.decode_into(chip, io.BytesIO(encoded))
        return chip

    return decode


@daft.func(return_dtype=CHIP)
def crop(image: np.ndarray):
    """Resizes and crops what Daft decoded."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "bmp")
    chip = np.empty((chips.SIDE, chips.SIDE, 3), np.uint8)
    chips.decode_into(chip, file)
    return chip


def embedder(arguments, load_log):
    @daft.cls(max_concurrency=arguments.sessions)
    class Embed:
        """Chips to embeddings; a chip that is null stays null."""

        def __init__(self):
            threads = max(1, arguments.threads // arguments.sessions)
            self.session = chips.open_session(arguments.model, threads, load_log)

        @daft.method.batch(return_dtype=EMBEDDING, batch_size=arguments.batch)
        def __call__(self, column):
            column = column.to_arrow()
            storage = column.storage if isinstance(column, pa.ExtensionArray) else column
            good = storage.drop_null()
            if not len(good):
                return pa.nulls(len(storage), EMBEDDING.to_arrow_dtype())
            batch = good.flatten().to_numpy().reshape(-1, chips.SIDE, chips.SIDE, 3)
            embeddings = chips.embed(self.session, batch)
            if len(good) == len(storage):
                return embeddings
            valid = storage.is_valid().to_numpy(zero_copy_only=False)
            places = pa.array(np.where(valid, np.cumsum(valid) - 1, 0), mask=~valid)
            return embeddings.take(places)

    return Embed()


def store(endpoint):
    """Returns the configuration of an S3 endpoint; None is the local file system."""
    if not endpoint:
        return None
    return daft.io.IOConfig(
        s3=daft.io.S3Config(endpoint_url=endpoint, anonymous=True, region_name="us-east-1", use_ssl=False)
    )


def without_existing(rows, out):
    """Drops the rows that are in the table; a file cut short by a kill counts as nothing."""
    if not os.path.isdir(out) or not os.listdir(out):
        return rows
    existing = daft.read_parquet(f"{out}/*.parquet", ignore_corrupt_files=True).select("path")
    return rows.join(existing, on="path", how="anti")


def decoded(arguments):
    """Returns the expression of the chips."""
    on_error = "log" if arguments.tolerate else "raise"
    if arguments.decoder == "daft":
        return crop(decode_image(col("encoded"), on_error="null" if arguments.tolerate else "raise"))
    if arguments.decoder == "rows":
        return decoder_of_rows(on_error)(col("encoded"))
    return decoder_of_batches(arguments.batch, on_error)(col("encoded"))


def run(arguments):
    num_images = len(os.listdir(arguments.images))
    folder = "s3://bench/images" if arguments.endpoint else arguments.images
    with tempfile.TemporaryDirectory() as logs:
        load_log = os.path.join(logs, "loads")
        embed = embedder(arguments, load_log)
        started, start = time.time(), time.perf_counter()
        config = store(arguments.endpoint)
        rows = daft.from_glob_path(f"{folder}/*.jpg", io_config=config).select("path")
        if arguments.resume:
            rows = without_existing(rows, arguments.out)
        rows = rows.with_column("encoded", download(col("path"), io_config=config))
        rows = rows.with_column("embedding", embed(decoded(arguments)))
        rows.select("path", "embedding").write_parquet(arguments.out)
        seconds = time.perf_counter() - start - chips.loading_seconds(load_log)
    return {"images_per_second": round(num_images / seconds, 3), "started": started, "seconds": seconds}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("images")
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sessions", type=int, default=1, help="max_concurrency; they share the threads")
    parser.add_argument("--decoder", choices=("batches", "rows", "daft"), default="batches")
    parser.add_argument("--tolerate", action="store_true", help="on_error: log, and go on")
    parser.add_argument("--resume", action="store_true", help="leave out what the table has")
    parser.add_argument("--file-bytes", type=int, help="parquet_target_filesize; Daft's default is 512 MB")
    parser.add_argument("--endpoint", help="read from the bucket `bench` of this S3 server instead")
    arguments = parser.parse_args()
    daft.set_runner_native()
    if arguments.file_bytes:
        daft.set_execution_config(
            parquet_target_filesize=arguments.file_bytes, parquet_target_row_group_size=arguments.file_bytes
        )
    print(json.dumps(run(arguments)))


if __name__ == "__main__":
    main()
