//! Questions to a web service that are not objects: a search, a token.
//!
//! Unlike a source, such a URL may have a query; it goes into the request and into no message.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, header};
use object_store::client::{HttpClient, HttpConnector as _, HttpErrorKind, HttpRequestBody, HttpResponse};

use super::connect::StorePlan;
use super::pace::LeastPace;
use super::redact::redact;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::Naming;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A client of one web service.
#[derive(Clone)]
pub struct Web {
    client: HttpClient,
    max_retries: usize,
    retry_timeout: Duration,
    pace: LeastPace,
    naming: Naming,
}

/// What a service answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, also of a refusal.
    pub body: Bytes,
}

impl Answer {
    /// Returns whether the service did what it was asked.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why one try failed, and whether another may help.
struct Failure {
    why: String,
    pause: Option<Duration>,
}

impl Web {
    /// Prepares a client; nothing is connected yet.
    pub(super) fn new(plan: &StorePlan, url: &str, naming: &Naming) -> Result<Self> {
        // Whoever writes http:// means it.
        let options = plan.client_options("", Some(url));
        let client = plan.web_connector().connect(&options).map_err(|cause| {
            Error::config(format!("cannot prepare requests to {}", naming.name(&redact(url))))
                .because(naming.quote(&redact(&cause.to_string())).into_owned())
        })?;
        let options = &plan.options;
        Ok(Self {
            client,
            max_retries: options.max_retries,
            retry_timeout: options.retry_timeout,
            pace: plan.pace(),
            naming: naming.clone(),
        })
    }

    /// Asks with a GET; tries again as long as the storage options say.
    ///
    /// # Errors
    ///
    /// `Unavailable` if no answer comes, or only ones like 503; `Config` if the URL is none or the answer has
    /// more than `max_bytes`. Any other status is an [`Answer`].
    pub async fn get(&self, url: &str, max_bytes: u64) -> Result<Answer> {
        self.ask(Method::GET, url, None, max_bytes).await
    }

    /// Asks with a POST of JSON; otherwise as [`Web::get`]. Meant for searches, which may be repeated.
    ///
    /// # Errors
    ///
    /// As [`Web::get`].
    pub async fn post(&self, url: &str, json: String, max_bytes: u64) -> Result<Answer> {
        self.ask(Method::POST, url, Some(json.into()), max_bytes).await
    }

    async fn ask(&self, method: Method, url: &str, body: Option<Bytes>, max_bytes: u64) -> Result<Answer> {
        let started = Instant::now();
        let mut tries = 0;
        loop {
            let failure = match self.once(&method, url, body.clone(), max_bytes).await? {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let pause = failure
                .pause
                .unwrap_or_else(|| Duration::from_millis(100 << tries.min(6)))
                .min(LONGEST_PAUSE);
            tries += 1;
            if tries > self.max_retries || started.elapsed() + pause > self.retry_timeout {
                return Err(Error::unavailable(format!("cannot ask {}", self.shown(url)))
                    .because(failure.why)
                    .hint("run the same command again once the service answers"));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Tries once; the outer error is final.
    async fn once(
        &self,
        method: &Method,
        url: &str,
        body: Option<Bytes>,
        max_bytes: u64,
    ) -> Result<Result<Answer, Failure>> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::ACCEPT, "application/geo+json, application/json");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(HttpRequestBody::empty, HttpRequestBody::from);
        let request = request
            .body(body)
            .map_err(|cause| Error::config(format!("`{}` is not a URL", self.shown(url))).because(cause))?;
        let response = match self.client.execute(request).await {
            Ok(response) => response,
            Err(error) => {
                let what = match error.kind() {
                    HttpErrorKind::Connect => "cannot connect",
                    HttpErrorKind::Timeout => "no answer in time",
                    _ => "the connection broke",
                };
                return Ok(Err(Failure { why: what.to_owned(), pause: None }));
            }
        };
        let status = response.status().as_u16();
        if matches!(status, 408 | 425 | 429 | 500 | 502..=504) {
            let pause = response
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok());
            return Ok(Err(Failure {
                why: format!("it answered {status}"),
                pause: pause.map(Duration::from_secs),
            }));
        }
        match self.body_of(response, max_bytes).await {
            Ok(Some(body)) => Ok(Ok(Answer { status, body })),
            Ok(None) => Err(Error::config(format!(
                "the answer of {} has more than {max_bytes} bytes",
                self.shown(url)
            ))
            .hint("ask for fewer items at a time")),
            Err(why) => Ok(Err(Failure { why: why.to_owned(), pause: None })),
        }
    }

    fn shown(&self, url: &str) -> String {
        self.naming.name(&redact(url)).into_owned()
    }

    /// Reads a body; `None` if it is too large.
    async fn body_of(&self, response: HttpResponse, max_bytes: u64) -> Result<Option<Bytes>, &'static str> {
        let mut pieces = response.into_body().bytes_stream();
        let mut body = BytesMut::new();
        let mut pace = self.pace.begin();
        loop {
            let piece = pace.next(&mut pieces).await.map_err(|_| "its answer stalled")?;
            match piece {
                None => return Ok(Some(body.freeze())),
                Some(Err(_)) => return Err("its answer was cut short"),
                Some(Ok(piece)) if (body.len() + piece.len()) as u64 > max_bytes => return Ok(None),
                Some(Ok(piece)) => body.extend_from_slice(&piece),
            }
        }
    }
}
