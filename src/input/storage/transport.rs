//! What carries requests: an HTTP client that follows no redirect by itself and says to nobody where it came from.
//!
//! A client that follows redirects on its own sends signed headers and session tokens on to other hosts, and a
//! token in the query as `Referer`. So each redirect comes back here and is looked at by [`super::redirect`].

use std::net::ToSocketAddrs as _;
use std::time::{Duration, SystemTime};

use object_store::client::HttpClient;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

/// Makes a client.
///
/// - `allow_http`: whether it may ask without TLS
/// - `proxies`: whether it asks through those of the environment
///
/// # Errors
///
/// As the TLS library, which finds no certificates.
pub(super) fn client(
    allow_http: bool,
    connect_timeout: Duration,
    proxies: bool,
) -> Result<HttpClient, reqwest::Error> {
    let builder = reqwest::ClientBuilder::new();
    let builder = if proxies { builder } else { builder.no_proxy() };
    let client = builder
        .user_agent(concat!("tilefleet/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .https_only(!allow_http)
        .redirect(Policy::none())
        .referer(false)
        .dns_resolver(std::sync::Arc::new(Turning))
        .build()?;
    Ok(HttpClient::new(client))
}

/// Asks the system for addresses and begins with another of them each time, so that requests spread over them.
#[derive(Debug)]
struct Turning;

impl Resolve for Turning {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || (name.as_str(), 0).to_socket_addrs()).await??;
            let mut addresses: Vec<_> = found.collect();
            let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let first = nanos.subsec_nanos() as usize % addresses.len().max(1);
            addresses.rotate_left(first);
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
