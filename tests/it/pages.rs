//! The documentation: each link leads to a file and a heading, every page can be found from the index, and every
//! command is one that there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[cfg(feature = "query")]
use crate::manners::shell_words;

/// One link of a page: where it leads, and to which heading.
struct Link {
    target: PathBuf,
    heading: Option<String>,
}

fn root() -> PathBuf {
    fs::canonicalize(env!("CARGO_MANIFEST_DIR")).unwrap()
}

/// Every page that people read: those of the first folder, and all of `docs`.
fn pages() -> Vec<PathBuf> {
    [pages_in(&root(), false), pages_in(&root().join("docs"), true)].concat()
}

/// The pages of a folder; of `docs` also those of its folders. What is itself a link is no page of its own.
fn pages_in(folder: &Path, deep: bool) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let (entry, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        if kind.is_dir() && deep {
            pages.extend(pages_in(&entry, deep));
        } else if kind.is_file() && entry.extension().is_some_and(|ending| ending == "md") {
            pages.push(entry);
        }
    }
    pages.sort();
    pages
}

/// The text of a page without its blocks of code.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The links of a page to files of the repository.
fn links(page: &Path) -> Vec<Link> {
    let text = prose(page);
    let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let inside = links.filter(|link| !link.contains("://"));
    let parsed = inside.map(|link| {
        let (path, heading) =
            link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
        let target = if path.is_empty() { page.to_owned() } else { page.parent().unwrap().join(path) };
        Link { target, heading: heading.map(str::to_owned) }
    });
    parsed.collect()
}

/// The names by which the headings of a page are linked to.
fn headings(page: &Path) -> BTreeSet<String> {
    let name = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    };
    prose(page).lines().filter(|line| line.starts_with('#')).map(name).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut wrong = Vec::new();
    let mut num_links = 0;
    for page in pages() {
        for Link { target, heading } in links(&page) {
            num_links += 1;
            let found = target.exists() && heading.as_ref().is_none_or(|it| headings(&target).contains(it));
            if !found {
                wrong.push(format!("{}: {}, {heading:?}", page.display(), target.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(num_links > 50, "only {num_links} links were found");
}

#[test]
fn every_page_is_found_from_the_index() {
    let index = root().join("docs/README.md");
    let mut found = BTreeSet::from([index.clone()]);
    let mut next = vec![index];
    while let Some(page) = next.pop() {
        let linked = links(&page).into_iter().filter_map(|link| fs::canonicalize(link.target).ok());
        for page in linked.filter(|page| page.starts_with(root().join("docs"))) {
            if found.insert(page.clone()) {
                next.push(page);
            }
        }
    }
    let all: BTreeSet<PathBuf> = pages_in(&root().join("docs"), true).into_iter().collect();
    assert!(all.is_subset(&found), "{:?}", all.difference(&found).collect::<Vec<_>>());
}

/// The source of the integration tests of one name: a file, or all in a folder.
fn source_of_tests(name: &str) -> Option<String> {
    let path = root().join("tests/it").join(name);
    fs::read_to_string(path.with_extension("rs")).ok().or_else(|| source_in(&path))
}

fn source_in(folder: &Path) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    Some(entries.filter_map(|path| fs::read_to_string(&path).ok().or_else(|| source_in(&path))).collect())
}

/// The tests that the page of faults names, such as `stores::s3::a_run_resumes`.
fn named_tests() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/reference/faults.md")).unwrap();
    let named = text.split('`').skip(1).step_by(2).filter(|word| word.contains("::"));
    named.map(str::to_owned).collect()
}

#[test]
fn every_test_that_the_page_of_faults_names_exists() {
    let names = named_tests();
    let is_there = |name: &&String| {
        let (module, test) = (name.split("::").next().unwrap(), name.rsplit("::").next().unwrap());
        source_of_tests(module).is_some_and(|source| source.contains(&format!("fn {test}(")))
    };
    let missing: Vec<&String> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(names.len() > 40, "only {} tests were found", names.len());
}

/// Whoever adds a test to the fault suite says on the page what it shows.
#[test]
fn the_page_of_faults_names_the_whole_suite() {
    let source = source_of_tests("fault_suite").unwrap();
    let tests = source.split("#[test]\nfn ").skip(1).map(|rest| rest.split('(').next().unwrap());
    let names = named_tests();
    let is_named = |test: &&str| names.iter().any(|name| name.ends_with(&format!("::{test}")));
    let unnamed: Vec<&str> = tests.filter(|test| !is_named(test)).collect();
    assert!(unnamed.is_empty(), "{unnamed:#?}");
}

/// The commands of a page's blocks for a shell; one may go over several lines.
#[cfg(feature = "query")]
fn commands(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap().replace("\\\n", " ");
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let (mut commands, mut open) = (Vec::new(), String::new());
    for line in blocks.flat_map(str::lines) {
        open.push_str(line.split("  #").next().unwrap());
        if open.matches('"').count() % 2 == 0 {
            commands.push(std::mem::take(&mut open));
        }
    }
    commands.retain(|command| command.starts_with("tilefleet "));
    commands
}

#[cfg(feature = "query")]
#[test]
fn every_command_of_the_documentation_is_accepted() {
    let mut num_commands = 0;
    for page in pages() {
        for command in commands(&page) {
            num_commands += 1;
            if let Err(error) = tilefleet::cli::command().try_get_matches_from(shell_words(&command)) {
                panic!("{} says `{command}`\n{error}", page.display());
            }
        }
    }
    assert!(num_commands > 40, "only {num_commands} commands were found");
}
