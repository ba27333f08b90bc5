//! Which credentials a cluster or cloud hands to a workload, and what they are asked for with.
//!
//! An [`Exchange`] is one question, such as AWS's `AssumeRoleWithWebIdentity`; [`super::renewing::Renewing`] asks it.
//! The token that a question proves itself with is read from its file each time: Kubernetes replaces it.

use std::time::{Duration, SystemTime};

use http::{Method, Request, header};
use object_store::aws::AwsCredential;
use object_store::azure::{AzureConfigKey, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::gcp::GcpCredential;
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::credentials::expiration_of;
use super::environment::Environment;
use super::options::check_endpoint;
use super::store_error::{CHECK_CREDENTIALS, element};
use crate::vocabulary::error::{Error, Result};

/// Credentials that somebody has lent.
pub(super) struct Lent<C> {
    pub(super) credential: C,
    pub(super) expires: SystemTime,
}

/// A request, and the token in it, which no message may repeat.
pub(super) struct Asked {
    pub(super) request: HttpRequest,
    pub(super) token: String,
}

type Prepare = Box<dyn Fn() -> Result<Asked, String> + Send + Sync>;

/// A question that is answered with credentials. Has no `Debug` on purpose.
pub(super) struct Exchange<C> {
    /// Who is asked, for people.
    pub(super) name: &'static str,
    /// Where.
    pub(super) url: String,
    /// What to do if the answer is no.
    pub(super) advice: &'static str,
    /// Whether somebody has set it up: then it is waited for, else it is only tried.
    pub(super) expected: bool,
    /// Whether it is on this machine, where no proxy leads to.
    pub(super) local: bool,
    /// Makes the request.
    pub(super) prepare: Prepare,
    /// Reads the answer; `None` if it holds no credentials.
    pub(super) parse: fn(&str) -> Option<Lent<C>>,
}

const CHECK_ROLE: &str = "check that the role of AWS_ROLE_ARN exists, and that its trust policy names this cluster's OIDC \
                          provider, this pod's namespace and its service account";
const CHECK_ASSOCIATION: &str = "check that this pod's service account has a pod identity association (or the task a role), \
                                 and the trust policy of its role";
const CHECK_BINDING: &str = "check that this pod's service account may use the bucket, or that it may act as the Google service \
                             account it is annotated with (roles/iam.workloadIdentityUser)";
const CHECK_FEDERATION: &str = "check the federated credential of the identity in AZURE_CLIENT_ID: its issuer, and its subject, which \
                                names this pod's namespace and service account";

/// Returns AWS's web identity, which EKS gives to service accounts (IRSA).
///
/// - `region`: of the bucket; `AWS_REGION` is closer to this machine
///
/// # Errors
///
/// `Config` if it is set up by half.
pub(super) fn web_identity(
    environment: &Environment,
    region: &str,
) -> Result<Option<Exchange<AwsCredential>>> {
    let Some(file) = environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").map(str::to_owned) else {
        return Ok(None);
    };
    let role = environment.get("AWS_ROLE_ARN").map(str::to_owned).ok_or_else(|| {
        Error::config("AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not")
            .hint("set AWS_ROLE_ARN to the role, as the annotation eks.amazonaws.com/role-arn of a service account does")
    })?;
    let session = environment.get("AWS_ROLE_SESSION_NAME").unwrap_or("tilefleet").to_owned();
    let url = sts_url(environment, region)?;
    let prepare = {
        let url = url.clone();
        move || -> Result<Asked, String> {
            let token = token_in(&file)?;
            let request = form(
                &url,
                &[
                    ("Action", "AssumeRoleWithWebIdentity"),
                    ("Version", "2011-06-15"),
                    ("DurationSeconds", "3600"),
                    ("RoleArn", &role),
                    ("RoleSessionName", &session),
                    ("WebIdentityToken", &token),
                ],
            )?;
            Ok(Asked { request, token })
        }
    };
    Ok(Some(Exchange {
        name: "AWS STS (AWS_WEB_IDENTITY_TOKEN_FILE)",
        url,
        advice: CHECK_ROLE,
        expected: true,
        local: false,
        prepare: Box::new(prepare),
        parse: of_sts,
    }))
}

fn sts_url(environment: &Environment, region: &str) -> Result<String> {
    const VARIABLE: &str = "AWS_ENDPOINT_URL_STS";
    if let Some(url) = environment.get(VARIABLE) {
        check_endpoint(VARIABLE, url)?;
        return Ok(url.to_owned());
    }
    let region = environment.first(&super::connect::REGION_VARIABLES).unwrap_or(region);
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    Ok(format!("https://sts.{region}.{domain}"))
}

/// Returns the service that hands credentials to a container: EKS Pod Identity, ECS.
///
/// # Errors
///
/// `Config` if its address is not a URL.
pub(super) fn container(environment: &Environment) -> Result<Option<Exchange<AwsCredential>>> {
    const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let relative = relative.map(|path| format!("http://169.254.170.2{path}"));
    let Some(url) = relative.or_else(|| environment.get(FULL).map(str::to_owned)) else { return Ok(None) };
    check_endpoint(FULL, &url)?;
    let file = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(str::to_owned);
    let given = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").unwrap_or_default().to_owned();
    let prepare = {
        let url = url.clone();
        move || -> Result<Asked, String> {
            let token = file.as_deref().map_or_else(|| Ok(given.clone()), token_in)?;
            let request = Request::get(&url);
            let request =
                if token.is_empty() { request } else { request.header(header::AUTHORIZATION, &token) };
            Ok(Asked { request: complete(request, String::new())?, token })
        }
    };
    Ok(Some(Exchange {
        name: "the container's credentials service (AWS_CONTAINER_CREDENTIALS_FULL_URI)",
        url,
        advice: CHECK_ASSOCIATION,
        expected: true,
        local: true,
        prepare: Box::new(prepare),
        parse: of_container,
    }))
}

/// Returns Google's metadata server, which GKE, too, answers for a pod's service account.
pub(super) fn google_metadata(environment: &Environment) -> Exchange<GcpCredential> {
    let named = environment.first(&["GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"]);
    // GKE's answers only seconds after a pod has started.
    let expected = named.is_some() || environment.get("KUBERNETES_SERVICE_HOST").is_some();
    // Its address is the same everywhere, and needs no name server.
    let host = named.unwrap_or("169.254.169.254");
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
    let prepare = {
        let url = url.clone();
        move || -> Result<Asked, String> {
            let request = Request::get(&url).header("Metadata-Flavor", "Google");
            Ok(Asked { request: complete(request, String::new())?, token: String::new() })
        }
    };
    Exchange {
        name: "Google's metadata server",
        url,
        advice: if expected { CHECK_BINDING } else { CHECK_CREDENTIALS },
        expected,
        local: true,
        prepare: Box::new(prepare),
        parse: of_google,
    }
}

/// Returns Microsoft Entra's exchange for a federated token, which AKS gives to service accounts.
pub(super) fn azure_federation(builder: &MicrosoftAzureBuilder) -> Option<Exchange<AzureCredential>> {
    let file = builder.get_config_value(&AzureConfigKey::FederatedTokenFile)?;
    let client = builder.get_config_value(&AzureConfigKey::ClientId)?;
    let tenant = builder.get_config_value(&AzureConfigKey::AuthorityId)?;
    let authority = builder.get_config_value(&AzureConfigKey::AuthorityHost);
    let authority = authority.as_deref().unwrap_or(object_store::azure::authority_hosts::AZURE_PUBLIC_CLOUD);
    // AKS sets it with a slash at its end.
    let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'));
    let prepare = {
        let url = url.clone();
        move || -> Result<Asked, String> {
            let token = token_in(&file)?;
            let request = form(
                &url,
                &[
                    ("grant_type", "client_credentials"),
                    ("client_id", &client),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", &token),
                    ("scope", "https://storage.azure.com/.default"),
                ],
            )?;
            Ok(Asked { request, token })
        }
    };
    Some(Exchange {
        name: "Microsoft Entra (AZURE_FEDERATED_TOKEN_FILE)",
        url,
        advice: CHECK_FEDERATION,
        expected: true,
        local: false,
        prepare: Box::new(prepare),
        parse: of_azure,
    })
}

fn token_in(file: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|cause| format!("cannot read {file}: {cause}"))?;
    Ok(text.trim().to_owned())
}

fn form(url: &str, fields: &[(&str, &str)]) -> Result<HttpRequest, String> {
    let body = Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    complete(request, body)
}

fn complete(request: http::request::Builder, body: String) -> Result<HttpRequest, String> {
    // The cause may repeat a token.
    request.body(HttpRequestBody::from(body)).map_err(|_| "its address or the token is malformed".to_owned())
}

fn of_sts(answer: &str) -> Option<Lent<AwsCredential>> {
    let credential = AwsCredential {
        key_id: element(answer, "AccessKeyId")?,
        secret_key: element(answer, "SecretAccessKey")?,
        token: Some(element(answer, "SessionToken")?),
    };
    Some(Lent { credential, expires: expiration_of(&element(answer, "Expiration")?) })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfContainer {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

fn of_container(answer: &str) -> Option<Lent<AwsCredential>> {
    let answer: OfContainer = serde_json::from_str(answer).ok()?;
    let credential = AwsCredential {
        key_id: answer.access_key_id,
        secret_key: answer.secret_access_key,
        token: Some(answer.token),
    };
    Some(Lent { credential, expires: expiration_of(&answer.expiration) })
}

#[derive(Deserialize)]
struct Bearer {
    access_token: String,
    expires_in: u32,
}

impl Bearer {
    fn read(answer: &str) -> Option<(String, SystemTime)> {
        let Self { access_token, expires_in } = serde_json::from_str(answer).ok()?;
        Some((access_token, SystemTime::now() + Duration::from_secs(expires_in.into())))
    }
}

fn of_google(answer: &str) -> Option<Lent<GcpCredential>> {
    let (bearer, expires) = Bearer::read(answer)?;
    Some(Lent { credential: GcpCredential { bearer }, expires })
}

fn of_azure(answer: &str) -> Option<Lent<AzureCredential>> {
    let (bearer, expires) = Bearer::read(answer)?;
    Some(Lent { credential: AzureCredential::BearerToken(bearer), expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sts(variables: &[(&str, &str)], region: &str) -> Result<String> {
        sts_url(&Environment::of(variables.iter().copied()), region)
    }

    #[test]
    fn sts_is_asked_in_the_region_of_this_machine() {
        assert_eq!(sts(&[], "eu-west-1").unwrap(), "https://sts.eu-west-1.amazonaws.com");
        assert_eq!(
            sts(&[("AWS_REGION", "us-west-2")], "eu-west-1").unwrap(),
            "https://sts.us-west-2.amazonaws.com"
        );
        assert_eq!(sts(&[], "cn-north-1").unwrap(), "https://sts.cn-north-1.amazonaws.com.cn");
        assert_eq!(sts(&[("AWS_ENDPOINT_URL_STS", "http://minio:9000")], "x").unwrap(), "http://minio:9000");
        let error = sts(&[("AWS_ENDPOINT_URL_STS", "http://me:SECRET@minio")], "x").unwrap_err();
        assert!(!error.render().contains("SECRET"), "{}", error.render());
    }

    #[test]
    fn half_a_web_identity_is_not_silently_another() {
        let environment = Environment::of([("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")]);
        let error = web_identity(&environment, "eu-west-1").err().unwrap();
        assert!(error.render().contains("AWS_ROLE_ARN is not"), "{}", error.render());
        let role_alone = Environment::of([("AWS_ROLE_ARN", "arn:aws:iam::1:role/x")]);
        assert!(web_identity(&role_alone, "eu-west-1").unwrap().is_none(), "the AWS tools ignore it, too");
    }

    #[test]
    fn the_token_of_a_web_identity_is_in_the_body() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "JWT+1\n").unwrap();
        let variables = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/x"),
        ];
        let exchange = web_identity(&Environment::of(variables), "eu-west-1").unwrap().unwrap();
        let asked = (exchange.prepare)().unwrap();
        assert_eq!(asked.token, "JWT+1");
        assert_eq!(asked.request.uri(), "https://sts.eu-west-1.amazonaws.com/");
        let body = String::from_utf8(asked.request.body().as_bytes().unwrap().to_vec()).unwrap();
        assert!(body.ends_with("&RoleSessionName=tilefleet&WebIdentityToken=JWT%2B1"), "{body}");
        std::fs::remove_file(&file).unwrap();
        assert!((exchange.prepare)().err().unwrap().contains("cannot read"));
    }

    #[test]
    fn a_container_may_do_without_a_token() {
        let prepare = |variables: &[(&str, &str)]| {
            let exchange = container(&Environment::of(variables.iter().copied())).unwrap().unwrap();
            (exchange.prepare)().unwrap().request
        };
        let plain = prepare(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")]);
        assert_eq!(plain.uri(), "http://169.254.170.2/v2/x");
        assert!(plain.headers().is_empty());
        let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://[fd00:ec2::23]/v1/credentials");
        let proven = prepare(&[full, ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "T")]);
        assert_eq!(proven.uri().host(), Some("[fd00:ec2::23]"));
        assert_eq!(proven.headers()["authorization"], "T");
        assert!(container(&Environment::of([])).unwrap().is_none());
    }

    #[test]
    fn googles_metadata_server_is_expected_in_a_pod() {
        let of = |variables: &[(&str, &str)]| google_metadata(&Environment::of(variables.iter().copied()));
        let elsewhere = of(&[]);
        assert!(!elsewhere.expected && elsewhere.url.starts_with("http://169.254.169.254/"));
        assert!(elsewhere.advice.contains("storage.anonymous"), "{}", elsewhere.advice);
        assert!(of(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]).expected);
        let named = of(&[("GCE_METADATA_HOST", "localhost:1")]);
        assert!(named.expected && named.url.starts_with("http://localhost:1/computeMetadata/"));
    }

    #[test]
    fn the_slash_that_aks_writes_is_not_doubled() {
        let builder = |authority: Option<&str>| {
            let keys = [
                (AzureConfigKey::FederatedTokenFile, "/token"),
                (AzureConfigKey::ClientId, "client"),
                (AzureConfigKey::AuthorityId, "tenant"),
            ];
            let keys = keys.into_iter().chain(authority.map(|host| (AzureConfigKey::AuthorityHost, host)));
            keys.fold(MicrosoftAzureBuilder::new(), |builder, (key, value)| builder.with_config(key, value))
        };
        let expected = "https://login.microsoftonline.com/tenant/oauth2/v2.0/token";
        for authority in [None, Some("https://login.microsoftonline.com/")] {
            assert_eq!(azure_federation(&builder(authority)).unwrap().url, expected);
        }
        assert!(azure_federation(&MicrosoftAzureBuilder::new()).is_none());
    }

    #[test]
    fn answers_without_credentials_are_none() {
        let sts = "<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S+/=</SecretAccessKey>\
                   <SessionToken>T</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>";
        let lent = of_sts(sts).unwrap();
        assert_eq!((&*lent.credential.key_id, &*lent.credential.secret_key), ("A", "S+/="));
        assert!(lent.expires > SystemTime::now());
        assert!(of_sts("<html>").is_none() && of_container("{}").is_none());
        assert!(of_google("{\"access_token\": \"T\"}").is_none());
        assert!(of_azure("{\"access_token\": \"T\", \"expires_in\": 3599}").is_some());
    }
}
