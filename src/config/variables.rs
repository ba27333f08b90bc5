//! Environment variables of others that decide what a pipeline leaves open: who asks where a value comes from has to
//! hear of them.

use super::privacy::KEY_VARIABLE;
use crate::input::storage::{ENDPOINT_VARIABLES, REGION_VARIABLES, StorageOptions, redact};

/// A variable that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value; `None` if that may be a secret.
    pub value: Option<String>,
    /// The setting that it decides, since nothing sets it.
    pub decides: Option<&'static str>,
}

/// Variables of which the first that is set replaces a setting that is not set.
const INSTEAD: [(&str, &[&str]); 3] = [
    ("storage.endpoint", &ENDPOINT_VARIABLES),
    ("storage.region", &REGION_VARIABLES),
    ("storage.profile", &["AWS_PROFILE"]),
];

/// Switches of which any turns a setting on.
const SWITCHES: [(&str, &[&str]); 2] = [
    ("storage.anonymous", &["AWS_SKIP_SIGNATURE", "GOOGLE_SKIP_SIGNATURE"]),
    ("storage.allow_http", &["AWS_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP", "AZURE_ALLOW_HTTP"]),
];

/// Others that matter, whose values are not secrets once URLs are stripped of theirs.
const PLAIN: [&str; 45] = [
    "ALL_PROXY",
    "all_proxy",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_ENDPOINT_URL_STS",
    "AWS_METADATA_ENDPOINT",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_S3_EXPRESS",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_ENDPOINT",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_STORAGE_USE_EMULATOR",
    "AZURE_TENANT_ID",
    "CUDA_VISIBLE_DEVICES",
    "GCE_METADATA_HOST",
    "GCE_METADATA_IP",
    "GCE_METADATA_ROOT",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BASE_URL",
    "GOOGLE_SERVICE_ACCOUNT",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "IDENTITY_ENDPOINT",
    "NO_PROXY",
    "no_proxy",
    "NVIDIA_TF32_OVERRIDE",
    "ORT_DYLIB_PATH",
    "SERVICE_ACCOUNT",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TILEFLEET_CACHE",
    "TILEFLEET_LOG",
    "TILEFLEET_LOG_FORMAT",
    "TILEFLEET_PYTHON",
    "TMPDIR",
];

/// All else of the stores, such as keys, is treated as a secret.
const STORES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Returns what of an environment decides, in order of name.
///
/// - `needs_key`: whether there are pseudonyms, and no setting names the file of their key
pub(super) fn deciding(
    storage: &StorageOptions,
    needs_key: bool,
    environment: &[(String, String)],
) -> Vec<Variable> {
    let value_of = |name: &str| {
        environment
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    };
    let is_open = |setting: &str| match setting {
        "storage.endpoint" => storage.endpoint.is_none(),
        "storage.region" => storage.region.is_none(),
        "storage.profile" => storage.profile.is_none(),
        "storage.anonymous" => !storage.anonymous,
        _ => !storage.allow_http,
    };
    let decides = |name: &str| {
        let is_first = |names: &[&str]| names.iter().find(|name| value_of(name).is_some()) == Some(&name);
        let instead = INSTEAD.iter().find(|(_, names)| is_first(names));
        let is_on = |value: &str| matches!(&*value.to_ascii_lowercase(), "1" | "true" | "yes" | "on");
        let switch =
            || SWITCHES.iter().find(|(_, names)| names.contains(&name) && value_of(name).is_some_and(is_on));
        instead.or_else(switch).map(|(setting, _)| *setting).filter(|setting| is_open(setting))
    };
    let is_named = |name: &str| INSTEAD.iter().chain(&SWITCHES).any(|(_, names)| names.contains(&name));
    let shown = |(name, value): &(String, String)| {
        let is_plain = is_named(name) || PLAIN.contains(&name.as_str());
        let is_key = name == KEY_VARIABLE && needs_key;
        let matters = is_plain || is_key || STORES.iter().any(|prefix| name.starts_with(prefix));
        (matters && !value.is_empty()).then(|| Variable {
            name: name.clone(),
            value: is_plain.then(|| redact(value)),
            decides: if is_key { Some("privacy.key_file") } else { decides(name) },
        })
    };
    let mut variables: Vec<Variable> = environment.iter().filter_map(shown).collect();
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        storage: &StorageOptions,
        environment: &[(&str, &str)],
    ) -> Vec<(String, Option<String>, Option<&'static str>)> {
        let environment: Vec<_> =
            environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let variables = deciding(storage, true, &environment);
        variables.into_iter().map(|Variable { name, value, decides }| (name, value, decides)).collect()
    }

    #[test]
    fn the_first_variable_of_a_setting_that_is_open_decides() {
        let environment = [
            ("AWS_ENDPOINT", "http://third"),
            ("AWS_ENDPOINT_URL", "http://second:9000"),
            ("AWS_ENDPOINT_URL_S3", ""),
            ("AWS_ALLOW_HTTP", "true"),
            ("EDITOR", "ed"),
        ];
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(
            found(&StorageOptions::default(), &environment),
            [
                ("AWS_ALLOW_HTTP".to_owned(), value("true"), Some("storage.allow_http")),
                ("AWS_ENDPOINT".to_owned(), value("http://third"), None),
                ("AWS_ENDPOINT_URL".to_owned(), value("http://second:9000"), Some("storage.endpoint")),
            ]
        );
        let set = StorageOptions { endpoint: Some("http://set".into()), ..StorageOptions::default() };
        assert!(found(&set, &environment).iter().all(|(.., decides)| *decides != Some("storage.endpoint")));
    }

    #[test]
    fn no_secret_is_shown() {
        let environment = [
            ("AWS_ACCESS_KEY_ID", "SECRET"),
            ("AWS_SECRET_ACCESS_KEY", "SECRET"),
            ("AWS_SESSION_TOKEN", "SECRET"),
            ("AZURE_STORAGE_SAS_KEY", "SECRET"),
            ("AZURE_STORAGE_ACCOUNT_KEY", "SECRET"),
            ("GOOGLE_SERVICE_ACCOUNT_KEY", "SECRET"),
            ("AWS_SOMETHING_NEW", "SECRET"),
            ("TILEFLEET_PRIVACY_KEY", "SECRET"),
            ("HTTPS_PROXY", "http://me:SECRET@proxy:3128"),
            ("AWS_ENDPOINT_URL", "http://me:SECRET@host/?sig=SECRET"),
        ];
        let found = found(&StorageOptions::default(), &environment);
        assert_eq!(found.len(), environment.len());
        assert!(!format!("{found:?}").contains("SECRET\""), "{found:?}");
        assert!(!format!("{found:?}").contains("SECRET@"), "{found:?}");
        let shown: Vec<_> = found.iter().filter_map(|(_, value, _)| value.as_deref()).collect();
        assert_eq!(shown, ["http://host/?…", "http://proxy:3128"]);
    }
}
