//! The part of the demo that is radiology: phantoms of made-up patients, whose names stay out of the table.

mod codecs;
mod drawings;
mod found;
mod leaks;
mod objects;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use self::found::Found;
use self::leaks::Search;
use self::objects::Object;
use super::{images, run_id_of};
use crate::cli::{block_on, show};
use crate::config::{Overrides, Pipeline};
use crate::input::storage::{Storage, StorageOptions};
use crate::maintenance::verify::{Depth, verify};
use crate::output::{Output, Run, RunId};
use crate::stages::worker::Job;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::process::Process;

/// Bytes of the key that pseudonyms are made with.
const KEY_BYTES: usize = 32;

/// What to ask a table of frames: nobody decides on one slice.
#[cfg(feature = "query")]
const QUESTION: &str = "SELECT left(patient_key, 8) AS patient, left(study_key, 8) AS study, modality, \
                        count(*) AS frames, mean_embedding(embedding) AS embedding FROM tiles \
                        WHERE status = 'ok' GROUP BY patient_key, study_key, series_key, modality \
                        ORDER BY frames DESC, modality";

/// Runs the frames of generated DICOM objects with pseudonyms, and looks for their names in what the run left.
///
/// - `folder`: has the demo's model
/// - `shown`: the same folder, as it was given
pub(super) fn run(folder: &Path, shown: &Path) -> Result<()> {
    let objects = objects::all();
    for object in &objects {
        images::write_new(&folder.join("studies").join(&object.path), || object.bytes())?;
    }
    write_key(&folder.join("radiology-key"))?;
    let job = Job::open(&Pipeline::load(Some(&write_pipeline(folder)?), &Overrides::default())?)?;
    let report = crate::cli::run::work(&job)?;
    job.check_rejects(&report)?;
    let id = RunId::parse(run_id_of(&report))?;
    let output = as_others_see_it(job.output())?;
    let (verdict, found) = block_on(async {
        let run = Run::open(&output, &id).await?.ok_or_else(|| Error::bug("the run has no record"))?;
        Ok((verify(&run, Depth::Rows).await?, Found::read(&run).await?))
    })?;
    crate::cli::verify::print(&verdict);
    verdict.check()?;
    found.print();
    ask(&output, shown)?;
    say_what_is_hidden(&objects, &output, job.output())
}

/// Returns the output as people see it who have neither key nor vault.
fn as_others_see_it(output: &Output) -> Result<Output> {
    let storage = Storage::new(StorageOptions::default())?;
    Ok(Output::open(&storage, &output.uri, Process::real()))
}

/// Writes a key of random bytes that only its owner can read; one that is there stays.
fn write_key(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut key = [0; KEY_BYTES];
    let made = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut key));
    made.and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))
        .and_then(|mut file| writeln!(file, "{}", hex::encode(key)))
        .map_err(|error| Error::unavailable(format!("cannot write {}", path.display())).because(error))
}

fn write_pipeline(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("radiology.toml");
    let text = "# The radiology of `tilefleet demo`: paths are relative to this file.\n\n\
                name = \"radiology\"\n\n\
                [input]\nuris = [\"studies\"]\n\n\
                [tiles]\n\
                grid = \"frames\"               # each frame of a DICOM object is a tile\n\n\
                [dicom]\n\
                preset = \"display\"            # as a viewer shows it\n\n\
                [model]\nfile = \"resnet152.onnx\"\n\n\
                [output]\nuri = \"radiology-table\"\n\n\
                # Key and vault lie beside the data in this demo alone. Keep yours where workers can read them and\n\
                # readers of the table cannot: the key checks guesses, and the vault names every object.\n\
                [privacy]\n\
                policy = \"pseudonyms\"\n\
                key_file = \"radiology-key\"\n\
                vault = \"radiology-vault\"\n\
                burned_in = \"reject\"          # images that may have text in their pixels\n\n\
                [limits]\n\
                max_reject_ratio = 0.25       # three of these few objects are rejected on purpose\n";
    fs::write(&path, text)
        .map_err(|error| Error::unavailable(format!("cannot write {}", path.display())).because(error))?;
    Ok(path)
}

#[cfg(feature = "query")]
fn ask(output: &Output, shown: &Path) -> Result<()> {
    println!("\nA mean embedding per series, for whoever has the table alone:");
    println!("  tilefleet query {}/radiology-table \"{QUESTION}\"", shown.display());
    crate::cli::query::print_answer(output, QUESTION)
}

#[cfg(not(feature = "query"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature `query` it asks, which may fail")]
fn ask(_: &Output, _: &Path) -> Result<()> {
    Ok(())
}

/// Looks for everything that names somebody, in the output and then in the vault, where it has to be found.
///
/// # Errors
///
/// `Bug` if the output has any of it, or the vault lacks a path.
fn say_what_is_hidden(objects: &[Object], output: &Output, with_vault: &Output) -> Result<()> {
    let words = || objects.iter().flat_map(Object::identifiers);
    let (seen, kept) = block_on(async {
        Ok((
            Search::through(output, words()).await?,
            Search::through(with_vault.vault().await?, words()).await?,
        ))
    })?;
    if let Some(word) = seen.found.first() {
        return Err(Error::bug(format!("{} has {word}, which names a patient", output.uri)));
    }
    let num_paths = objects.iter().filter(|object| kept.found.contains(&object.path.to_lowercase())).count();
    if num_paths < objects.len() {
        return Err(Error::bug(format!("the vault has {num_paths} of {} paths", objects.len())));
    }
    println!(
        "\nNone of {} names, ids, days, UIDs and paths is in the table's {}, in bytes or rows: {}.\n\
         The vault names all {num_paths} objects, as it should. The key is radiology-key: one of your own does not\n\
         lie beside the data.",
        show::count(seen.num_words()),
        show::counted(seen.num_objects, "file"),
        show::bytes(seen.num_bytes)
    );
    Ok(())
}
