//! AWS profiles: `~/.aws/credentials` and `~/.aws/config`.
//!
//! Static keys, a session token, region, endpoint and `credential_process` are used. Profiles that
//! need a login or a role are refused with the command that turns them into a `credential_process`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::vocabulary::error::{Error, Result};

/// One profile, merged from both files; the credentials file wins, as in the AWS tools.
#[derive(Clone, Default)]
pub(super) struct Profile {
    name: String,
    values: HashMap<String, String>,
}

/// Where a profile's credentials come from.
pub(super) enum ProfileCredentials {
    /// A key pair, with a session token if it is a temporary one.
    Static {
        /// Access key id.
        key_id: String,
        /// Secret access key.
        secret_key: String,
        /// Session token.
        token: Option<String>,
    },
    /// A command that prints credentials.
    Process(String),
    /// The profile says nothing about credentials.
    None,
}

impl Profile {
    /// Loads the profile to use: `wanted`, else `AWS_PROFILE`, else `default`.
    ///
    /// # Errors
    ///
    /// `Config` if a profile was named and neither file has it, or a file cannot be read.
    pub(super) fn load(wanted: Option<&str>, environment: &Environment) -> Result<Self> {
        let named = wanted.map(str::to_owned).or_else(|| environment.get("AWS_PROFILE").map(str::to_owned));
        let name = named.clone().unwrap_or_else(|| "default".to_owned());
        let config = file(environment, "AWS_CONFIG_FILE", "config");
        let credentials = file(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let from_config = section(config.as_deref(), &[format!("profile {name}"), name.clone()])?;
        let from_credentials = section(credentials.as_deref(), std::slice::from_ref(&name))?;
        if named.is_some() && from_config.is_none() && from_credentials.is_none() {
            return Err(Error::config(format!("there is no AWS profile `{name}`"))
                .hint("list the profiles there are with `aws configure list-profiles`"));
        }
        let mut values = from_config.unwrap_or_default();
        values.extend(from_credentials.unwrap_or_default());
        Ok(Self { name, values })
    }

    /// Returns a value such as `region` or `endpoint_url`.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns where the credentials come from.
    ///
    /// # Errors
    ///
    /// `Config` if the profile needs a login or a role, or half a key pair is missing.
    pub(super) fn credentials(&self) -> Result<ProfileCredentials> {
        match (self.get("aws_access_key_id"), self.get("aws_secret_access_key")) {
            (Some(key_id), Some(secret_key)) => Ok(ProfileCredentials::Static {
                key_id: key_id.to_owned(),
                secret_key: secret_key.to_owned(),
                token: self.get("aws_session_token").map(str::to_owned),
            }),
            (None, None) => self.indirect_credentials(),
            _ => Err(Error::config(format!("the AWS profile `{}` has only one key of the pair", self.name))
                .hint("give both aws_access_key_id and aws_secret_access_key")),
        }
    }

    fn indirect_credentials(&self) -> Result<ProfileCredentials> {
        if let Some(command) = self.get("credential_process") {
            return Ok(ProfileCredentials::Process(command.to_owned()));
        }
        let needs = ["sso_session", "sso_start_url", "role_arn", "source_profile", "login_session"];
        if let Some(key) = needs.into_iter().find(|key| self.get(key).is_some()) {
            let name = &self.name;
            return Err(Error::config(format!(
                "the AWS profile `{name}` uses `{key}`, which is not supported directly"
            ))
            .hint(format!(
                "add a profile with `credential_process = aws configure export-credentials --profile {name} \
                     --format process` and name that one"
            )));
        }
        Ok(ProfileCredentials::None)
    }
}

fn file(environment: &Environment, variable: &str, name: &str) -> Option<PathBuf> {
    let by_variable = environment.get(variable).map(PathBuf::from);
    by_variable.or_else(|| environment.get("HOME").map(|home| Path::new(home).join(".aws").join(name)))
}

/// Returns the first section of `path` that has one of these names; `None` without file or section.
fn section(path: Option<&Path>, names: &[String]) -> Result<Option<HashMap<String, String>>> {
    let Some(path) = path else { return Ok(None) };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(Error::config(format!("cannot read {}", path.display())).because(cause)),
    };
    let mut sections = parse_ini(&text);
    Ok(names.iter().find_map(|name| sections.remove(name)))
}

/// Parses sections of `key = value`; indented lines belong to nested settings and are left out.
fn parse_ini(text: &str) -> HashMap<String, HashMap<String, String>> {
    let mut sections: HashMap<String, HashMap<String, String>> = HashMap::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) || line.starts_with([' ', '\t']) {
            continue;
        }
        if let Some(header) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let name = header.split_whitespace().collect::<Vec<_>>().join(" ").replace('"', "");
            sections.entry(name.clone()).or_default();
            current = Some(name);
        } else if let (Some(name), Some((key, value))) = (&current, trimmed.split_once('=')) {
            let section = sections.entry(name.clone()).or_default();
            section.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    fn environment(folder: &Path, more: &[(&str, &str)]) -> Environment {
        let config = folder.join("config").display().to_string();
        let credentials = folder.join("credentials").display().to_string();
        let files = [("AWS_CONFIG_FILE", &*config), ("AWS_SHARED_CREDENTIALS_FILE", &*credentials)];
        Environment::of(files.iter().chain(more).copied())
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let config = "[default]\nregion = eu-west-1\ns3 =\n  region = nested\n[profile lab]\nregion=us-west-2\n\
                      endpoint_url = http://localhost:9000\naws_access_key_id = OLD\n\
                      [profile login]\nsso_session = work\n[profile tool]\ncredential_process = get-keys --x\n\
                      [profile half]\naws_access_key_id = AK\n";
        let credentials = "# keys\n[lab]\naws_access_key_id = AK\naws_secret_access_key = SK=/+\naws_session_token = TOKEN\n";
        std::fs::write(folder.path().join("config"), config).unwrap();
        std::fs::write(folder.path().join("credentials"), credentials).unwrap();
        folder
    }

    #[test]
    fn both_files_make_one_profile() {
        let folder = folder();
        let profile = Profile::load(Some("lab"), &environment(folder.path(), &[])).unwrap();
        assert_eq!(profile.get("region"), Some("us-west-2"));
        assert_eq!(profile.get("endpoint_url"), Some("http://localhost:9000"));
        let Ok(ProfileCredentials::Static { key_id, secret_key, token }) = profile.credentials() else {
            panic!("the profile has static keys")
        };
        assert_eq!((&*key_id, &*secret_key, token.as_deref()), ("AK", "SK=/+", Some("TOKEN")));
    }

    #[test]
    fn the_variable_chooses_and_default_is_optional() {
        let folder = folder();
        let chosen = Profile::load(None, &environment(folder.path(), &[("AWS_PROFILE", "tool")])).unwrap();
        assert!(
            matches!(chosen.credentials(), Ok(ProfileCredentials::Process(command)) if command == "get-keys --x")
        );
        let default = Profile::load(None, &environment(folder.path(), &[])).unwrap();
        assert_eq!(default.get("region"), Some("eu-west-1"));
        assert!(matches!(default.credentials(), Ok(ProfileCredentials::None)));
        let nothing = tempfile::tempdir().unwrap();
        assert!(Profile::load(None, &environment(nothing.path(), &[])).is_ok());
    }

    #[test]
    fn profiles_we_cannot_use_say_what_to_do() {
        let folder = folder();
        let load = |name| Profile::load(Some(name), &environment(folder.path(), &[]));
        let login = load("login").unwrap().credentials().err().unwrap();
        assert_eq!(login.kind(), Kind::Config);
        assert!(
            login.render().contains("aws configure export-credentials --profile login"),
            "{}",
            login.render()
        );
        assert!(load("absent").err().unwrap().render().contains("no AWS profile `absent`"));
        assert!(load("half").unwrap().credentials().is_err());
    }
}
