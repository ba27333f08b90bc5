//! `[privacy]`: what the table, its records and messages tell of sources and of the people in them.
//!
//! The secret is never a setting: `privacy.key_file` names the file that holds it, or the environment has it in
//! [`KEY_VARIABLE`]. It is read when a job begins, and passed on as [`Keys`], which show nothing of it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::settings::{Settings, nearest};
use crate::observe::stderr::{Level, say};
use crate::scene::BurnedIn;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::kept_tag::{KeptTag, Refusal, keywords};
use crate::vocabulary::keys::Keys;

/// The environment variable that holds the secret where no file is named.
pub const KEY_VARIABLE: &str = "TILEFLEET_PRIVACY_KEY";

/// A larger file is not a key.
const MAX_KEY_BYTES: u64 = 64 << 10;
/// Bits of a file's mode that let others than its owner read it.
const READABLE_BY_OTHERS: u32 = 0o044;

/// `[privacy]`, where `privacy.policy` is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// How sources are named.
    pub policy: PrivacyPolicy,
    /// Where the key and the URIs of sources are.
    pub secrets: Secrets,
    /// What becomes of dates.
    pub dates: Dates,
    /// Attributes of DICOM that are kept, in the order of their tags, each once.
    pub keep_tags: Vec<KeptTag>,
    /// Columns of the manifest that are kept; all others are left out.
    pub keep_columns: Vec<String>,
    /// What becomes of images that may have text burned in.
    pub burned_in: BurnedIn,
}

/// How sources are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivacyPolicy {
    /// By their URIs: for public data.
    None,
    /// By keyed pseudonyms.
    Pseudonyms,
}

/// What becomes of the dates of a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    /// There are none.
    Absent,
    /// All are moved back by the same number of days.
    Shifted,
    /// They are as the object says them: of public data.
    Kept,
}

impl PrivacyPolicy {
    /// Returns the name, as in `privacy.policy`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pseudonyms => "pseudonyms",
        }
    }
}

impl Dates {
    /// Returns the name, as in `privacy.dates`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Shifted => "shifted",
            Self::Kept => "kept",
        }
    }
}

/// Where the key and the URIs of sources are, which no record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// The file that holds the key, an absolute path; `None`: the environment does.
    pub key_file: Option<PathBuf>,
    /// Folder or bucket prefix of the tables that tell the URIs of sources.
    pub vault: Option<String>,
}

impl Secrets {
    /// Reads them; the settings may hold no other section.
    pub(super) fn read(settings: &Settings) -> Result<Self> {
        Ok(Self {
            key_file: settings.read::<Option<String>>("privacy.key_file")?.map(PathBuf::from),
            vault: settings.read("privacy.vault")?,
        })
    }

    /// Reads the key.
    ///
    /// # Errors
    ///
    /// `Config` if there is none, it is too short, or its file cannot be read.
    pub fn keys(&self) -> Result<Keys> {
        match &self.key_file {
            Some(file) => read_key(file),
            None => match std::env::var_os(KEY_VARIABLE).filter(|key| !key.is_empty()) {
                Some(key) => in_variable(key),
                None => Err(no_key()),
            },
        }
    }

    /// Refuses a job that needs both.
    fn check(&self) -> Result<()> {
        if self.vault.is_none() {
            return Err(Error::config("`privacy.policy` is \"pseudonyms\", but there is no vault").hint(
                "set `privacy.vault` to a folder or bucket prefix outside of the output that all workers can read and \
                 nobody else can: it keeps which key stands for which URI",
            ));
        }
        let has_variable = std::env::var_os(KEY_VARIABLE).is_some_and(|key| !key.is_empty());
        if self.key_file.is_none() && !has_variable { Err(no_key()) } else { Ok(()) }
    }
}

fn no_key() -> Error {
    Error::config("the pseudonyms need a key, and there is none").hint(format!(
        "make one with `openssl rand -hex 32 > FILE`, keep it, and name it as `privacy.key_file`, or set \
         {KEY_VARIABLE}"
    ))
}

fn in_variable(key: OsString) -> Result<Keys> {
    let key = key.into_vec();
    Keys::new(without_line_end(&key))
        .map_err(|error| Error::config(format!("{KEY_VARIABLE} is not a key")).because(error))
}

/// Reads a file that holds a key: its bytes, but for a line end behind them.
///
/// # Errors
///
/// `Config` if the file cannot be read, is too long or too short.
pub fn read_key(path: &Path) -> Result<Keys> {
    let shown = path.display();
    let cannot = |cause| {
        Error::new(super::kind_of(&cause), format!("cannot read the key file `{shown}`"))
            .because(cause)
            .hint("`privacy.key_file` is a file of at least 16 random bytes: `openssl rand -hex 32 > FILE`")
    };
    let file = File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.permissions().mode();
    if mode & READABLE_BY_OTHERS != 0 {
        let hint =
            format!("the key file `{shown}` can be read by others than its owner: `chmod 600 {shown}`");
        say(Level::Warn, &hint);
    }
    let mut key = Vec::new();
    file.take(MAX_KEY_BYTES + 1).read_to_end(&mut key).map_err(cannot)?;
    if key.len() as u64 > MAX_KEY_BYTES {
        return Err(Error::config(format!("`{shown}` is not a key file: it has more than 64 KiB")));
    }
    Keys::new(without_line_end(&key))
        .map_err(|error| Error::config(format!("`{shown}` is not a key file")).because(error))
}

fn without_line_end(key: &[u8]) -> &[u8] {
    let key = key.strip_suffix(b"\n").unwrap_or(key);
    key.strip_suffix(b"\r").unwrap_or(key)
}

/// Keys of `[privacy]` that do nothing unless `privacy.policy` is "pseudonyms": whoever sets one believes that it is.
const NEED_PSEUDONYMS: [&str; 3] = ["privacy.key_file", "privacy.vault", "privacy.keep_columns"];
/// Keys that do nothing without a policy.
const NEED_A_POLICY: [&str; 3] = ["privacy.keep_tags", "privacy.dates", "privacy.burned_in"];
/// What records of runs without a policy hold, from when these were the defaults.
const FORMER_DEFAULTS: [&str; 2] = ["absent", "reject"];

/// Reads `[privacy]`.
pub(super) fn privacy(settings: &Settings) -> Result<Option<Privacy>> {
    let policy = policy(settings)?;
    let is_public = policy != Some(PrivacyPolicy::Pseudonyms);
    // What is wrong with a value is said whatever the policy.
    let dates = [("absent", Some(Dates::Absent)), ("shifted", Some(Dates::Shifted)), ("", None)];
    let dates = choice(settings, "privacy.dates", &dates)?;
    let privacy = Privacy {
        policy: policy.unwrap_or(PrivacyPolicy::None),
        secrets: Secrets::read(settings)?,
        dates: dates.unwrap_or(if is_public { Dates::Kept } else { Dates::Absent }),
        keep_tags: keep_tags(settings, is_public)?,
        keep_columns: settings.read("privacy.keep_columns")?,
        burned_in: burned_in(settings)?,
    };
    refuse_idle(settings, policy)?;
    if is_public && dates == Some(Dates::Shifted) {
        return Err(Error::config(
            "`privacy.dates` is \"shifted\", but `privacy.policy` is not \"pseudonyms\"",
        )
        .hint("dates are shifted with the key of the pseudonyms; of public data they may be \"absent\""));
    }
    Ok(policy.map(|_| privacy))
}

fn policy(settings: &Settings) -> Result<Option<PrivacyPolicy>> {
    let policies =
        [PrivacyPolicy::Pseudonyms, PrivacyPolicy::None].map(|policy| (policy.name(), Some(policy)));
    let choices: Vec<_> = policies.into_iter().chain([("", None)]).collect();
    choice(settings, "privacy.policy", &choices)
}

/// Reads what becomes of images that may have text burned in: with pseudonyms they are rejected, unless that is set.
pub(super) fn burned_in(settings: &Settings) -> Result<BurnedIn> {
    let rules = [BurnedIn::Reject, BurnedIn::Flag, BurnedIn::Allow].map(|rule| (rule.name(), Some(rule)));
    let choices: Vec<_> = rules.into_iter().chain([("", None)]).collect();
    let is_secret = policy(settings)? == Some(PrivacyPolicy::Pseudonyms);
    let unset = if is_secret { BurnedIn::Reject } else { BurnedIn::Allow };
    Ok(choice(settings, "privacy.burned_in", &choices)?.unwrap_or(unset))
}

/// Reads which attributes of DICOM are kept.
fn keep_tags(settings: &Settings, is_public: bool) -> Result<Vec<KeptTag>> {
    let names: Vec<String> = settings.read("privacy.keep_tags")?;
    let read = |name: &String| {
        let kept = if is_public { KeptTag::of_public_data(name) } else { KeptTag::of_people(name) };
        kept.map_err(|refusal| not_kept(name, refusal))
    };
    let mut kept: Vec<KeptTag> = names.iter().map(read).collect::<Result<_>>()?;
    kept.sort_by_key(|kept| kept.tag);
    kept.dedup();
    Ok(kept)
}

fn not_kept(name: &str, refusal: Refusal) -> Error {
    let error = Error::config(format!("`privacy.keep_tags` has `{name}`, which {refusal}"));
    match refusal {
        Refusal::Unknown => error.hint(match nearest(name, keywords()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "write a keyword such as \"SliceThickness\", or a tag such as \"(0018,0050)\"".to_owned(),
        }),
        Refusal::Dates(_) => error
            .hint("privacy.dates = \"shifted\" gives the day of the study, moved back by so many days per patient"),
        Refusal::Uids => error.hint("the columns study_key, series_key and instance_key hold keys of UIDs"),
        Refusal::NoList | Refusal::FreeText(_) => error.hint(
            "leave it out; docs/how-to/keep-identifiers-out.md says what can be kept, and public data keep more with \
             privacy.policy = \"none\"",
        ),
        _ => error.hint("leave it out; docs/how-to/keep-identifiers-out.md says what can be kept"),
    }
}

/// Reads a word, and names the nearest one if it is unknown: here a wrong one shows what is to be hidden.
fn choice<T: Copy>(settings: &Settings, name: &str, choices: &[(&str, T)]) -> Result<T> {
    settings.choice(name, choices).map_err(|error| {
        let word = settings.get(name).value.as_str().unwrap_or_default();
        match nearest(word, choices.iter().map(|(known, _)| *known).filter(|known| !known.is_empty())) {
            Some(near) => error.hint(format!("did you mean \"{near}\"?")),
            None => error,
        }
    })
}

/// Refuses keys that do nothing under a policy.
fn refuse_idle(settings: &Settings, policy: Option<PrivacyPolicy>) -> Result<()> {
    let (idle, needs): (Vec<&str>, _) = match policy {
        Some(PrivacyPolicy::Pseudonyms) => return Ok(()),
        Some(PrivacyPolicy::None) => (NEED_PSEUDONYMS.to_vec(), "is not \"pseudonyms\""),
        None => ([NEED_PSEUDONYMS, NEED_A_POLICY].concat(), "is not set"),
    };
    let is_set = |name: &&&str| {
        let value = &settings.get(name).value;
        let is_former = |text: &str| NEED_A_POLICY.contains(*name) && FORMER_DEFAULTS.contains(&text);
        value.as_str().is_none_or(|text| !text.is_empty() && !is_former(text))
            && value.as_array().is_none_or(|list| !list.is_empty())
    };
    let Some(name) = idle.iter().find(is_set) else { return Ok(()) };
    let origin = &settings.get(name).origin;
    Err(Error::config(format!("`{name}` ({origin}) has no effect: `privacy.policy` {needs}"))
        .hint("set `privacy.policy = \"pseudonyms\"`, or leave the other keys of [privacy] out"))
}

impl Privacy {
    /// Returns the key, if sources have pseudonyms.
    ///
    /// # Errors
    ///
    /// As [`Secrets::keys`].
    pub fn keys(&self) -> Result<Option<Keys>> {
        match self.policy {
            PrivacyPolicy::None => Ok(None),
            PrivacyPolicy::Pseudonyms => self.secrets.keys().map(Some),
        }
    }

    /// Refuses pseudonyms without a key or a vault.
    pub(super) fn check_complete(&self) -> Result<()> {
        match self.policy {
            PrivacyPolicy::None => Ok(()),
            PrivacyPolicy::Pseudonyms => self.secrets.check(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    fn with(sets: &[&str]) -> Result<Option<Privacy>> {
        let mut settings = Settings::defaults();
        for set in sets {
            settings.lay_assignment(set)?;
        }
        privacy(&settings)
    }

    #[test]
    fn nothing_is_kept_or_shown_unless_it_is_asked_for() {
        assert_eq!(with(&[]).unwrap(), None);
        let privacy = with(&["privacy.policy=pseudonyms", "privacy.vault=s3://v/a"]).unwrap().unwrap();
        assert_eq!(privacy.policy, PrivacyPolicy::Pseudonyms);
        assert_eq!((privacy.dates, privacy.burned_in), (Dates::Absent, BurnedIn::Reject));
        assert_eq!((privacy.keep_tags.len(), privacy.keep_columns.len()), (0, 0));
        assert_eq!(privacy.secrets.vault.as_deref(), Some("s3://v/a"));
        let public = with(&["privacy.policy=none"]).unwrap().unwrap();
        assert_eq!((public.dates, public.burned_in), (Dates::Kept, BurnedIn::Allow));
        assert!(public.keys().unwrap().is_none() && public.check_complete().is_ok());
    }

    #[test]
    fn what_is_misspelt_or_alone_is_refused() {
        let text = |sets: &[&str]| {
            let error = with(sets).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            format!("{error} {}", error.hints().join(" "))
        };
        let misspelt = text(&["privacy.policy=pseudonym"]);
        assert!(
            misspelt.contains("\"pseudonyms\" or \"none\"") && misspelt.contains("did you mean"),
            "{misspelt}"
        );
        assert!(text(&["privacy.dates=shift"]).contains("did you mean \"shifted\""));
        assert!(text(&["privacy.burned_in=alloww"]).contains("did you mean \"allow\""));
        for alone in ["privacy.vault=s3://v", "privacy.key_file=k", "privacy.keep_columns=age"] {
            for policy in ["privacy.policy=", "privacy.policy=none"] {
                assert!(text(&[alone, policy]).contains("has no effect"), "{alone} {policy}");
            }
        }
        for alone in ["privacy.keep_tags=KVP", "privacy.dates=shifted", "privacy.burned_in=flag"] {
            assert!(text(&[alone]).contains("`privacy.policy` is not set"), "{alone}");
        }
        let shifted = text(&["privacy.policy=none", "privacy.dates=shifted"]);
        assert!(shifted.contains("key of the pseudonyms"), "{shifted}");
        // Records of earlier builds hold what was the default.
        assert_eq!(with(&["privacy.dates=absent", "privacy.burned_in=reject"]).unwrap(), None);
        assert!(text(&["privacy.key=secret-of-the-hospital"]).contains("unknown key `privacy.key`"));
        assert!(!text(&["privacy.key=secret-of-the-hospital"]).contains("secret-of"));
    }

    #[test]
    fn public_data_may_have_no_dates_and_no_burned_in_text() {
        let sets = ["privacy.policy=none", "privacy.dates=absent", "privacy.burned_in=reject"];
        let privacy = with(&sets).unwrap().unwrap();
        assert_eq!((privacy.dates, privacy.burned_in), (Dates::Absent, BurnedIn::Reject));
    }

    #[test]
    fn tags_are_kept_in_their_order_each_once() {
        let kept = |sets: &[&str]| {
            let privacy = with(sets).unwrap().unwrap();
            privacy.keep_tags.iter().map(|kept| kept.keyword).collect::<Vec<_>>()
        };
        let pseudonyms = "privacy.policy=pseudonyms";
        let list = "privacy.keep_tags=[\"KVP\", \"PatientAge\", \"(0018,0060)\", \"BodyPartExamined\"]";
        assert_eq!(kept(&[pseudonyms, list]), ["PatientAge", "BodyPartExamined", "KVP"]);
        assert_eq!(
            kept(&["privacy.policy=none", "privacy.keep_tags=StudyDescription"]),
            ["StudyDescription"]
        );
    }

    #[test]
    fn a_tag_that_may_not_be_kept_is_refused_with_what_helps() {
        let refused = |name: &str| {
            let set = format!("privacy.keep_tags=[\"{name}\"]");
            let error = with(&["privacy.policy=pseudonyms", &set]).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            format!("{error} {}", error.hints().join(" "))
        };
        assert!(refused("SliceThicknes").contains("did you mean \"SliceThickness\""));
        assert!(refused("Hollerith").contains("(0018,0050)"));
        assert!(refused("PatientName").contains("names of people"));
        assert!(refused("StudyDate").contains("privacy.dates"));
        assert!(refused("(0009,1010)").contains("private"));
        assert!(refused("TypeOfPatientID").contains("privacy.policy = \"none\""));
    }

    #[test]
    fn a_key_file_is_its_bytes_without_the_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let id = |bytes: &[u8]| {
            let path = folder.path().join("key");
            std::fs::write(&path, bytes).unwrap();
            read_key(&path).map(|keys| keys.id()).map_err(|error| error.to_string())
        };
        let plain = Keys::new(b"0123456789abcdef").unwrap().id();
        for same in [&b"0123456789abcdef"[..], b"0123456789abcdef\n", b"0123456789abcdef\r\n"] {
            assert_eq!(id(same), Ok(plain.clone()));
        }
        assert_ne!(id(b"0123456789abcdef\n\n"), Ok(plain.clone()));
        assert!(id(b"\xff\x00\x01 bytes that are no text").is_ok());
        assert!(id(b"0123456789abcde\n").is_err(), "15 bytes");
        assert!(id(&vec![b'a'; (MAX_KEY_BYTES + 1) as usize]).is_err());
        let missing = read_key(&folder.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), Kind::Config);
        assert_eq!(in_variable("0123456789abcdef".into()).unwrap().id(), plain);
    }
}
