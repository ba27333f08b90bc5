//! Credential providers around those of `object_store`.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::redact::redact;
use super::store_error::{CHECK_CREDENTIALS, summary};
use crate::vocabulary::identity::Naming;

/// What a provider promises.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = object_store::Result<T>> + Send + 'a>>;

/// What helps where there are no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Time: the service that gives them is away.
    Wait,
    /// A person, who is told what to do.
    Act(&'static str),
}

impl Remedy {
    /// Returns the remedy where nothing is known but whether the service that gives them is only away.
    pub(super) fn of(is_away: bool) -> Self {
        if is_away { Self::Wait } else { Self::Act(CHECK_CREDENTIALS) }
    }
}

/// Credentials could not be had. Its text holds none.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(super) struct NoCredentials {
    detail: String,
    pub(super) remedy: Remedy,
}

impl NoCredentials {
    /// Says why there are none, and what helps.
    pub(super) fn new(detail: String, remedy: Remedy) -> Self {
        Self { detail, remedy }
    }

    /// Returns it as an error of a provider.
    pub(super) fn into_error(self) -> object_store::Error {
        object_store::Error::Generic { store: "credentials", source: Box::new(self) }
    }
}

/// Marks the failures of another provider as failures to get credentials.
pub(super) struct Marked<C> {
    inner: Arc<dyn CredentialProvider<Credential = C>>,
    had_before: AtomicBool,
}

impl<C> Marked<C> {
    /// Wraps `inner`.
    pub(super) fn new(inner: Arc<dyn CredentialProvider<Credential = C>>) -> Self {
        Self { inner, had_before: AtomicBool::new(false) }
    }
}

impl<C> fmt::Debug for Marked<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Marked")
    }
}

impl<C: fmt::Debug + Send + Sync> CredentialProvider for Marked<C> {
    type Credential = C;

    fn get_credential<'a, 'b>(&'a self) -> Answer<'b, Arc<C>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            match self.inner.get_credential().await {
                Ok(credential) => {
                    self.had_before.store(true, Ordering::Relaxed);
                    Ok(credential)
                }
                Err(cause) => {
                    Err(failed(summary(&cause, &Naming::default()), self.had_before.load(Ordering::Relaxed)))
                }
            }
        })
    }
}

/// Runs a profile's `credential_process` and keeps its answer until shortly before it expires.
pub(super) struct ProcessCredentials {
    command: String,
    current: Mutex<Option<Temporary>>,
}

struct Temporary {
    credential: Arc<AwsCredential>,
    renew_at: Option<SystemTime>,
}

/// What a `credential_process` prints (version 1).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

impl ProcessCredentials {
    /// Prepares to run `command` through the shell.
    pub(super) fn new(command: String) -> Self {
        Self { command, current: Mutex::new(None) }
    }

    async fn current(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut current = self.current.lock().await;
        let now = SystemTime::now();
        if let Some(known) = current.as_ref().filter(|known| known.renew_at.is_none_or(|at| now < at)) {
            return Ok(Arc::clone(&known.credential));
        }
        let command = self.command.clone();
        let ran = tokio::task::spawn_blocking(move || run(&command)).await;
        let fresh = ran.map_err(|cause| failed(cause.to_string(), current.is_some()))?;
        let fresh = fresh.map_err(|cause| failed(cause.to_string(), current.is_some()))?;
        let credential = Arc::clone(&fresh.credential);
        *current = Some(fresh);
        Ok(credential)
    }
}

impl fmt::Debug for ProcessCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessCredentials")
    }
}

impl CredentialProvider for ProcessCredentials {
    type Credential = AwsCredential;

    fn get_credential<'a, 'b>(&'a self) -> Answer<'b, Arc<AwsCredential>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.current())
    }
}

/// Credentials that could be had before come from a service that is only away.
fn failed(detail: String, had_before: bool) -> object_store::Error {
    NoCredentials::new(detail, Remedy::of(had_before)).into_error()
}

/// What went wrong with the command; nothing of what it printed to stdout is in the message.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error("credential_process cannot be started: {0}")]
    NotStarted(io::Error),
    #[error("credential_process failed ({status}): {complaint}")]
    Failed { status: ExitStatus, complaint: String },
    #[error("credential_process printed no credentials in the format of version 1")]
    NoCredentials,
}

/// Runs the command.
fn run(command: &str) -> Result<Temporary, ProcessError> {
    let output = Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).output();
    let output = output.map_err(ProcessError::NotStarted)?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it printed nothing");
        let complaint = redact(last.trim());
        return Err(ProcessError::Failed { status: output.status, complaint });
    }
    // serde_json may quote what it cannot read.
    let printed: Printed = serde_json::from_slice(&output.stdout).map_err(|_| ProcessError::NoCredentials)?;
    let credential = AwsCredential {
        key_id: printed.access_key_id,
        secret_key: printed.secret_access_key,
        token: printed.session_token,
    };
    let renew_at = printed.expiration.as_deref().map(renew_at);
    Ok(Temporary { credential: Arc::new(credential), renew_at })
}

/// Returns when credentials with this expiration are renewed: a minute before.
pub(super) fn renew_at(expiration: &str) -> SystemTime {
    expiration_of(expiration) - Duration::from_mins(1)
}

/// Returns when credentials with this expiration expire.
pub(super) fn expiration_of(expiration: &str) -> SystemTime {
    let in_utc = expiration.strip_suffix("+00:00").map(|time| format!("{time}Z"));
    let expires = humantime::parse_rfc3339_weak(in_utc.as_deref().unwrap_or(expiration));
    // A time zone we cannot read: ask again soon, which is always right and only slower.
    expires.unwrap_or_else(|_| SystemTime::now() + Duration::from_mins(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_run_once_until_its_answer_expires() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("runs").display().to_string();
        for (expiration, runs) in [("2999-01-01T00:00:00+00:00", 1), ("2001-01-01T00:00:00Z", 2)] {
            let command = format!(
                "echo run >> '{log}'; echo '{{\"Version\":1,\"AccessKeyId\":\"AK\",\"SecretAccessKey\":\"SK\",\
                 \"Expiration\":\"{expiration}\"}}'"
            );
            let provider = ProcessCredentials::new(command);
            for _ in 0..2 {
                let credential = provider.get_credential().await.unwrap();
                assert_eq!((&*credential.key_id, &*credential.secret_key), ("AK", "SK"));
            }
            assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), runs);
            std::fs::remove_file(&log).unwrap();
        }
    }

    #[tokio::test]
    async fn a_failing_process_is_quoted_without_its_output() {
        let failing = ProcessCredentials::new("echo SECRET; echo please log in >&2; exit 3".into());
        let text = failing.get_credential().await.unwrap_err().to_string();
        assert!(text.contains("please log in") && !text.contains("SECRET"), "{text}");
        let garbled = ProcessCredentials::new("echo SECRET".into());
        let text = garbled.get_credential().await.unwrap_err().to_string();
        assert!(text.contains("version 1") && !text.contains("SECRET"), "{text}");
    }
}
