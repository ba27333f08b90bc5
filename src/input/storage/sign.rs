//! Tokens that some archives want in the URL of a request (shared access signatures).
//!
//! A source is named by its plain URL, in the plan, the rows and every message. Only the request that leaves
//! this process carries a token: one a container, fetched from the archive's service when it is first
//! needed, kept until shortly before it expires, and fetched anew once if the store refuses it.
//!
//! ```text
//! object_store ─▶ Patient ─▶ Signer adds ?token ─▶ HTTP
//!                              └▶ token service (a token a container, cached)
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::Uri;
use http::uri::PathAndQuery;
use object_store::client::{HttpError, HttpErrorKind};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as AsyncMutex;

use super::credentials::{NoCredentials, Remedy, renew_at};
use super::options::check_endpoint;
use super::redact::redact;
use super::web::Web;
use crate::vocabulary::error::{Error, Kind, Result};

/// How long a token is kept whose end is not told.
const SHORT_LIFE: Duration = Duration::from_mins(5);
/// The longest answer of a token service, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// `sign_endpoint` and `sign_hosts` of `[storage]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignOptions {
    /// Where a token is to be had; `{account}` is the first part of the host's name, `{container}` the first of
    /// the path, such as `https://planetarycomputer.microsoft.com/api/sas/v1/token/{account}/{container}`.
    pub endpoint: String,
    /// The hosts whose requests get a token; `*.` stands for any one name.
    #[serde(default = "default_hosts")]
    pub hosts: Vec<String>,
}

fn default_hosts() -> Vec<String> {
    vec!["*.blob.core.windows.net".to_owned()]
}

impl SignOptions {
    /// Checks what can be checked without a connection.
    ///
    /// # Errors
    ///
    /// `Config` if the endpoint is not a URL, carries credentials or a query, or no host is named.
    pub(super) fn check(&self) -> Result<()> {
        check_endpoint("storage.sign_endpoint", &self.endpoint)?;
        let is_wild = self.hosts.iter().any(|host| host.starts_with("*."));
        if is_wild && !self.endpoint.contains("{account}") {
            return Err(Error::config(
                "`storage.sign_endpoint` gets one token for all of `storage.sign_hosts`",
            )
            .because("the token would be sent to any host that matches, and STAC items name hosts")
            .hint("name the hosts one by one, or put {account} into the endpoint"));
        }
        if self.hosts.is_empty() {
            return Err(
                Error::config("`storage.sign_hosts` is empty").hint("leave it out, or name the hosts")
            );
        }
        Ok(())
    }

    /// Returns whether requests to this host, with its port, get a token.
    pub(super) fn covers(&self, host: &str) -> bool {
        self.hosts.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => {
                host.split_once('.').is_some_and(|(name, rest)| !name.is_empty() && rest == parent)
            }
            None => pattern == host,
        })
    }
}

/// Adds tokens to requests.
pub(super) struct Signer {
    endpoint: String,
    web: Web,
    containers: Mutex<HashMap<String, Arc<AsyncMutex<Option<Token>>>>>,
}

/// A token; has no `Debug` on purpose.
#[derive(Clone)]
struct Token {
    query: String,
    renew_at: SystemTime,
}

/// What a token service answers: Planetary Computer's words, and plainer ones.
#[derive(Deserialize)]
struct TokenAnswer {
    token: String,
    #[serde(rename = "msft:expiry", alias = "expiry", alias = "expires")]
    expiry: Option<String>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Prepares a signer; `web` asks the token service.
    pub(super) fn new(options: &SignOptions, web: Web) -> Self {
        Self { endpoint: options.endpoint.clone(), web, containers: Mutex::default() }
    }

    /// Returns the URI with a token, and the token, to forget it by.
    ///
    /// # Errors
    ///
    /// [`NoCredentials`] inside, if no token can be had.
    pub(super) async fn signed(&self, uri: &Uri) -> Result<(Uri, String), HttpError> {
        let place = Place::of(uri).ok_or_else(|| refused("the URL names no container".to_owned(), false))?;
        let query = self.token(&place).await.map_err(|error| {
            let why = std::iter::once(error.to_string()).chain(error.causes()).collect::<Vec<_>>().join(": ");
            let detail = format!("no token for {}/{}: {}", place.account, place.container, redact(&why));
            refused(detail, error.kind() == Kind::Unavailable)
        })?;
        let signed = with_query(uri, &query)
            .ok_or_else(|| refused("the token cannot be put into a URL".to_owned(), false))?;
        Ok((signed, query))
    }

    /// Forgets a token that a store has refused; returns whether another might be accepted.
    pub(super) async fn forget(&self, uri: &Uri, query: &str) -> bool {
        let Some(place) = Place::of(uri) else { return false };
        let slot = self.slot(&place);
        let mut token = slot.lock().await;
        if token.as_ref().is_some_and(|known| known.query == query) {
            *token = None;
        }
        true
    }

    /// Requests for one container wait for one token, those for others do not.
    async fn token(&self, place: &Place) -> Result<String> {
        let slot = self.slot(place);
        let mut token = slot.lock().await;
        if let Some(known) = token.as_ref().filter(|known| known.renew_at > SystemTime::now()) {
            return Ok(known.query.clone());
        }
        let fresh = self.fetch(place).await?;
        let query = fresh.query.clone();
        *token = Some(fresh);
        Ok(query)
    }

    fn slot(&self, place: &Place) -> Arc<AsyncMutex<Option<Token>>> {
        let key = format!("{}/{}", place.account, place.container);
        Arc::clone(self.containers.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
    }

    async fn fetch(&self, place: &Place) -> Result<Token> {
        let url = self.endpoint.replace("{account}", &place.account).replace("{container}", &place.container);
        let answer = self.web.get(&url, MAX_BYTES).await?;
        if !answer.is_success() {
            return Err(Error::config(format!("the token service answered {}", answer.status)));
        }
        // A cause could repeat the token.
        let no_token = |_| Error::config("the answer of the token service holds no token");
        let answer: TokenAnswer = serde_json::from_slice(&answer.body).map_err(no_token)?;
        let renewed = answer.expiry.as_deref().map(renew_at);
        Ok(Token {
            query: answer.token.trim_start_matches('?').to_owned(),
            renew_at: renewed.unwrap_or_else(|| SystemTime::now() + SHORT_LIFE),
        })
    }
}

/// Account and container of a URL.
struct Place {
    account: String,
    container: String,
}

impl Place {
    fn of(uri: &Uri) -> Option<Self> {
        let account = uri.host()?.split('.').next()?.to_owned();
        let container = uri.path().split('/').find(|part| !part.is_empty())?.to_owned();
        Some(Self { account, container })
    }
}

fn with_query(uri: &Uri, query: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let joint = uri.query().map_or_else(String::new, |own| format!("{own}&"));
    let path_and_query: PathAndQuery = format!("{}?{joint}{query}", uri.path()).parse().ok()?;
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts).ok()
}

fn refused(detail: String, later: bool) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, NoCredentials::new(detail, Remedy::of(later)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(hosts: &[&str]) -> SignOptions {
        SignOptions {
            endpoint: "https://tokens.example/{account}/{container}".to_owned(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        }
    }

    #[test]
    fn hosts_are_covered_by_name() {
        let options = options(&["*.blob.core.windows.net", "localhost:8080"]);
        for (host, covered) in [
            ("sentinel2l2a01.blob.core.windows.net", true),
            ("a.b.blob.core.windows.net", false),
            ("blob.core.windows.net", false),
            ("evil.example", false),
            ("localhost:8080", true),
            ("localhost", false),
        ] {
            assert_eq!(options.covers(host), covered, "{host}");
        }
    }

    #[test]
    fn the_token_goes_behind_the_path() {
        let uri: Uri = "https://acct.blob.core.windows.net/box/a%20b.tif".parse().unwrap();
        let place = Place::of(&uri).unwrap();
        assert_eq!((place.account.as_str(), place.container.as_str()), ("acct", "box"));
        let signed = with_query(&uri, "sv=1&sig=a%2Fb").unwrap();
        assert_eq!(signed, "https://acct.blob.core.windows.net/box/a%20b.tif?sv=1&sig=a%2Fb");
        let signed = with_query(&"https://h/box?x=1".parse().unwrap(), "sig=1").unwrap();
        assert_eq!(signed, "https://h/box?x=1&sig=1");
        assert!(with_query(&uri, "a b\n").is_none());
    }

    #[test]
    fn an_endpoint_holds_no_secret() {
        let mut secret = options(&["h"]);
        secret.endpoint = "https://me:SECRET@host/{account}".to_owned();
        assert!(!secret.check().unwrap_err().render().contains("SECRET"));
        assert!(options(&[]).check().is_err());
        assert!(options(&["h"]).check().is_ok());
    }
}
