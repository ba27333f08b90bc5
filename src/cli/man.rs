//! `tilefleet man --out FOLDER`

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::command;
use crate::cli::show;
use crate::vocabulary::error::{Error, Result};

/// Writes the manual pages, one for each command
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet man --out ~/.local/share/man/man1")]
pub struct Args {
    /// The folder for the pages; created if it does not exist
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let failed = |cause| {
        Error::config(format!("cannot write manual pages into {}", args.out.display()))
            .because(cause)
            .hint("choose a writable folder")
    };
    fs::create_dir_all(&args.out).map_err(failed)?;
    let mut root = command().disable_help_subcommand(true);
    root.build();
    let num_pages = write_pages(&root, &args.out).map_err(failed)?;
    println!("{} in {}", show::counted(num_pages, "page"), args.out.display());
    Ok(())
}

/// Writes the pages of a command and of those below it; returns their number.
fn write_pages(command: &clap::Command, folder: &Path) -> io::Result<u64> {
    let page = Man::new(command.clone());
    let mut file = io::BufWriter::new(fs::File::create(folder.join(page.get_filename()))?);
    write_page(command, &page, &mut file)?;
    file.flush()?;
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_fold(1, |pages, below| Ok(pages + write_pages(below, folder)?))
}

/// Writes one page: as `clap_mangen` does, but with the examples under their own name and unfilled.
fn write_page(command: &clap::Command, page: &Man, out: &mut dyn Write) -> io::Result<()> {
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    if command.has_subcommands() {
        page.render_subcommands_section(out)?;
    }
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut examples = Roff::new();
    examples.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in help.lines().filter(|line| line.starts_with(' ')) {
        examples.text([roman(line)]);
    }
    examples.control("fi", []);
    if help.is_empty() { Ok(()) } else { examples.to_writer(out) }
}
