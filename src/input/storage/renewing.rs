//! Credentials that are lent for a while: asked for when first needed, and again before they expire.
//!
//! `object_store` could ask, too. But it drops credentials five minutes before they expire: if the next ones cannot be
//! had then, its requests fail although the old ones hold (`findings`). And all requests wait in a row, each to try for
//! itself. Here one request asks while the others use what they have, and a service that is away matters only once nothing
//! holds any more.
//!
//! ```text
//! request ─▶ hold for long? ─────────────────────────────▶ credentials
//!               ├▶ expire soon ─▶ one asks, once ─────────▶ the old ones, or new
//!               └▶ none ─▶ one asks, patiently; all wait ─▶ new, or an error
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use object_store::CredentialProvider;
use object_store::client::{HttpClient, HttpError, HttpErrorKind};
use tokio::sync::Mutex as AsyncMutex;

use super::credentials::{Answer, NoCredentials, Remedy};
use super::redact::redact;
use super::store_error::{element, json_text};
use super::workload::{Exchange, Lent};
use crate::vocabulary::process::Process;

/// Renewed this long before they expire, or at half of their life where that is later. Google's metadata server
/// repeats a token until five minutes before its end.
const MARGIN: Duration = Duration::from_mins(4);
/// Not used for so long before they expire, or an eighth of their life where that is shorter: a request that arrives too
/// late would be refused for good.
const TRANSIT: Duration = Duration::from_secs(15);
/// How long credentials that still hold are used before the next ones are asked for once more.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);
/// Requests that waited while another learnt that there are none do not ask for themselves.
const SAME_OUTAGE: Duration = Duration::from_secs(1);
const CHECK_TOKEN: &str = "check that the file of the token is mounted, and that this user may read it";
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long is waited for credentials where there are none yet.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For one answer.
    pub(super) answer: Duration,
    /// After which nothing is tried again.
    pub(super) total: Duration,
}

/// Asks an [`Exchange`], and keeps its answer.
pub(super) struct Renewing<C> {
    exchange: Exchange<C>,
    client: HttpClient,
    patience: Patience,
    process: Arc<Process>,
    state: Mutex<State<C>>,
    /// Held by the one request that asks.
    asking: AsyncMutex<()>,
}

struct State<C> {
    current: Option<Current<C>>,
    failed: Option<(Instant, Failure)>,
}

struct Current<C> {
    credential: Arc<C>,
    renew_at: SystemTime,
    holds_until: SystemTime,
}

/// What an answer, or its absence, says.
#[derive(Clone)]
struct Failure {
    detail: String,
    /// Whether another try may help.
    passes: bool,
    /// What to do if it does not.
    advice: &'static str,
}

impl<C> Renewing<C> {
    /// Prepares to ask; nothing is sent yet.
    pub(super) fn new(
        exchange: Exchange<C>,
        client: HttpClient,
        patience: Patience,
        process: Arc<Process>,
    ) -> Self {
        let state = Mutex::new(State { current: None, failed: None });
        Self { exchange, client, patience, process, state, asking: AsyncMutex::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn credential(&self) -> Result<Arc<C>, NoCredentials> {
        let now = SystemTime::now();
        match self.current() {
            Some((credential, renew_at)) if now < renew_at => Ok(credential),
            Some((credential, _)) => Ok(self.renewed_once().await.unwrap_or(credential)),
            None => self.awaited().await,
        }
    }

    /// Returns what holds, and from when on the next is to be asked for.
    fn current(&self) -> Option<(Arc<C>, SystemTime)> {
        let state = self.state();
        let current = state.current.as_ref().filter(|current| SystemTime::now() < current.holds_until)?;
        Some((Arc::clone(&current.credential), current.renew_at))
    }

    /// Asks once, unless another request does; `None` if the old ones have to do.
    async fn renewed_once(&self) -> Option<Arc<C>> {
        let _asking = self.asking.try_lock().ok()?;
        match self.ask().await {
            Ok(lent) => Some(self.keep(lent)),
            Err(failure) => {
                tracing::warn!(cause = failure.detail, "cannot renew credentials that expire soon");
                let mut state = self.state();
                if let Some(current) = &mut state.current {
                    current.renew_at = SystemTime::now() + RENEWAL_PAUSE;
                }
                None
            }
        }
    }

    /// Asks until there are some, or patience ends.
    async fn awaited(&self) -> Result<Arc<C>, NoCredentials> {
        let _asking = self.asking.lock().await;
        if let Some((credential, _)) = self.current() {
            return Ok(credential);
        }
        if let Some(failure) = self.just_failed() {
            return Err(self.no_credentials(failure));
        }
        let (started, mut tries) = (Instant::now(), 0_u32);
        loop {
            let failure = match self.ask().await {
                Ok(lent) => return Ok(self.keep(lent)),
                Err(failure) => failure,
            };
            let pause = self.process.jittered(Duration::from_millis(100 << tries).min(LONGEST_PAUSE));
            if !failure.passes || started.elapsed() + pause > self.patience.total {
                self.state().failed = Some((Instant::now(), failure.clone()));
                return Err(self.no_credentials(failure));
            }
            tries = (tries + 1).min(6);
            tokio::time::sleep(pause).await;
        }
    }

    fn just_failed(&self) -> Option<Failure> {
        let state = self.state();
        let (when, failure) = state.failed.as_ref()?;
        (when.elapsed() < SAME_OUTAGE).then(|| failure.clone())
    }

    fn keep(&self, lent: Lent<C>) -> Arc<C> {
        let credential = Arc::new(lent.credential);
        let life = lent.expires.duration_since(SystemTime::now()).unwrap_or_default();
        let renew_at = lent.expires - MARGIN.min(life / 2);
        let holds_until = lent.expires - TRANSIT.min(life / 8);
        let current = Current { credential: Arc::clone(&credential), renew_at, holds_until };
        *self.state() = State { current: Some(current), failed: None };
        credential
    }

    /// Says why there are none. Whoever was set up, or has answered before, will again.
    fn no_credentials(&self, failure: Failure) -> NoCredentials {
        let state = self.state();
        let answers = self.exchange.expected || state.current.is_some();
        let remedy = if failure.passes && answers { Remedy::Wait } else { Remedy::Act(failure.advice) };
        NoCredentials::new(failure.detail, remedy)
    }

    async fn ask(&self) -> Result<Lent<C>, Failure> {
        let asked = (self.exchange.prepare)()
            .map_err(|why| Failure { advice: CHECK_TOKEN, ..self.failure(&why, false) })?;
        let answer = async {
            let response = self.client.execute(asked.request).await?;
            let status = response.status().as_u16();
            Ok::<_, HttpError>((status, response.into_body().bytes().await?))
        };
        let answer = tokio::time::timeout(self.patience.answer, answer).await;
        let answer =
            answer.map_or(Err(HttpErrorKind::Timeout), |answer| answer.map_err(|error| error.kind()));
        let (status, body) = answer.map_err(|kind| self.failure(of_transport(kind), true))?;
        let body = String::from_utf8_lossy(&body);
        if status != 200 {
            return Err(self.refusal(status, &body, &asked.token));
        }
        // What it says instead may hold a secret.
        (self.exchange.parse)(&body).ok_or_else(|| self.failure("its answer holds no credentials", false))
    }

    fn refusal(&self, status: u16, body: &str, token: &str) -> Failure {
        let code = element(body, "Code").or_else(|| json_text(body, "error"));
        let message = element(body, "Message").or_else(|| json_text(body, "error_description"));
        let passes = matches!(status, 408 | 425 | 429 | 500..) || code.as_deref().is_some_and(is_passing);
        let words = match (code, message) {
            (None, None) => body.to_owned(),
            (code, message) => [code, message].into_iter().flatten().collect::<Vec<_>>().join(": "),
        };
        let words = if token.is_empty() { words } else { words.replace(token, "…") };
        let words: String = redact(words.lines().next().unwrap_or_default()).chars().take(300).collect();
        self.failure(format!("it answered {status} {words}").trim_end(), passes)
    }

    fn failure(&self, what: &str, passes: bool) -> Failure {
        let detail = format!("{} at {}: {what}", self.exchange.name, redact(&self.exchange.url));
        Failure { detail, passes, advice: self.exchange.advice }
    }
}

fn of_transport(kind: HttpErrorKind) -> &'static str {
    match kind {
        HttpErrorKind::Connect => "cannot connect",
        HttpErrorKind::Timeout => "no answer in time",
        _ => "the connection broke",
    }
}

/// Codes of STS that come with status 400 and pass.
fn is_passing(code: &str) -> bool {
    matches!(code, "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "IDPCommunicationError")
}

impl<C> fmt::Debug for Renewing<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewing")
    }
}

impl<C: fmt::Debug + Send + Sync> CredentialProvider for Renewing<C> {
    type Credential = C;

    fn get_credential<'a, 'b>(&'a self) -> Answer<'b, Arc<C>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move { self.credential().await.map_err(NoCredentials::into_error) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use http::{Request, Response};
    use object_store::client::{HttpRequest, HttpRequestBody, HttpResponse, HttpService};

    use super::super::workload::Asked;
    use super::*;

    /// Answers with these statuses in turn, and with the last one again and again.
    #[derive(Debug)]
    struct Service {
        statuses: Mutex<VecDeque<u16>>,
        num_asked: Arc<AtomicUsize>,
    }

    impl HttpService for Service {
        fn call<'a, 'b>(
            &'a self,
            _: HttpRequest,
        ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            self.num_asked.fetch_add(1, Ordering::SeqCst);
            let mut statuses = self.statuses.lock().unwrap();
            let status = if statuses.len() > 1 { statuses.pop_front().unwrap() } else { statuses[0] };
            let body = "token TOKEN is unwelcome".to_owned().into();
            Box::pin(async move { Ok(Response::builder().status(status).body(body).unwrap()) })
        }
    }

    /// What is lent expires after two seconds.
    fn renewing(statuses: &[u16], expected: bool) -> (Renewing<&'static str>, Arc<AtomicUsize>) {
        let num_asked = Arc::new(AtomicUsize::new(0));
        let statuses = Mutex::new(statuses.iter().copied().collect());
        let service = Service { statuses, num_asked: Arc::clone(&num_asked) };
        let exchange = Exchange {
            name: "the lender",
            url: "http://lender/?secret".to_owned(),
            advice: "ask nicely",
            expected,
            local: true,
            prepare: Box::new(|| {
                let request = Request::get("http://lender/").body(HttpRequestBody::empty()).unwrap();
                Ok(Asked { request, token: "TOKEN".to_owned() })
            }),
            parse: |_| Some(Lent { credential: "lent", expires: SystemTime::now() + Duration::from_secs(2) }),
        };
        let patience = Patience { answer: Duration::from_secs(1), total: Duration::from_millis(200) };
        (Renewing::new(exchange, HttpClient::new(service), patience, Process::real()), num_asked)
    }

    #[tokio::test]
    async fn credentials_that_hold_are_used_while_the_lender_is_away() {
        let (renewing, num_asked) = renewing(&[200, 503], true);
        let asked = || num_asked.load(Ordering::SeqCst);
        assert_eq!(*renewing.credential().await.unwrap(), "lent");
        assert_eq!((*renewing.credential().await.unwrap(), asked()), ("lent", 1), "they are kept");
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(
            (*renewing.credential().await.unwrap(), asked()),
            ("lent", 2),
            "half of their life is over"
        );
        assert_eq!((*renewing.credential().await.unwrap(), asked()), ("lent", 2), "the lender is left alone");
        tokio::time::sleep(Duration::from_millis(700)).await;
        let error = renewing.credential().await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Wait);
        assert_eq!(error.to_string(), "the lender at http://lender/?…: it answered 503 token … is unwelcome");
    }

    #[tokio::test]
    async fn those_who_wait_do_not_ask_one_after_the_other() {
        let (renewing, num_asked) = renewing(&[503], true);
        let results = join_all((0..50).map(|_| renewing.credential())).await;
        assert!(results.iter().all(Result::is_err));
        assert!(num_asked.load(Ordering::SeqCst) <= 3, "{num_asked:?}");
    }

    #[tokio::test]
    async fn who_is_not_expected_or_refuses_is_not_waited_for() {
        for (status, expected) in [(503, false), (403, true), (403, false)] {
            let error = renewing(&[status], expected).0.credential().await.unwrap_err();
            assert_eq!(error.remedy, Remedy::Act("ask nicely"), "{status}");
        }
        let (renewing, num_asked) = renewing(&[403], true);
        renewing.credential().await.unwrap_err();
        assert_eq!(num_asked.load(Ordering::SeqCst), 1, "a refusal is final");
    }
}
