//! Builds connections from the options, the environment and AWS profiles.
//!
//! Precedence for S3 credentials: `storage.anonymous`, the profile named in the options, keys in the
//! environment, `AWS_PROFILE`, web identity, the profile `default`, container and instance metadata. What a workload is
//! given by its cluster is asked for by ourselves ([`super::renewing`]), all else by `object_store`.
//! Builders are never printed: their `Debug` shows secrets.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, resolve_bucket_region};
use object_store::azure::{AzureConfigKey, AzureCredential, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};

use super::credentials::{Marked, ProcessCredentials};
use super::environment::Environment;
use super::options::{StorageOptions, check_endpoint};
use super::pace::LeastPace;
use super::profile::{Profile, ProfileCredentials};
use super::redact::redact;
use super::redirect::Redirects;
use super::renewing::{Patience, Renewing};
use super::request_timeout::RequestTimeout;
use super::sign::Signer;
use super::store_error::failure;
use super::transport;
use super::uri::{ObjectUri, Scheme};
use super::web::Web;
use super::workload::{Exchange, azure_federation, container, google_metadata, web_identity};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::Naming;
use crate::vocabulary::process::Process;

/// All that is needed to connect to a bucket, once it is used.
#[derive(Clone)]
pub(super) struct StorePlan {
    pub(super) options: Arc<StorageOptions>,
    pub(super) environment: Arc<Environment>,
    /// Where redirects may lead; empty: anywhere.
    pub(super) allow: Arc<[ObjectUri]>,
    pub(super) process: Arc<Process>,
    signer: Option<Arc<Signer>>,
}

type Store = Arc<dyn ObjectStore>;

// The builders of object_store have these methods in common, but no trait.

/// Lets a builder find out who this machine is, which must not take long, and marks what it found.
macro_rules! with_chain {
    ($builder:expr, $client:expr, $root:expr) => {{
        let brief = $builder.clone().with_client_options(brief($client)).with_retry(brief_retry());
        let chain = brief.build().map_err(|cause| cannot_connect(&cause, $root))?;
        $builder.with_credentials(Arc::new(Marked::new(Arc::clone(chain.credentials()))))
    }};
}

/// Ends a builder: how often and how long to try.
macro_rules! connected {
    ($plan:expr, $builder:expr, $root:expr) => {
        connected!($plan, $builder, $root, $plan.connector())
    };
    ($plan:expr, $builder:expr, $root:expr, $connector:expr) => {{
        let builder = $builder.with_retry($plan.retry()).with_http_connector($connector);
        let store = builder.build().map_err(|cause| cannot_connect(&cause, $root))?;
        Ok(Arc::new(store) as Store)
    }};
}

/// Variables that name an S3-compatible server where `storage.endpoint` does not: the first that is set.
pub const ENDPOINT_VARIABLES: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
/// The same of `storage.region`.
pub const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

impl StorePlan {
    /// Prepares connections; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// `Config` if requests to a token service cannot be prepared.
    pub(super) fn new(
        options: StorageOptions,
        environment: Environment,
        process: Arc<Process>,
    ) -> Result<Self> {
        let (options, environment) = (Arc::new(options), Arc::new(environment));
        let mut plan = Self { options, environment, allow: Arc::default(), process, signer: None };
        if let Some(sign) = &plan.options.sign {
            plan.signer =
                Some(Arc::new(Signer::new(sign, Web::new(&plan, &sign.endpoint, &Naming::default())?)));
        }
        Ok(plan)
    }

    /// Returns how long an answer may pause, and how slow it may be.
    pub(super) fn pace(&self) -> LeastPace {
        LeastPace { silence: self.options.request_timeout, bytes_a_second: self.options.min_rate }
    }

    /// Connects to the bucket of `root`.
    ///
    /// # Errors
    ///
    /// `Config` if endpoint, profile or credentials cannot be used.
    pub(super) async fn open(&self, root: &ObjectUri) -> Result<Store> {
        match root.scheme() {
            Scheme::S3 => self.open_s3(root).await,
            Scheme::Gs => self.open_google(root),
            Scheme::Az => self.open_azure(root),
            Scheme::Http | Scheme::Https => self.open_http(root),
            Scheme::File => Err(Error::bug("local files need no connection")),
        }
    }

    async fn open_s3(&self, root: &ObjectUri) -> Result<Store> {
        let profile = Profile::load(self.options.profile.as_deref(), &self.environment)?;
        let mut builder = AmazonS3Builder::new().with_bucket_name(root.store());
        for (key, value) in self.environment.with_prefix("AWS_") {
            if let Ok(key) = key.parse::<AmazonS3ConfigKey>()
                && !matches!(key, AmazonS3ConfigKey::Client(_) | AmazonS3ConfigKey::Bucket)
            {
                builder = builder.with_config(key, value);
            }
        }
        let endpoint = self.s3_endpoint(&profile)?;
        if let Some(endpoint) = &endpoint {
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        let region = self.s3_region(root, &profile, endpoint.is_some()).await;
        let client = self.client_options("AWS_ALLOW_HTTP", endpoint.as_deref());
        builder = builder.with_region(region).with_client_options(client.clone());
        if self.options.requester_pays {
            builder = builder.with_request_payer(true);
        }
        builder = self.with_s3_credentials(builder, &profile, &client, root)?;
        connected!(self, builder, root)
    }

    fn s3_endpoint(&self, profile: &Profile) -> Result<Option<String>> {
        if let Some(endpoint) = &self.options.endpoint {
            return Ok(Some(endpoint.clone()));
        }
        let endpoint = self.environment.first(&ENDPOINT_VARIABLES).or_else(|| profile.get("endpoint_url"));
        endpoint.map(|url| check_endpoint("the S3 endpoint URL", url).map(|()| url.to_owned())).transpose()
    }

    async fn s3_region(&self, root: &ObjectUri, profile: &Profile, has_endpoint: bool) -> String {
        let in_environment = self.environment.first(&REGION_VARIABLES);
        let told = self.options.region.as_deref().or(in_environment).or_else(|| profile.get("region"));
        if let Some(region) = told {
            return region.to_owned();
        }
        if !has_endpoint {
            let client = self.client_options("", None).with_timeout(self.options.request_timeout);
            if let Ok(region) = resolve_bucket_region(root.store(), &client).await {
                tracing::debug!(
                    bucket = &*root.bucket_name(),
                    region,
                    "no region is set: using the bucket's own"
                );
                return region;
            }
        }
        "us-east-1".to_owned()
    }

    fn with_s3_credentials(
        &self,
        builder: AmazonS3Builder,
        profile: &Profile,
        client: &ClientOptions,
        root: &ObjectUri,
    ) -> Result<AmazonS3Builder> {
        if self.options.anonymous || self.environment.is_on("AWS_SKIP_SIGNATURE") {
            return Ok(builder.with_skip_signature(true));
        }
        if !self.profile_comes_first() {
            return self.with_s3_chain(builder, client, root);
        }
        match profile.credentials()? {
            ProfileCredentials::Static { key_id, secret_key, token } => {
                // A session token of the environment belongs to the keys of the environment.
                let token = token.unwrap_or_default();
                let keys = AwsCredential { key_id, secret_key, token: (!token.is_empty()).then_some(token) };
                let provider = object_store::StaticCredentialProvider::new(keys);
                Ok(builder.with_credentials(Arc::new(provider)))
            }
            ProfileCredentials::Process(command) => {
                Ok(builder.with_credentials(Arc::new(ProcessCredentials::new(command))))
            }
            ProfileCredentials::None => self.with_s3_chain(builder, client, root),
        }
    }

    fn profile_comes_first(&self) -> bool {
        if self.options.profile.is_some() {
            return true;
        }
        let keys = self.environment.get("AWS_ACCESS_KEY_ID").is_some();
        let web_identity = self.environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some();
        !keys && (self.environment.get("AWS_PROFILE").is_some() || !web_identity)
    }

    /// Uses keys of the environment, or finds out who this machine is, which must not take long.
    fn with_s3_chain(
        &self,
        builder: AmazonS3Builder,
        client: &ClientOptions,
        root: &ObjectUri,
    ) -> Result<AmazonS3Builder> {
        match self.aws_workload(&builder)? {
            Some(exchange) => Ok(builder.with_credentials(self.renewing(exchange)?)),
            None => Ok(with_chain!(builder, client, root)),
        }
    }

    /// Returns what a workload gets its credentials by, unless there are keys.
    fn aws_workload(&self, builder: &AmazonS3Builder) -> Result<Option<Exchange<AwsCredential>>> {
        if ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
            .iter()
            .any(|key| self.environment.get(key).is_some())
        {
            return Ok(None);
        }
        let region = builder.get_config_value(&AmazonS3ConfigKey::Region).unwrap_or_default();
        match web_identity(&self.environment, &region)? {
            Some(exchange) => Ok(Some(exchange)),
            None => container(&self.environment),
        }
    }

    /// Makes a provider that asks for credentials as they are needed.
    fn renewing<C>(&self, exchange: Exchange<C>) -> Result<Arc<Renewing<C>>> {
        let patience = if exchange.expected {
            Patience { answer: self.options.request_timeout, total: self.options.retry_timeout }
        } else {
            Patience { answer: BRIEF, total: BRIEF }
        };
        let connect_timeout = if exchange.expected { self.options.connect_timeout } else { BRIEF_CONNECT };
        // Whoever writes http:// means it.
        let plain = exchange.url.starts_with("http://");
        let client = transport::client(plain, connect_timeout, !exchange.local).map_err(|cause| {
            Error::config(format!("cannot prepare requests to {}", exchange.name))
                .because(redact(&cause.to_string()))
        })?;
        Ok(Arc::new(Renewing::new(exchange, client, patience, Arc::clone(&self.process))))
    }

    fn open_google(&self, root: &ObjectUri) -> Result<Store> {
        let mut builder = GoogleCloudStorageBuilder::new();
        if let Some(path) = self.environment.get("SERVICE_ACCOUNT") {
            builder = builder.with_service_account_path(path);
        }
        for (key, value) in self.environment.with_prefix("GOOGLE_") {
            if let Ok(key) = key.parse::<GoogleConfigKey>()
                && !matches!(key, GoogleConfigKey::Client(_) | GoogleConfigKey::Bucket)
            {
                builder = builder.with_config(key, value);
            }
        }
        let endpoint = self.environment.get("GOOGLE_BASE_URL");
        let client = self.client_options("GOOGLE_ALLOW_HTTP", endpoint);
        builder = builder.with_bucket_name(root.store()).with_client_options(client.clone());
        if self.reads_google_only() {
            builder = builder.with_skip_signature(true);
        } else if !self.has_google_account(&builder) {
            builder = builder.with_credentials(self.renewing(google_metadata(&self.environment))?);
        } else {
            builder = with_chain!(builder, &client, root);
        }
        connected!(self, builder, root)
    }

    /// Returns whether there is a file or text with an account, as `object_store` looks for one.
    fn has_google_account(&self, builder: &GoogleCloudStorageBuilder) -> bool {
        use GoogleConfigKey::{ApplicationCredentials, ServiceAccount, ServiceAccountKey};
        let keys = [ServiceAccount, ServiceAccountKey, ApplicationCredentials];
        let of_gcloud = |home: &str| {
            std::path::Path::new(home).join(".config/gcloud/application_default_credentials.json").exists()
        };
        keys.iter().any(|key| builder.get_config_value(key).is_some())
            || self.environment.get("HOME").is_some_and(of_gcloud)
    }

    /// Returns whether Google Cloud Storage is asked without credentials.
    pub(super) fn reads_google_only(&self) -> bool {
        self.options.anonymous || self.environment.is_on("GOOGLE_SKIP_SIGNATURE")
    }

    fn open_azure(&self, root: &ObjectUri) -> Result<Store> {
        let mut builder = MicrosoftAzureBuilder::new();
        for (key, value) in self.environment.with_prefix("AZURE_") {
            if let Ok(key) = key.parse::<AzureConfigKey>()
                && !matches!(key, AzureConfigKey::Client(_) | AzureConfigKey::ContainerName)
            {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(endpoint) = self.environment.get("IDENTITY_ENDPOINT") {
            builder = builder.with_msi_endpoint(endpoint);
        }
        let endpoint = self.environment.first(&["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]);
        let client = self.client_options("AZURE_ALLOW_HTTP", endpoint);
        builder = match root.store().split_once('@') {
            Some((container, host)) => {
                builder.with_container_name(container).with_account(host.split('.').next().unwrap_or(host))
            }
            None => builder.with_container_name(root.store()),
        };
        builder = builder.with_client_options(client.clone());
        if self.options.anonymous {
            builder = builder.with_skip_signature(true);
        } else if let Some(exchange) = azure_workload(&builder) {
            builder = builder.with_credentials(self.renewing(exchange)?);
        } else {
            builder = with_chain!(builder, &client, root);
        }
        connected!(self, builder, root)
    }

    fn open_http(&self, root: &ObjectUri) -> Result<Store> {
        let builder = HttpBuilder::new()
            .with_url(root.for_reading())
            // Whoever writes http:// means it.
            .with_client_options(self.client_options("", Some(root.for_reading())));
        // A document of somebody else's may say http://, and a token is a secret.
        let is_safe = root.for_reading().starts_with("https://") || self.options.allow_http;
        let covered = is_safe && self.options.sign.as_ref().is_some_and(|sign| sign.covers(root.store()));
        let signer = self.signer.clone().filter(|_| covered);
        connected!(self, builder, root, RequestTimeout { signer, ..self.web_connector() })
    }

    /// Limits of the connection; `variable` allows plain `http`, and so does an endpoint that says so.
    pub(super) fn client_options(&self, variable: &str, endpoint: Option<&str>) -> ClientOptions {
        let plain = endpoint.is_some_and(|url| url.starts_with("http://"));
        let allow_http = self.options.allow_http || plain || self.environment.is_on(variable);
        ClientOptions::new()
            .with_config(ClientConfigKey::UserAgent, concat!("tilefleet/", env!("CARGO_PKG_VERSION")))
            .with_allow_http(allow_http)
            .with_connect_timeout(self.options.connect_timeout)
            // `RequestTimeout` limits the wait instead, with regard to what is sent.
            .with_timeout_disabled()
    }

    /// Makes what makes clients for stores, whose requests are signed for one host.
    pub(super) fn connector(&self) -> RequestTimeout {
        let StorageOptions { request_timeout, connect_timeout, .. } = &*self.options;
        RequestTimeout {
            limit: *request_timeout,
            connect_limit: *connect_timeout,
            signer: None,
            redirects: None,
        }
    }

    /// Makes what makes clients for web servers.
    pub(super) fn web_connector(&self) -> RequestTimeout {
        let redirects = Redirects { allow: self.allow.clone(), allow_http: self.options.allow_http };
        RequestTimeout { redirects: Some(redirects), ..self.connector() }
    }

    fn retry(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() },
            max_retries: self.options.max_retries,
            retry_timeout: self.options.retry_timeout,
        }
    }
}

/// Returns what a workload gets its credentials by, unless there is a token or key.
fn azure_workload(builder: &MicrosoftAzureBuilder) -> Option<Exchange<AzureCredential>> {
    let given = [AzureConfigKey::Token, AzureConfigKey::AccessKey];
    if given.iter().any(|key| builder.get_config_value(key).is_some()) {
        return None;
    }
    azure_federation(builder)
}

/// How long it is asked who this machine is: on a laptop nobody answers, and that must be known soon.
const BRIEF: Duration = Duration::from_secs(5);
const BRIEF_CONNECT: Duration = Duration::from_secs(2);

fn brief(client: &ClientOptions) -> ClientOptions {
    client.clone().with_timeout(BRIEF).with_connect_timeout(BRIEF_CONNECT)
}

fn brief_retry() -> RetryConfig {
    RetryConfig { max_retries: 2, retry_timeout: BRIEF, ..RetryConfig::default() }
}

fn cannot_connect(cause: &object_store::Error, root: &ObjectUri) -> Error {
    let text = redact(&cause.to_string());
    if text.contains("Account must be specified") {
        return Error::config(format!("the storage account of {root} is not known")).hint(
            "set AZURE_STORAGE_ACCOUNT_NAME, or write abfss://container@account.dfs.core.windows.net/key",
        );
    }
    match failure(cause, &format!("connect to {}", root.bucket_name()), root.naming()) {
        // Nothing has been sent yet: what cannot be built will not be built later either.
        error if error.kind() == crate::vocabulary::error::Kind::Unavailable => {
            Error::config(format!("cannot connect to {}", root.bucket_name()))
                .because(root.naming().quote(&text).into_owned())
                .hint("check the storage settings in the pipeline file and in the environment")
        }
        error => error,
    }
}
