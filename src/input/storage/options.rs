//! `[storage]`: what the pipeline file may say about access.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sign::SignOptions;
use crate::vocabulary::error::{Error, Result};

/// `[storage]` as written in the pipeline file; every key is optional and none holds a credential.
///
/// `endpoint`, `region`, `profile` and `requester_pays` are about `s3://`; the others about every
/// store. Azure and Google take their endpoint, account and keys from `AZURE_*` and `GOOGLE_*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageOptions {
    /// URL of an S3-compatible server, such as `http://localhost:8333`; buckets are path segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region of the buckets; else `AWS_REGION`, the profile's, or the bucket's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Profile in `~/.aws/credentials` and `~/.aws/config`; takes precedence over the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether requests go unsigned, for public buckets.
    pub anonymous: bool,
    /// Whether we accept to pay for requests and traffic.
    pub requester_pays: bool,
    /// Whether plain `http` is allowed where the endpoint does not say `http` itself.
    pub allow_http: bool,
    /// How often one request is repeated; `retry_timeout` usually ends it first.
    pub max_retries: usize,
    /// How long after its start a request is still repeated.
    #[serde(with = "duration")]
    pub retry_timeout: Duration,
    /// How long the store may be silent: until it answers, and between two pieces of an answer.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// Bytes a second that an answer has to bring at least.
    pub min_rate: u64,
    /// How long a connection may take to open.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Where tokens for requests to some web servers are to be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<SignOptions>,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            profile: None,
            anonymous: false,
            requester_pays: false,
            allow_http: false,
            max_retries: 20,
            retry_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(20),
            min_rate: 4 << 10,
            connect_timeout: Duration::from_secs(5),
            sign: None,
        }
    }
}

impl StorageOptions {
    /// Checks what can be checked without a connection.
    ///
    /// # Errors
    ///
    /// `Config` if the endpoint is no `http` or `https` URL or carries credentials or a query.
    pub fn check(&self) -> Result<()> {
        self.endpoint.as_deref().map_or(Ok(()), |endpoint| check_endpoint("storage.endpoint", endpoint))?;
        self.sign.as_ref().map_or(Ok(()), SignOptions::check)
    }
}

/// Checks the URL of a server; `name` says where it was written.
pub(super) fn check_endpoint(name: &str, endpoint: &str) -> Result<()> {
    // The value itself stays out of the message: it may hold a password.
    let url = url::Url::parse(endpoint).map_err(|cause| {
        Error::config(format!("`{name}` is not a URL")).because(cause).hint("write it as https://host:port")
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::config(format!("`{name}` is neither http:// nor https://"))
            .hint("write it as https://host:port"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(Error::config(format!("`{name}` carries credentials or a query"))
            .hint("give credentials through the environment or a profile"));
    }
    Ok(())
}

mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_is_read_and_written() {
        let text = "endpoint = \"http://localhost:9000\"\nanonymous = true\nretry_timeout = \"2s\"\n";
        let options: StorageOptions = toml::from_str(text).unwrap();
        assert_eq!(options.retry_timeout, Duration::from_secs(2));
        assert_eq!(options.max_retries, StorageOptions::default().max_retries);
        let again: StorageOptions = toml::from_str(&toml::to_string(&options).unwrap()).unwrap();
        assert_eq!(again, options);
        assert!(toml::from_str::<StorageOptions>("secret = 1").is_err());
    }

    #[test]
    fn an_endpoint_holds_no_password() {
        for endpoint in ["http://me:SECRET@host", "s3://host", "host:9000", "https://h/?sig=SECRET"] {
            let options = StorageOptions { endpoint: Some(endpoint.into()), ..StorageOptions::default() };
            assert!(!options.check().unwrap_err().render().contains("SECRET"));
        }
        assert!(StorageOptions::default().check().is_ok());
    }
}
