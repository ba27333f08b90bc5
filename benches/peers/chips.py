"""What every Python peer does alike, so that only the frameworks differ: pixels, session, column.

Pixels are those of tilefleet and torchvision: Pillow decodes, resizes (bilinear, short side 256, the long
side cut off, not rounded) and crops 224 from the centre, as uint8 [height, width, band]. One embedding is a
fixed-size list of float32.
"""

import io
import os
import time
import urllib.request

import numpy as np
import onnxruntime
import pyarrow as pa
from PIL import Image

SHORT_SIDE, SIDE = 256, 224
EMBEDDING_LENGTH = 2048  # of ResNet-152 and of the almost-free model


def decode_into(slot, file):
    """Fills `slot`, uint8 [224, 224, 3], from a path or a file object."""
    with Image.open(file) as image:
        image = image.convert("RGB")
    short = min(image.size)
    width, height = (SHORT_SIDE * side // short for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - SIDE) / 2), round((height - SIDE) / 2)
    slot[...] = image.crop((left, top, left + SIDE, top + SIDE))


def chips_from_bytes(encoded):
    """Returns uint8 [n, 224, 224, 3] of `n` encoded images, an Arrow array of binary."""
    chips = np.empty((len(encoded), SIDE, SIDE, 3), np.uint8)
    for slot, value in zip(chips, encoded):
        decode_into(slot, io.BytesIO(value.as_buffer()))
    return chips


def fetch(url):
    with urllib.request.urlopen(url) as reply:
        return io.BytesIO(reply.read())


def open_session(model, threads, load_log=None):
    """Loads the model.

    Frameworks load it inside the job: the seconds that it took are appended to the file `load_log`.
    """
    start = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    if load_log:
        with open(load_log, "a") as log:
            log.write(f"{time.perf_counter() - start}\n")
    return session


def loading_seconds(load_log):
    """Returns the longest loading; sessions that are loaded side by side count once."""
    if not os.path.exists(load_log):
        return 0.0
    with open(load_log) as log:
        return max(map(float, log), default=0.0)


def embed(session, chips):
    """Returns the embeddings of `chips`, uint8 [n, 224, 224, 3], as an Arrow fixed-size list column."""
    (embeddings,) = session.run(["embedding"], {session.get_inputs()[0].name: chips})
    return pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), embeddings.shape[1])
