//! Services that lend credentials to workloads, and stores that take these and no others.
//!
//! ```text
//! tilefleet ─▶ Lender: STS, Pod Identity, Google's metadata, Microsoft Entra ─▶ credentials that last a moment
//!     └──────▶ Gate: are they lent, do they still hold, is the signature theirs? ─▶ the server of a store
//! ```

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use object_store::ObjectStore;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use percent_encoding::percent_decode_str;
use serde_json::json;
use tempfile::TempDir;
use tilefleet_testing::http::{Answer, Request, Server, send};

use super::fault_proxy::forward;
use super::sigv4;
use super::store_server::StoreServer;
use super::{Azurite, FakeGcs, S3Server};

/// How a workload gets its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// AWS's `AssumeRoleWithWebIdentity`.
    WebIdentity,
    /// The agent of EKS Pod Identity.
    PodIdentity,
    /// Google's metadata server, also that of GKE.
    Metadata,
    /// Microsoft Entra, for a federated token.
    Federation,
}

const ROLE: &str = "arn:aws:iam::123456789012:role/tiles";

/// What has been lent.
#[derive(Clone)]
struct Loan {
    /// Key id, or the bearer itself.
    id: String,
    secret: String,
    session: String,
    expires: SystemTime,
}

/// What a lender knows and does.
struct Books {
    life: Duration,
    /// What the workload has to show; each is good for one exchange.
    token: String,
    loans: Vec<Loan>,
    /// How many questions more are answered with 503.
    busy: usize,
    /// Answers with 503 once it has lent so often.
    away_after: usize,
    refusing: bool,
    /// What the gate has turned away.
    turned_away: Vec<String>,
}

/// A service that lends credentials; it stops on drop.
pub struct Lender {
    way: Way,
    server: Server,
    folder: TempDir,
    books: Arc<Mutex<Books>>,
}

impl Lender {
    fn start(way: Way) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let books = Arc::new(Mutex::new(Books {
            life: Duration::from_hours(1),
            token: String::new(),
            loans: Vec::new(),
            busy: 0,
            away_after: usize::MAX,
            refusing: false,
            turned_away: Vec::new(),
        }));
        let file = folder.path().join("token");
        replace_token(&mut books.lock().unwrap(), &file);
        let server = Server::answering({
            let (books, file) = (Arc::clone(&books), file);
            move |request, _| answer(way, request, &mut books.lock().unwrap(), &file)
        });
        Self { way, server, folder, books }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// Lends for so long from now on.
    pub fn lend_for(&self, life: Duration) {
        self.books().life = life;
    }

    /// Answers the next questions with 503.
    pub fn be_busy(&self, times: usize) {
        self.books().busy = times;
    }

    /// Answers with 503 once it has lent so often more.
    pub fn leave_after(&self, times: usize) {
        let mut books = self.books();
        books.away_after = books.loans.len() + times;
    }

    /// Answers again.
    pub fn return_again(&self) {
        let mut books = self.books();
        (books.away_after, books.refusing) = (usize::MAX, false);
    }

    /// Refuses to lend.
    pub fn refuse(&self) {
        self.books().refusing = true;
    }

    /// Takes no connections, or takes them again.
    pub fn be_down(&self, down: bool) {
        self.server.refuse(down);
    }

    /// Returns how often it has lent.
    pub fn num_loans(&self) -> usize {
        self.books().loans.len()
    }

    /// Returns what the store has turned away.
    pub fn turned_away(&self) -> Vec<String> {
        self.books().turned_away.clone()
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let token_file = self.folder.path().join("token").display().to_string();
        let url = self.server.url();
        match self.way {
            Way::WebIdentity => vec![
                ("AWS_ROLE_ARN", ROLE.to_owned()),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token_file),
                ("AWS_ENDPOINT_URL_STS", url),
            ],
            Way::PodIdentity => vec![
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/v1/credentials")),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token_file),
            ],
            Way::Metadata => vec![("GCE_METADATA_HOST", self.server.address().to_string())],
            Way::Federation => vec![
                ("AZURE_CLIENT_ID", "client-1".to_owned()),
                ("AZURE_TENANT_ID", "tenant-1".to_owned()),
                ("AZURE_FEDERATED_TOKEN_FILE", token_file),
                // With a slash at its end, as AKS sets it.
                ("AZURE_AUTHORITY_HOST", format!("{url}/")),
            ],
        }
    }
}

/// Writes another token into the file, as Kubernetes does.
fn replace_token(books: &mut Books, file: &Path) {
    books.token = format!("workload-token-{}", books.loans.len());
    fs::write(file, &books.token).expect("a writable folder");
}

fn answer(way: Way, request: &Request, books: &mut Books, file: &Path) -> Answer {
    if books.busy > 0 || books.loans.len() >= books.away_after {
        books.busy = books.busy.saturating_sub(1);
        return (503, "come back later".to_owned());
    }
    let shows_token = match way {
        Way::WebIdentity => {
            request.line() == "POST /"
                && field(request, "Action").as_deref() == Some("AssumeRoleWithWebIdentity")
                && field(request, "RoleArn").as_deref() == Some(ROLE)
                && field(request, "WebIdentityToken").as_ref() == Some(&books.token)
        }
        Way::PodIdentity => {
            request.line() == "GET /v1/credentials"
                && request.header("authorization") == Some(books.token.as_str())
        }
        Way::Metadata => {
            request.line() == "GET /computeMetadata/v1/instance/service-accounts/default/token"
                && request.header("metadata-flavor") == Some("Google")
        }
        Way::Federation => {
            request.line() == "POST /tenant-1/oauth2/v2.0/token"
                && field(request, "client_id").as_deref() == Some("client-1")
                && field(request, "scope").as_deref() == Some("https://storage.azure.com/.default")
                && field(request, "client_assertion").as_ref() == Some(&books.token)
        }
    };
    if books.refusing || !shows_token {
        return refusal(way, &books.token);
    }
    let number = books.loans.len();
    let loan = Loan {
        id: format!("lent-id-{number}"),
        secret: format!("lent-secret-{number}"),
        session: format!("lent-session-{number}"),
        expires: SystemTime::now() + books.life,
    };
    let lent = lent(way, &loan, books.life);
    books.loans.push(loan);
    replace_token(books, file);
    (200, lent)
}

/// What each of them says to who may not have credentials; a careless one repeats the token.
fn refusal(way: Way, token: &str) -> Answer {
    match way {
        Way::WebIdentity => (
            403,
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform \
                 sts:AssumeRoleWithWebIdentity ({token})</Message></Error></ErrorResponse>"
            ),
        ),
        Way::PodIdentity => (400, "(AccessDeniedException): Unauthorized, fault: client\n".to_owned()),
        Way::Metadata => (403, "Permission 'iam.serviceAccounts.getAccessToken' denied\n".to_owned()),
        Way::Federation => (
            401,
            json!({
                "error": "invalid_client",
                "error_description": "AADSTS700213: No matching federated identity record found",
            })
            .to_string(),
        ),
    }
}

fn lent(way: Way, loan: &Loan, life: Duration) -> String {
    let Loan { id, secret, session, expires } = loan;
    let expiration = humantime::format_rfc3339_millis(*expires);
    match way {
        Way::WebIdentity => format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}\
             </SecretAccessKey><SessionToken>{session}</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
             </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        ),
        Way::PodIdentity => json!({
            "AccessKeyId": id,
            "SecretAccessKey": secret,
            "Token": session,
            "AccountId": "123456789012",
            "Expiration": expiration.to_string(),
        })
        .to_string(),
        Way::Metadata | Way::Federation => {
            json!({"access_token": id, "expires_in": life.as_secs(), "token_type": "Bearer"}).to_string()
        }
    }
}

fn field(request: &Request, name: &str) -> Option<String> {
    let text = request.text();
    let value = text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?.to_owned();
    Some(percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
}

/// A store that takes what a lender has lent, and nothing else; behind it is a real server.
pub struct Gate {
    inner: Arc<Inner>,
    server: Server,
}

struct Inner {
    store: Store,
    lender: Lender,
}

enum Store {
    S3(S3Server),
    Google(FakeGcs),
    Azure(Azurite),
}

impl Gate {
    /// Starts a gate before SeaweedFS.
    pub fn before_s3(way: Way) -> Option<Self> {
        Some(Self::start(Store::S3(super::seaweedfs()?), way))
    }

    /// Starts a gate before fake-gcs-server.
    pub fn before_google() -> Option<Self> {
        Some(Self::start(Store::Google(super::fake_gcs()?), Way::Metadata))
    }

    /// Starts a gate before Azurite.
    pub fn before_azure() -> Option<Self> {
        Some(Self::start(Store::Azure(super::azurite()?), Way::Federation))
    }

    fn start(store: Store, way: Way) -> Self {
        let inner = Arc::new(Inner { store, lender: Lender::start(way) });
        let server = Server::start({
            let inner = Arc::clone(&inner);
            move |request, stream| inner.pass(request, stream)
        });
        Self { inner, server }
    }

    /// Returns who lends.
    pub fn lender(&self) -> &Lender {
        &self.inner.lender
    }
}

impl Inner {
    fn store(&self) -> &dyn StoreServer {
        match &self.store {
            Store::S3(server) => server,
            Store::Google(server) => server,
            Store::Azure(server) => server,
        }
    }

    fn pass(&self, request: &Request, stream: &TcpStream) -> io::Result<()> {
        if let Err((status, code)) = self.judge(request) {
            self.lender.books().turned_away.push(format!("{code}: {}", request.line()));
            let body =
                format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No.</Message></Error>");
            return send(stream, request, status, &[], body.as_bytes());
        }
        let passed = match &self.store {
            Store::S3(_) => {
                let mut passed = without(request, &["authorization", "x-amz-security-token"]);
                sigv4::sign(&mut passed, S3Server::OWNER.access_key, S3Server::OWNER.secret_key);
                passed
            }
            Store::Google(_) => without(request, &["authorization"]),
            Store::Azure(server) => signed_for_azurite(request, &server.address()),
        };
        forward(&passed, &self.store().address(), stream)
    }

    /// Returns status and code of the refusal.
    fn judge(&self, request: &Request) -> Result<(), (u16, &'static str)> {
        let books = self.lender.books();
        let shown = request.header("authorization").unwrap_or_default();
        let is_shown = |loan: &&Loan| match self.store {
            Store::S3(_) => shown.contains(&format!("Credential={}/", loan.id)),
            _ => shown.strip_prefix("Bearer ") == Some(loan.id.as_str()),
        };
        let Some(loan) = books.loans.iter().find(is_shown) else {
            return Err(match self.store {
                Store::S3(_) => (403, "InvalidAccessKeyId"),
                _ => (401, "AuthenticationFailed"),
            });
        };
        if let Store::S3(_) = self.store {
            if request.header("x-amz-security-token") != Some(loan.session.as_str()) {
                return Err((403, "InvalidToken"));
            }
            if !sigv4::is_signed_with(request, &loan.secret) {
                return Err((403, "SignatureDoesNotMatch"));
            }
        }
        if SystemTime::now() < loan.expires {
            return Ok(());
        }
        Err(match self.store {
            Store::S3(_) => (400, "ExpiredToken"),
            _ => (401, "AuthenticationFailed"),
        })
    }
}

fn without(request: &Request, names: &[&str]) -> Request {
    let mut request = request.clone();
    request.headers.retain(|(name, _)| !names.contains(&name.as_str()));
    request
}

/// Azurite takes bearers on TLS alone, so it gets the same request signed with its key.
fn signed_for_azurite(request: &Request, address: &str) -> Request {
    let plain = without(request, &["authorization", "x-ms-date", "x-ms-version", "host"]);
    let uri = format!("http://{address}{}", plain.target);
    let mut builder = http::Request::builder().method(plain.method.as_str()).uri(uri);
    for (name, value) in &plain.headers {
        builder = builder.header(name, value);
    }
    let mut signed: HttpRequest = builder.body(HttpRequestBody::empty()).expect("what was a request is one");
    let key = AzureAccessKey::try_new(Azurite::KEY).expect("a key");
    AzureAuthorizer::new(&AzureCredential::AccessKey(key), Azurite::ACCOUNT).authorize(&mut signed);
    let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
    let headers = signed.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
    let host = ("host".to_owned(), address.to_owned());
    Request { headers: headers.chain([host]).collect(), ..plain }
}

impl StoreServer for Gate {
    fn scheme(&self) -> &'static str {
        self.inner.store().scheme()
    }

    fn address(&self) -> String {
        self.server.address().to_string()
    }

    fn variables_at(&self, address: &str) -> Vec<(&'static str, String)> {
        let mut variables = self.inner.lender.variables();
        variables.extend(match self.inner.store {
            Store::S3(_) => vec![
                ("AWS_ENDPOINT_URL_S3", format!("http://{address}")),
                ("AWS_REGION", "us-east-1".to_owned()),
            ],
            Store::Google(_) => vec![("GOOGLE_BASE_URL", format!("http://{address}"))],
            Store::Azure(_) => vec![
                ("AZURE_STORAGE_ACCOUNT_NAME", Azurite::ACCOUNT.to_owned()),
                ("AZURE_STORAGE_ENDPOINT", format!("http://{address}/{}", Azurite::ACCOUNT)),
            ],
        });
        variables
    }

    /// What is lent is called so that all of it, and nothing else, contains one of these.
    fn secrets(&self) -> Vec<&'static str> {
        vec!["workload-token-", "lent-id-", "lent-secret-", "lent-session-", "Bearer"]
    }

    fn make_bucket(&self, bucket: &str) {
        self.inner.store().make_bucket(bucket);
    }

    fn object_store(&self, bucket: &str) -> Arc<dyn ObjectStore> {
        self.inner.store().object_store(bucket)
    }
}

#[test]
fn a_gate_lets_nobody_in_who_has_lent_nothing() {
    let Some(gate) = Gate::before_s3(Way::PodIdentity) else { return };
    gate.make_bucket("scenes");
    let store = S3Server::store_at(&gate.server.url(), "scenes");
    let key = object_store::path::Path::from("x");
    let error = super::s3_server::block_on(object_store::ObjectStoreExt::get(&store, &key)).unwrap_err();
    assert!(error.to_string().contains("InvalidAccessKeyId"), "{error}");
    assert_eq!(gate.lender().turned_away(), ["InvalidAccessKeyId: GET /scenes/x"]);
}
