//! An HTTP client that gives a store a limited time to answer.
//!
//! `object_store` can only limit a request as a whole, streamed body included: thirty seconds are too
//! long for a store that is away and too short for a large shard over a slow line. Here a request
//! may take a fixed time plus what its body needs at a slow but working line; answers that are
//! streamed are watched by [`super::Bucket`], piece by piece. Pages of listings pass through whole, so
//! keys that `object_store` stumbles over are replaced here, too.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use http::{Method, Uri};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};

use super::redirect::{Asked, Astray, MAX_HOPS, Redirects};
use super::sign::Signer;
use super::transport;
use super::unaddressable_keys;

/// The length of an answer that announces none: `object_store` wants one.
pub(super) const UNKNOWN_SIZE: u64 = u64::MAX;

/// A line slower than this counts as not working, in bytes per second.
const SLOWEST_LINE: u64 = 256 << 10;

/// Makes clients that wait for `limit`, and longer for large request bodies.
#[derive(Debug)]
pub(super) struct RequestTimeout {
    /// How long a store may take to answer a request without a body.
    pub(super) limit: Duration,
    /// How long a connection may take to open.
    pub(super) connect_limit: Duration,
    /// What adds tokens to requests.
    pub(super) signer: Option<Arc<Signer>>,
    /// Which redirects are followed; `None`: none.
    pub(super) redirects: Option<Redirects>,
}

impl HttpConnector for RequestTimeout {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allow_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let inner = transport::client(allow_http.as_deref() == Some("true"), self.connect_limit, true)
            .map_err(|cause| object_store::Error::Generic { store: "HTTP", source: cause.into() })?;
        let (signer, redirects) = (self.signer.clone(), self.redirects.clone());
        Ok(HttpClient::new(TimeoutClient { inner, limit: self.limit, signer, redirects }))
    }
}

#[derive(Debug)]
struct TimeoutClient {
    inner: HttpClient,
    limit: Duration,
    signer: Option<Arc<Signer>>,
    redirects: Option<Redirects>,
}

/// The store did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer for {0:?}")]
struct NoAnswer(Duration);

impl HttpService for TimeoutClient {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let Some(signer) = &self.signer else { return self.timely(request).await };
            let (signed, token) = signer.signed(request.uri()).await?;
            let mut again = request.clone();
            let first = self.timely(with_uri(request, signed)).await?;
            if !matches!(first.status().as_u16(), 401 | 403) || !signer.forget(again.uri(), &token).await {
                return Ok(first);
            }
            *again.uri_mut() = signer.signed(again.uri()).await?.0;
            self.timely(again).await
        })
    }
}

impl TimeoutClient {
    /// Sends a request and waits for the answer, but not for ever.
    async fn timely(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let body_bytes = request.body().content_length() as u64;
        let limit = self.limit + Duration::from_secs(body_bytes / SLOWEST_LINE);
        let answer = async {
            let listing = request.uri().query().is_some_and(is_listing);
            let response = self.follow(request).await?;
            if listing { whole(response).await } else { Ok(response) }
        };
        let late = |_| Err(HttpError::new(HttpErrorKind::Timeout, NoAnswer(limit)));
        tokio::time::timeout(limit, answer).await.unwrap_or_else(late)
    }
}

impl TimeoutClient {
    /// Sends a request, and those that redirects ask for.
    async fn follow(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let method = request.method().clone();
        let Some(redirects) = &self.redirects else {
            return Ok(with_length(&method, self.as_stored(request).await?));
        };
        let mut request = request;
        for hop in 0..=MAX_HOPS {
            let asked = Asked::of(&request);
            let answer = self.inner.execute(request).await?;
            match redirects.next(&asked, &answer).map_err(Astray::into_error)? {
                Some(next) => request = next,
                // That something else refuses, or is not there, does not say so of what was asked for.
                None if hop > 0 && answer.status().is_client_error() && !may_pass(&answer) => {
                    return Err(Astray::Answered(answer.status().as_u16()).into_error());
                }
                None => return Ok(with_length(&method, answer)),
            }
        }
        Err(Astray::Endless.into_error())
    }
}

impl TimeoutClient {
    /// Sends a request to a store; an object that Google would unpack on the way is asked for as it lies there,
    /// because sizes and ranges are those of the stored bytes.
    async fn as_stored(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.inner.execute(request).await;
        }
        let mut again = request.clone();
        let answer = self.inner.execute(request).await?;
        if !is_unpacked(&answer) {
            return Ok(answer);
        }
        again.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        self.inner.execute(again).await
    }
}

/// Returns whether Google has taken the content encoding off an object ("decompressive transcoding").
fn is_unpacked(answer: &HttpResponse) -> bool {
    let stored = answer.headers().get("x-goog-stored-content-encoding");
    stored.is_some_and(|encoding| encoding == "gzip") && !answer.headers().contains_key(CONTENT_ENCODING)
}

fn may_pass(answer: &HttpResponse) -> bool {
    matches!(answer.status().as_u16(), 408 | 429)
}

/// Gives an answer that comes in chunks a length, which nobody takes for one.
fn with_length(method: &Method, mut answer: HttpResponse) -> HttpResponse {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if reads && answer.status().is_success() && !answer.headers().contains_key(CONTENT_LENGTH) {
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(UNKNOWN_SIZE));
    }
    answer
}

fn with_uri(mut request: HttpRequest, uri: Uri) -> HttpRequest {
    *request.uri_mut() = uri;
    request
}

fn is_listing(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "list-type=2" | "comp=list"))
}

/// Reads a page of a listing to its end, so that the limit covers it; a page has at most 5,000 keys.
/// Odd ones among them are replaced.
async fn whole(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (parts, body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut pieces = body.bytes_stream();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece?);
    }
    let bytes = match std::str::from_utf8(&bytes).map(unaddressable_keys::replaced) {
        Ok(Cow::Owned(changed)) => changed.into_bytes(),
        _ => bytes,
    };
    Ok(HttpResponse::from_parts(parts, bytes.into()))
}
