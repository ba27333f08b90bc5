//! `tilefleet pseudonym ID…`

use std::io::BufRead as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::print_json;
use crate::config::{Secrets, secrets};
use crate::input::storage::ObjectUri;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::keys::Keys;

/// Prints the keys that stand for ids in a table with pseudonyms
///
/// One key per line, in the order of the ids, and none of the ids: paste it beside the ids of a list of labels to join
/// that list with the table. An id that is blank has no key: its line is empty. Padding as in DICOM, spaces around an id
/// and NULs behind it, is no part of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet pseudonym --key-file key.txt 4711 4712
  tilefleet pseudonym --key-file key.txt --issuer HOSPITAL - < ids.txt
  tilefleet pseudonym --key-file key.txt --kind source s3://clinic/1.jpg")]
pub struct Args {
    /// The ids; `-` reads them from standard input, one per line, where no list of processes or history of a shell shows
    /// them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,

    /// File with the key [default: `TILEFLEET_PRIVACY_KEY_FILE`, otherwise the key in
    /// `TILEFLEET_PRIVACY_KEY`]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// What the ids are of; sources are named by URIs or local paths
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Kind::Patient)]
    kind: Kind,

    /// Who issued the ids of patients, as in `IssuerOfPatientID`
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,

    /// Print JSON: the keys, null for a blank id, and the id of the key file
    #[arg(long)]
    json: bool,
}

/// What an id is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Patient,
    Study,
    Series,
    Instance,
    Source,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Answer {
    kind: Kind,
    key_id: String,
    keys: Vec<Option<String>>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    if args.issuer.is_some() && args.kind != Kind::Patient {
        return Err(Error::usage("--issuer is for --kind patient: the ids of others are unique without it"));
    }
    let secrets = match args.key_file {
        Some(file) => Secrets { key_file: Some(file), vault: None },
        None => secrets(&[])?,
    };
    let keys = secrets.keys()?;
    let key_of = |id: &String| key_of(&keys, args.kind, args.issuer.as_deref(), id);
    let made = ids(args.ids)?.iter().map(key_of).collect::<Result<Vec<_>>>()?;
    if args.json {
        return print_json(&Answer { kind: args.kind, key_id: keys.id(), keys: made });
    }
    for key in made {
        println!("{}", key.unwrap_or_default());
    }
    Ok(())
}

/// Returns the ids, those from standard input in the place of `-`.
fn ids(given: Vec<String>) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for id in given {
        if id != "-" {
            ids.push(id);
            continue;
        }
        for line in std::io::stdin().lock().lines() {
            let unreadable = |cause| Error::usage("cannot read ids from standard input").because(cause);
            ids.push(line.map_err(unreadable)?.trim_end_matches('\r').to_owned());
        }
    }
    Ok(ids)
}

fn key_of(keys: &Keys, kind: Kind, issuer: Option<&str>, id: &str) -> Result<Option<String>> {
    Ok(match kind {
        Kind::Patient => keys.patient_key(issuer, Some(id)),
        Kind::Study => keys.study_key(id),
        Kind::Series => keys.series_key(id),
        Kind::Instance => keys.instance_key(id),
        Kind::Source if id.trim().is_empty() => None,
        // As when it is listed: a path and its URI are one source.
        Kind::Source => Some(ObjectUri::parse_named(id, &keys.naming())?.to_string()),
    })
}
