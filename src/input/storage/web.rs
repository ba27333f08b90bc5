//! Questions to a web service that are not objects: a search, a token.
//!
//! Unlike a source, such a URL may have a query; it goes into the request and into no message.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, header};
use object_store::client::{HttpClient, HttpConnector as _, HttpErrorKind, HttpRequestBody, HttpResponse};

use super::connect::StorePlan;
use super::pace::{LeastPace, PieceError};
use super::redact::{redact, shown};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::Naming;
use crate::vocabulary::process::Process;

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
    process: Arc<Process>,
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

/// Why a try brought no answer.
enum Failure {
    /// Another may.
    Passing {
        why: String,
        /// How long the service wants to be left alone.
        pause: Option<Duration>,
    },
    /// No other will.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Failure {
    fn passing(why: impl Into<String>) -> Self {
        Self::Passing { why: why.into(), pause: None }
    }
}

impl Web {
    /// Prepares a client; nothing is connected yet.
    pub(super) fn new(plan: &StorePlan, url: &str, naming: &Naming) -> Result<Self> {
        // Whoever writes http:// means it.
        let options = plan.client_options("", Some(url));
        let client = plan.web_connector().connect(&options).map_err(|cause| {
            Error::config(format!("cannot prepare requests to {}", shown(url, naming)))
                .because(naming.quote(&redact(&cause.to_string())).into_owned())
        })?;
        let options = &plan.options;
        Ok(Self {
            client,
            max_retries: options.max_retries,
            retry_timeout: options.retry_timeout,
            pace: plan.pace(),
            naming: naming.clone(),
            process: Arc::clone(&plan.process),
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
        let started = self.process.now();
        let mut tries = 0;
        loop {
            let (why, pause) = match self.once(&method, url, body.clone(), max_bytes).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { why, pause }) => (why, pause),
            };
            let pause = pause.unwrap_or_else(|| Duration::from_millis(100 << tries.min(6)));
            let pause = self.process.jittered(pause.min(LONGEST_PAUSE));
            tries += 1;
            if tries > self.max_retries || self.process.now().since(started) + pause > self.retry_timeout {
                return Err(Error::unavailable(format!("cannot ask {}", self.shown(url)))
                    .because(why)
                    .hint("run the same command again once the service answers"));
            }
            self.process.sleep(pause).await;
        }
    }

    async fn once(
        &self,
        method: &Method,
        url: &str,
        body: Option<Bytes>,
        max_bytes: u64,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::ACCEPT, "application/geo+json, application/json");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(HttpRequestBody::empty, HttpRequestBody::from);
        let request = request.body(body).map_err(|cause| {
            Error::config(format!("`{}` is not a URL", self.shown(url))).because(self.naming.cause(cause))
        })?;
        let response = self.client.execute(request).await.map_err(|error| {
            Failure::passing(match error.kind() {
                HttpErrorKind::Connect => "cannot connect",
                HttpErrorKind::Timeout => "no answer in time",
                _ => "the connection broke",
            })
        })?;
        let status = response.status().as_u16();
        if matches!(status, 408 | 425 | 429 | 500 | 502..=504) {
            let pause = response
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok());
            let pause = pause.map(Duration::from_secs);
            return Err(Failure::Passing { why: format!("it answered {status}"), pause });
        }
        let body = self.body_of(response, max_bytes).await.map_err(Failure::passing)?;
        let body = body.ok_or_else(|| {
            Error::config(format!("the answer of {} has more than {max_bytes} bytes", self.shown(url)))
                .hint("ask for fewer items at a time")
        })?;
        Ok(Answer { status, body })
    }

    fn shown(&self, url: &str) -> String {
        shown(url, &self.naming).into_owned()
    }

    /// Reads a body; `None` if it is too large.
    async fn body_of(&self, response: HttpResponse, max_bytes: u64) -> Result<Option<Bytes>, &'static str> {
        let mut pieces = response.into_body().bytes_stream();
        let mut body = BytesMut::new();
        let mut pace = self.pace.begin();
        loop {
            let piece = pace.next(&mut pieces).await.map_err(|error| match error {
                PieceError::TooSlow(_) => "its answer stalled",
                PieceError::Failed(_) => "its answer was cut short",
            })?;
            match piece {
                None => return Ok(Some(body.freeze())),
                Some(piece) if (body.len() + piece.len()) as u64 > max_bytes => return Ok(None),
                Some(piece) => body.extend_from_slice(&piece),
            }
        }
    }
}
