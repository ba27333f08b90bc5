//! The table of the documents: what was compared, and how far values are away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::{env, fs};

use tilefleet_testing::project;

use crate::conformance::Outcome;
use crate::index::Entry;

const DOCUMENT: &str = "docs/reference/dicom-conformance.md";
const HEAD: &str = "<!-- the table begins here, and a test writes it -->\n";

/// Compares the document's table with what was found, or rewrites it with `TILEFLEET_WRITE_DOCS=1`.
pub(crate) fn check(found: &[(Entry, Outcome)]) {
    let path = project().join(DOCUMENT);
    let document = fs::read_to_string(&path).unwrap();
    let (text, table) = document.split_once(HEAD).expect("the document has a place for the table");
    let now = tables(found);
    if env::var_os("TILEFLEET_WRITE_DOCS").is_some() {
        fs::write(path, format!("{text}{HEAD}{now}")).unwrap();
    } else {
        assert!(table == now, "{DOCUMENT} is out of date: TILEFLEET_WRITE_DOCS=1 rewrites it");
    }
}

fn tables(found: &[(Entry, Outcome)]) -> String {
    let mut out = String::new();
    for (group, title) in [
        ("pydicom", "Test files of pydicom"),
        ("WG04", "NEMA's compression set (WG04)"),
        ("highdicom", "Test files of highdicom"),
    ] {
        real_files(&mut out, found, group, title);
    }
    made_files(&mut out, found);
    differences(&mut out, found);
    not_read(&mut out, found);
    out
}

fn real_files(out: &mut String, found: &[(Entry, Outcome)], group: &str, title: &str) {
    let _ = write!(
        out,
        "\n## {title}\n\n| file | transfer syntax | photometric interpretation | bits | frames | oracle | stored values |\n"
    );
    out.push_str("|---|---|---|---|---|---|---|\n");
    for (entry, outcome) in found.iter().filter(|(entry, _)| entry.group == group) {
        let Outcome::Read(away) = outcome else { continue };
        let (name, syntax, photometric, bits) =
            (&entry.name, syntax_name(&entry.syntax), &entry.photometric, &entry.bits);
        let (frames, oracle) = (entry.shape[0], &entry.oracle);
        let _ = writeln!(
            out,
            "| `{name}` | {syntax} | {photometric} | {bits} | {frames} | {oracle} | {} |",
            how_far(*away)
        );
    }
}

/// Files of one syntax and photometric interpretation are one row.
fn made_files(out: &mut String, found: &[(Entry, Outcome)]) {
    #[derive(Default)]
    struct Row<'a> {
        num_files: usize,
        bits: BTreeSet<&'a str>,
        oracles: BTreeSet<&'a str>,
        away: f64,
    }
    let mut rows: BTreeMap<(&str, &str), Row> = BTreeMap::new();
    for (entry, outcome) in found.iter().filter(|(entry, _)| entry.group == "made") {
        let Outcome::Read(away) = outcome else { continue };
        let row = rows.entry((syntax_name(&entry.syntax), &entry.photometric)).or_default();
        row.num_files += 1;
        row.bits.insert(&entry.bits);
        row.oracles.insert(&entry.oracle);
        row.away = row.away.max(*away);
    }
    out.push_str("\n## Files that the script makes\n\n");
    out.push_str("| transfer syntax | photometric interpretation | files | bits | oracles | stored values |\n|---|---|---|---|---|---|\n");
    for ((syntax, photometric), row) in rows {
        let joined = |words: &BTreeSet<&str>| words.iter().copied().collect::<Vec<_>>().join(", ");
        let (bits, oracles, away) = (joined(&row.bits), joined(&row.oracles), how_far(row.away));
        let _ =
            writeln!(out, "| {syntax} | {photometric} | {} | {bits} | {oracles} | {away} |", row.num_files);
    }
}

fn differences(out: &mut String, found: &[(Entry, Outcome)]) {
    out.push_str("\n## Where the standard is not what pydicom does\n\n| file | which section, and what pydicom does |\n|---|---|\n");
    for (entry, _) in found.iter().filter(|(entry, _)| !entry.why.is_empty()) {
        let _ = writeln!(out, "| `{}` | {} |", entry.name, entry.why);
    }
}

/// Files of one folder that are alike are one row.
fn not_read(out: &mut String, found: &[(Entry, Outcome)]) {
    let mut rows: BTreeMap<(String, &str, String), usize> = BTreeMap::new();
    for (entry, outcome) in found {
        let Outcome::Failed(kind) = outcome else { continue };
        let pydicom = entry.failure.as_deref().filter(|failure| *failure != "none").unwrap_or("no pixels");
        let name = entry.name.split_once('/').map_or(entry.name.clone(), |(folder, _)| format!("{folder}/…"));
        *rows.entry((name, pydicom, format!("{kind:?}"))).or_default() += 1;
    }
    out.push_str("\n## What is not read\n\n| file | files | pydicom | reason |\n|---|---|---|---|\n");
    for ((name, pydicom, kind), num_files) in rows {
        let _ = writeln!(out, "| `{name}` | {num_files} | {pydicom} | {kind} |");
    }
}

fn how_far(away: f64) -> String {
    if away == 0.0 { "equal".to_owned() } else { format!("within {away}") }
}

fn syntax_name(uid: &str) -> &str {
    match uid.strip_prefix("1.2.840.10008.1.2").unwrap_or(uid) {
        "" => "implicit little endian",
        ".1" => "explicit little endian",
        ".2" => "explicit big endian",
        ".1.99" => "deflated",
        ".1.98" => "encapsulated uncompressed",
        ".8.1" => "deflated frames",
        ".5" => "RLE",
        ".4.50" => "JPEG baseline",
        ".4.51" => "JPEG extended",
        ".4.57" => "JPEG lossless",
        ".4.70" => "JPEG lossless, first predictor",
        ".4.80" => "JPEG-LS lossless",
        ".4.81" => "JPEG-LS near-lossless",
        ".4.90" => "JPEG 2000 lossless",
        ".4.91" => "JPEG 2000",
        ".4.201" => "HTJ2K lossless",
        ".4.202" => "HTJ2K lossless, by resolution",
        ".4.203" => "HTJ2K",
        ".4.111" => "JPEG XL of JPEG",
        ".4.112" => "JPEG XL",
        ".4.110" => "JPEG XL lossless",
        other => other,
    }
}
