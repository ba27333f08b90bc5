//! Tells what concerns one object from what concerns the store, and what people must fix from what
//! passes.
//!
//! Nothing of an `object_store` error is passed on as it is: its text may hold signed URLs, and the
//! bodies of some refusals repeat the key id and the string that was signed. Only the status, the
//! error code and the first line of the store's message are taken over.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::credentials::{NoCredentials, Remedy};
use super::redact::redact;
use super::redirect::Astray;
use super::trouble::Trouble;
use crate::vocabulary::error::Error;
use crate::vocabulary::identity::Naming;

/// Why an object could not be read.
#[derive(Debug)]
pub enum StoreError {
    /// The object is not there (404), while its store answers.
    Gone,
    /// The object may not be read (403, or the file's permissions).
    Forbidden,
    /// The object has more bytes than the caller wants.
    TooLarge {
        /// The object's size in bytes.
        size: u64,
    },
    /// The object is not the one that was expected, or changed while it was read.
    Changed {
        /// The version that was found, if the store tells one.
        version: Option<String>,
    },
    /// Anything else; as far as one answer tells, the whole store is concerned. The error's kind says who acts.
    Failed(Error),
}

impl StoreError {
    /// Turns the fault into an error, for objects a command cannot do without.
    ///
    /// `uri` names the object in the message.
    pub fn into_error(self, uri: impl fmt::Display) -> Error {
        match self {
            Self::Gone => {
                Error::config(format!("{uri} does not exist")).hint("check the name and the folder")
            }
            Self::Forbidden => Error::config(format!("{uri} may not be read (access denied)"))
                .hint("check the permissions of these credentials, or of the file"),
            Self::TooLarge { size } => Error::config(format!("{uri} is too large ({size} bytes)")),
            Self::Changed { .. } => Error::unavailable(format!("{uri} changed while it was read")),
            Self::Failed(error) => error,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the object does not exist"),
            Self::Forbidden => f.write_str("the object may not be read"),
            Self::TooLarge { size } => write!(f, "the object is too large ({size} bytes)"),
            Self::Changed { .. } => f.write_str("the object has changed"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What an error chain reveals.
#[derive(Default)]
struct Evidence {
    status: Option<u16>,
    code: Option<String>,
    message: Option<String>,
    transport: Option<HttpErrorKind>,
    redirected: bool,
    astray: Option<Astray>,
    credentials: Option<(String, Remedy)>,
    io: Option<(io::ErrorKind, Option<i32>)>,
    deepest: String,
}

// object_store keeps the type that holds status and body private; these are the texts it writes.
const STATUS_MARK: &str = "Server returned non-2xx status code: ";
const BODY_MARK: &str = "Server returned error response: ";
const DELETE_MARK: &str = "DeleteObjects request failed";
const NOT_PARTIAL_MARK: &str = "Received non-partial response";
const REDIRECT_MARK: &str = "Received redirect without LOCATION";

impl Evidence {
    fn of(error: &object_store::Error) -> Self {
        let mut evidence = Self::default();
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(cause) = next {
            evidence.take(cause);
            next = cause.source();
        }
        evidence
    }

    fn take(&mut self, cause: &(dyn StdError + 'static)) {
        if let Some(missing) = cause.downcast_ref::<NoCredentials>() {
            self.credentials = Some((missing.to_string(), missing.remedy));
        }
        if let Some(astray) = cause.downcast_ref::<Astray>() {
            self.astray = Some(astray.clone());
        }
        if let Some(http) = cause.downcast_ref::<HttpError>() {
            self.transport = Some(http.kind());
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            self.io = Some((io.kind(), io.raw_os_error()));
        }
        let text = cause.to_string();
        if let Some(answer) = text.strip_prefix(STATUS_MARK) {
            self.status = answer.get(..3).and_then(|digits| digits.parse().ok());
            self.take_body(answer);
        } else if let Some(body) = text.strip_prefix(BODY_MARK) {
            self.status = Some(503);
            self.take_body(body);
        } else if text.starts_with(DELETE_MARK) {
            // One key of a batch was refused, inside an answer of 200: "… (code: AccessDenied)".
            self.code = text.rsplit_once("(code: ").map(|(_, code)| code.trim_end_matches(')').to_owned());
        }
        self.redirected |= text.starts_with(REDIRECT_MARK);
        self.deepest = text;
    }

    fn take_body(&mut self, body: &str) {
        self.code =
            element(body, "Code").or_else(|| json_text(body, "reason")).or_else(|| json_text(body, "error"));
        self.message = element(body, "Message").or_else(|| json_text(body, "message"));
    }

    /// Says what happened, for people, without secrets.
    ///
    /// - `naming`: of the object; where names are secret, neither the store's words nor those of a library are passed on
    fn summary(&self, naming: &Naming) -> String {
        if let Some((detail, _)) = &self.credentials {
            return naming.quote(detail).into_owned();
        }
        if let Some(astray) = &self.astray {
            return naming.quote(&astray.to_string()).into_owned();
        }
        let deepest = || naming.quote(&first_line(&self.deepest)).into_owned();
        let mut text = match (self.status, self.transport) {
            (Some(status), _) => format!("the store answered {status}"),
            (None, Some(HttpErrorKind::Connect)) => format!("cannot connect: {}", deepest()),
            (None, Some(HttpErrorKind::Timeout)) => format!("no answer in time: {}", deepest()),
            (None, Some(_)) => format!("the connection broke: {}", deepest()),
            (None, None) => deepest(),
        };
        for part in [&self.code, &self.message].into_iter().flatten().filter(|_| !naming.is_secret()) {
            text.push_str(if text.contains(' ') && part.contains(' ') { ": " } else { " " });
            text.push_str(&first_line(part));
        }
        text
    }

    /// Returns what helps where trying again may.
    fn advice(&self, naming: &Naming) -> String {
        if self.credentials.is_some() {
            return TRY_CREDENTIALS.to_owned();
        }
        let astray = self.astray.as_ref().filter(|_| !naming.is_secret());
        astray.and_then(Astray::advice).unwrap_or_else(|| TRY_AGAIN.to_owned())
    }

    /// Returns what may be wrong with this object alone; `None` if it is not the object: credentials, clocks and
    /// certificates are the same for all.
    fn trouble(&self, error: &object_store::Error) -> Option<Trouble> {
        let is_of_store = matches!(self.code.as_deref().and_then(verdict_of_code), Some(Verdict::Fix(_, _)));
        if self.credentials.is_some() || is_of_store || self.status == Some(401) {
            return None;
        }
        if self.astray.is_some() || self.redirected || self.status.is_some_and(|status| status / 100 == 3) {
            return Some(Trouble::Redirected);
        }
        if let Some(status) = self.status {
            return Some(Trouble::Answered(status));
        }
        if self.transport.is_some() {
            let concerns_object = matches!(verdict_of_transport(&self.deepest), Verdict::Later);
            return self.transport.filter(|_| concerns_object).map(trouble_of_transport);
        }
        let no_ranges = matches!(error, object_store::Error::NotSupported { .. })
            || self.deepest.contains(NOT_PARTIAL_MARK);
        match (no_ranges, self.io) {
            (true, _) => Some(Trouble::NoRanges),
            (false, Some((_, code))) => trouble_of_io(code),
            (false, None) => {
                matches!(error, object_store::Error::Generic { .. }).then_some(Trouble::BadAnswer)
            }
        }
    }
}

/// Adds the innermost cause to an error, which remembers whether it may be this object's alone.
fn because(error: Error, trouble: Option<Trouble>, summary: String) -> Error {
    match trouble {
        Some(trouble) => error.because(trouble.said(summary)),
        None => error.because(summary),
    }
}

fn trouble_of_transport(kind: HttpErrorKind) -> Trouble {
    match kind {
        HttpErrorKind::Connect => Trouble::NoConnection,
        HttpErrorKind::Timeout => Trouble::NoAnswer,
        HttpErrorKind::Decode => Trouble::BadAnswer,
        _ => Trouble::BrokenOff,
    }
}

/// Too many open files and too little memory are this process's trouble, not the file's.
fn trouble_of_io(code: Option<i32>) -> Option<Trouble> {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    (!code.is_some_and(|code| ours.contains(&code))).then_some(Trouble::DiskFailed)
}

/// What is to be done about an error.
enum Verdict {
    Gone,
    Forbidden,
    /// The object is another than that of which a range was asked for.
    Changed,
    /// Retrying later helps.
    Later,
    /// A person must act; what is wrong, and what to do.
    Fix(&'static str, &'static str),
}

pub(super) const CHECK_CREDENTIALS: &str = "check the credentials: renew them if they are temporary, or set storage.profile or storage.anonymous = true";
const TRY_AGAIN: &str =
    "run the same command again once the store answers; check storage.endpoint if it never has";
const TRY_CREDENTIALS: &str =
    "run the same command again once the service that gives the credentials answers";
const CHECK_REGION: &str = "set storage.region or AWS_REGION to the bucket's region";

/// Classifies what a store answered; `doing` completes "cannot …", such as `read s3://b/k`, whose name it has by `naming`.
pub(super) fn classify(error: &object_store::Error, doing: &str, naming: &Naming) -> StoreError {
    let evidence = Evidence::of(error);
    let cannot = format!("cannot {doing}");
    StoreError::Failed(match verdict(error, &evidence) {
        Verdict::Gone => return StoreError::Gone,
        Verdict::Forbidden => return StoreError::Forbidden,
        Verdict::Changed => return StoreError::Changed { version: None },
        Verdict::Later => {
            because(Error::unavailable(cannot), evidence.trouble(error), evidence.summary(naming))
                .hint(evidence.advice(naming))
        }
        Verdict::Fix(what, hint) => Error::config(cannot)
            .because(because(Error::config(what), evidence.trouble(error), evidence.summary(naming)))
            .hint(hint),
    })
}

/// Classifies what a web server answered: each URL is a place of its own there, so that a refusal of the request
/// concerns one object. Only 403 says for good that it may not be read; 401 is about who asks.
pub(super) fn classify_web(error: &object_store::Error, doing: &str, naming: &Naming) -> StoreError {
    let evidence = Evidence::of(error);
    let cannot = format!("cannot {doing}");
    match evidence.status {
        Some(403) => StoreError::Forbidden,
        Some(401) => Error::config(cannot)
            .because(Error::config("the web server requires a login").because(evidence.summary(naming)))
            .hint(
                "leave out objects that are not public; tilefleet sends tokens only to hosts of \
                 storage.sign_endpoint",
            )
            .into(),
        Some(status @ 400..500) if !matches!(status, 404 | 408 | 410 | 429) => {
            because(Error::unavailable(cannot), evidence.trouble(error), evidence.summary(naming))
                .hint(format!("find out why the web server answers this request with {status}"))
                .into()
        }
        _ => classify(error, doing, naming),
    }
}

/// Returns whether a server refused a request that only looks at an object, which says little of one that reads it:
/// many know no HEAD, and signatures may be for GET alone.
pub(super) fn refuses_to_show(error: &object_store::Error) -> bool {
    let evidence = Evidence::of(error);
    let status = match evidence.astray {
        Some(Astray::Answered(status)) => Some(status),
        Some(_) => None,
        None => evidence.status,
    };
    status.is_some_and(|status| matches!(status, 400..500 | 500 | 501 | 505) && !matches!(status, 408 | 429))
}

/// Returns what may be wrong with this object alone, see [`Trouble`].
pub(super) fn trouble_of(error: &object_store::Error) -> Option<Trouble> {
    Evidence::of(error).trouble(error)
}

/// Says what happened, for people: nothing of it is secret.
pub(super) fn summary(error: &object_store::Error, naming: &Naming) -> String {
    Evidence::of(error).summary(naming)
}

/// Classifies like [`classify`] where one object's absence or refusal ends the command.
pub(super) fn failure(error: &object_store::Error, doing: &str, naming: &Naming) -> Error {
    match classify(error, doing, naming) {
        StoreError::Failed(error) => error,
        StoreError::Forbidden => Error::config(format!("cannot {doing}"))
            .because("access denied".to_owned())
            .hint("check the permissions of these credentials, or of the folder"),
        fault => Error::config(format!("cannot {doing}")).because(fault.to_string()),
    }
}

fn verdict(error: &object_store::Error, evidence: &Evidence) -> Verdict {
    if let Some((_, remedy)) = evidence.credentials {
        return match remedy {
            Remedy::Wait => Verdict::Later,
            Remedy::Act(advice) => Verdict::Fix("there are no usable credentials", advice),
        };
    }
    if let Some(verdict) = evidence.code.as_deref().and_then(verdict_of_code) {
        return verdict;
    }
    if evidence.astray.is_some() {
        return Verdict::Later;
    }
    if evidence.redirected {
        return Verdict::Fix("the bucket is in another region", CHECK_REGION);
    }
    if let Some(verdict) = evidence.status.and_then(verdict_of_status) {
        return verdict;
    }
    if let Some((kind, code)) = evidence.io
        && evidence.transport.is_none()
    {
        return verdict_of_io(kind, code);
    }
    if evidence.transport.is_some() {
        return verdict_of_transport(&evidence.deepest);
    }
    verdict_of_variant(error)
}

/// Error codes of S3, Google's XML API and Azure.
fn verdict_of_code(code: &str) -> Option<Verdict> {
    Some(match code {
        "NoSuchBucket"
        | "ContainerNotFound"
        | "ContainerBeingDeleted"
        | "AccountNotFound"
        | "InvalidBucketName" => Verdict::Fix(
            "there is no such bucket",
            "check the bucket's name, and the account and endpoint it is in",
        ),
        "RequestTimeTooSkewed" => Verdict::Fix("this machine's clock is wrong", "set the clock (NTP)"),
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
            Verdict::Fix("the bucket is in another region", CHECK_REGION)
        }
        "UserProjectMissing" | "RequestPayerRequired" => {
            Verdict::Fix("the bucket is requester-pays", "set storage.requester_pays = true")
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            Verdict::Fix("the credentials have expired", CHECK_CREDENTIALS)
        }
        "InvalidToken"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "AuthenticationFailed"
        | "InvalidAuthenticationInfo"
        | "NoAuthenticationInformation"
        | "AuthenticationRequired"
        | "MissingSecurityHeader"
        | "AccountProblem"
        | "UnrecognizedClientException"
        | "invalid_grant"
        | "invalid_client" => Verdict::Fix("the credentials were refused", CHECK_CREDENTIALS),
        "SlowDown"
        | "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "ServerBusy"
        | "OperationTimedOut"
        | "InternalError"
        | "ServiceUnavailable"
        | "RequestTimeout" => Verdict::Later,
        "NoSuchKey" | "BlobNotFound" => Verdict::Gone,
        "AccessDenied" | "InvalidObjectState" | "BlobArchived" => Verdict::Forbidden,
        _ => return None,
    })
}

fn verdict_of_status(status: u16) -> Option<Verdict> {
    Some(match status {
        404 | 410 => Verdict::Gone,
        403 => Verdict::Forbidden,
        401 => Verdict::Fix("the credentials were refused", CHECK_CREDENTIALS),
        301 | 302 | 307 | 308 => Verdict::Fix("the store redirects to another address", CHECK_REGION),
        400 => Verdict::Fix(
            "the store refused the request",
            "check the region, the endpoint, and whether the credentials have expired",
        ),
        // It is shorter than it was.
        416 => Verdict::Changed,
        501 => Verdict::Fix(
            "the store does not support this",
            "use a store with create-only writes and listings",
        ),
        408 | 429 | 500.. => Verdict::Later,
        _ if (400..500).contains(&status) => {
            Verdict::Fix("the store refused the request", "check the bucket's settings and the endpoint")
        }
        _ => return None,
    })
}

fn verdict_of_io(kind: io::ErrorKind, code: Option<i32>) -> Verdict {
    match kind {
        // A name that the file system cannot hold names nothing.
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidFilename => Verdict::Gone,
        io::ErrorKind::PermissionDenied => Verdict::Forbidden,
        io::ErrorKind::ReadOnlyFilesystem => {
            Verdict::Fix("the file system is read-only", "choose another output, or mount it for writing")
        }
        // A path with a NUL names nothing: the standard library refuses it, no system does.
        io::ErrorKind::InvalidInput if code.is_none() => Verdict::Gone,
        // A ring of links leads nowhere.
        _ if code == Some(rustix::io::Errno::LOOP.raw_os_error()) => Verdict::Gone,
        _ => Verdict::Later,
    }
}

fn verdict_of_transport(text: &str) -> Verdict {
    if text.contains("URL scheme is not allowed") {
        return Verdict::Fix("plain http is not allowed", "to allow it, set storage.allow_http = true");
    }
    if text.contains("certificate") {
        return Verdict::Fix(
            "the store's certificate is not trusted",
            "check storage.endpoint and the machine's CA certificates",
        );
    }
    Verdict::Later
}

fn verdict_of_variant(error: &object_store::Error) -> Verdict {
    use object_store::Error as E;
    match error {
        E::NotFound { .. } => Verdict::Gone,
        E::PermissionDenied { .. } => Verdict::Forbidden,
        E::Unauthenticated { .. } => Verdict::Fix("the credentials were refused", CHECK_CREDENTIALS),
        E::InvalidPath { .. } => Verdict::Fix(
            "a key cannot be addressed",
            "keys with empty, `.` or `..` segments or control characters are not supported: narrow the prefix",
        ),
        E::NotSupported { .. } | E::NotImplemented { .. } => {
            Verdict::Fix("the store does not support this", "use a local folder, s3://, gs:// or az://")
        }
        E::UnknownConfigurationKey { .. } => Verdict::Fix("a setting is unknown", "check the environment"),
        _ => Verdict::Later,
    }
}

/// Classifies an error of a local file.
pub(super) fn classify_io(error: io::Error, doing: &str) -> StoreError {
    let cannot = format!("cannot {doing}");
    StoreError::Failed(match verdict_of_io(error.kind(), error.raw_os_error()) {
        Verdict::Gone => return StoreError::Gone,
        Verdict::Forbidden => return StoreError::Forbidden,
        Verdict::Changed => return StoreError::Changed { version: None },
        Verdict::Later => {
            because(Error::unavailable(cannot), trouble_of_io(error.raw_os_error()), error.to_string())
                .hint("check the disk, then run the same command again")
        }
        Verdict::Fix(what, hint) => Error::config(cannot).because(what).hint(hint),
    })
}

/// Classifies an error of writing a file whose folders have been created: what is not there, somebody
/// else has removed meanwhile.
pub(super) fn write_failure(error: io::Error, doing: &str) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        return Error::unavailable(format!("cannot {doing}")).because(error).hint(
            "another process has removed a file or folder that this one uses; run the same command again",
        );
    }
    if error.kind() == io::ErrorKind::NotADirectory {
        return Error::config(format!("cannot {doing}"))
            .because("a part of the path is a file, not a folder")
            .hint("choose a folder, or a path that does not exist yet");
    }
    io_failure(error, doing)
}

/// Classifies an error of a local file or folder that a command cannot do without.
pub(super) fn io_failure(error: io::Error, doing: &str) -> Error {
    match classify_io(error, doing) {
        StoreError::Failed(error) => error,
        StoreError::Forbidden => Error::config(format!("cannot {doing}"))
            .because("permission denied")
            .hint("check the permissions of the file and of the folders above it"),
        _ => Error::config(format!("cannot {doing}"))
            .because("no such file or folder")
            .hint("check the path; a relative one starts at the current folder"),
    }
}

/// Returns the text of an element of XML.
pub(super) fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.to_owned())
}

/// Returns a text of JSON.
pub(super) fn json_text(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("\"{name}\""))?;
    let quoted = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    quoted.split('"').next().map(str::to_owned)
}

/// Returns the first line without secrets, at most 200 characters of it.
fn first_line(text: &str) -> String {
    redact(text).lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    /// An error as `object_store` builds it, with the text that its private types write.
    fn answered(status: &str, body: &str) -> object_store::Error {
        let source = format!("{STATUS_MARK}{status}: {body}").into();
        object_store::Error::Generic { store: "S3", source }
    }

    fn xml(code: &str) -> String {
        format!(
            "<Error><Code>{code}</Code><Message>Told so.</Message><StringToSign>SECRET</StringToSign></Error>"
        )
    }

    fn kind_of(fault: StoreError) -> Kind {
        match fault {
            StoreError::Failed(error) => error.kind(),
            other => panic!("not a failure of the store: {other}"),
        }
    }

    #[test]
    fn one_object_is_told_from_the_store() {
        let read =
            |status, body: &str| classify(&answered(status, body), "read s3://b/k", &Naming::default());
        assert!(matches!(read("404 Not Found", &xml("NoSuchKey")), StoreError::Gone));
        assert!(matches!(read("404 Not Found", ""), StoreError::Gone));
        assert!(matches!(read("403 Forbidden", &xml("AccessDenied")), StoreError::Forbidden));
        assert!(matches!(read("403 Forbidden", ""), StoreError::Forbidden));
        assert_eq!(kind_of(read("404 Not Found", &xml("NoSuchBucket"))), Kind::Config);
        assert_eq!(kind_of(read("403 Forbidden", &xml("SignatureDoesNotMatch"))), Kind::Config);
        assert_eq!(kind_of(read("403 Forbidden", &xml("RequestTimeTooSkewed"))), Kind::Config);
        assert_eq!(kind_of(read("400 Bad Request", &xml("ExpiredToken"))), Kind::Config);
        assert_eq!(kind_of(read("401 Unauthorized", "")), Kind::Config);
        assert_eq!(kind_of(read("503 Service Unavailable", &xml("SlowDown"))), Kind::Unavailable);
        assert_eq!(kind_of(read("500 Internal Server Error", "")), Kind::Unavailable);
        assert_eq!(kind_of(read("429 Too Many Requests", "")), Kind::Unavailable);
    }

    #[test]
    fn a_refused_deletion_is_found_inside_a_successful_answer() {
        let refused = |code: &str| object_store::Error::Generic {
            store: "S3",
            source: format!("{DELETE_MARK} for key a (b): No. (code: {code})").into(),
        };
        assert!(matches!(
            classify(&refused("AccessDenied"), "delete s3://b/a", &Naming::default()),
            StoreError::Forbidden
        ));
        assert_eq!(
            kind_of(classify(&refused("SlowDown"), "delete s3://b/a", &Naming::default())),
            Kind::Unavailable
        );
    }

    #[test]
    fn the_message_keeps_the_code_and_drops_the_secrets() {
        let StoreError::Failed(error) = classify(
            &answered("403 Forbidden", &xml("InvalidAccessKeyId")),
            "list s3://b/",
            &Naming::default(),
        ) else {
            panic!("refused credentials concern the whole store")
        };
        assert_eq!(
            error.render(),
            format!(
                "error: cannot list s3://b/\n  because: the credentials were refused\n  because: the store answered \
                 403 InvalidAccessKeyId: Told so.\n  hint: {CHECK_CREDENTIALS}"
            )
        );
    }

    #[test]
    fn trouble_of_the_disk_is_transient_and_permissions_are_the_files() {
        let of = |code| classify_io(io::Error::from_raw_os_error(code), "read /a");
        assert!(matches!(of(2), StoreError::Gone), "ENOENT");
        assert!(matches!(of(20), StoreError::Gone), "ENOTDIR");
        assert!(matches!(of(13), StoreError::Forbidden), "EACCES");
        assert_eq!(kind_of(of(5)), Kind::Unavailable, "EIO");
        assert_eq!(kind_of(of(28)), Kind::Unavailable, "ENOSPC");
        assert_eq!(kind_of(of(24)), Kind::Unavailable, "EMFILE");
    }
}
