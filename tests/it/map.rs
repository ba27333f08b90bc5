//! The map of rooms in ARCHITECTURE.md, held against every import.
//!
//! The map lists each room with the rooms that it imports from; all of them stand above it. So there is no cycle, and an
//! arrow that nobody drew fails. Tests may import what they like.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Crates that only these rooms may name.
const CRATES: [(&str, &[&str]); 10] = [
    ("ort", &["runtime", "stages/infer"]),
    ("object_store", &["input", "answers"]),
    ("parquet", &["input", "output", "answers"]),
    ("datafusion", &["answers"]),
    ("reqwest", &["input"]),
    ("prost", &["models"]),
    // The vocabulary knows its dictionary: which attributes there are.
    ("tilefleet_dicom", &["vocabulary", "formats", "stages/decode", "stages/compose", "stages/survey"]),
    ("tilefleet_jpeg", &["stages/decode"]),
    ("tilefleet_jpeg_header", &["formats"]),
    ("tilefleet_simd", &["stages/preprocess"]),
];

/// A room, such as `geo` or `stages/fetch`.
type Room = String;

/// Rooms in the order of the map, and which others each imports from.
struct Map {
    rooms: Vec<(Room, BTreeSet<Room>)>,
}

impl Map {
    /// Reads the lines `room: room room …` of the block that begins with ```` ```map ````.
    fn read(page: &str) -> Self {
        let (_, rest) = page.split_once("```map\n").expect("ARCHITECTURE.md has a block ```map");
        let (block, _) = rest.split_once("```").expect("the block ends");
        let line = |line: &str| {
            let (room, others) = line.split_once(':').unwrap_or_else(|| panic!("no room: {line}"));
            (room.trim().to_owned(), others.split_whitespace().map(str::to_owned).collect())
        };
        Self { rooms: block.lines().map(line).collect() }
    }

    fn names(&self) -> BTreeSet<&str> {
        self.rooms.iter().map(|(room, _)| room.as_str()).collect()
    }

    /// Says what is wrong with the map itself: an arrow to a room that does not stand above.
    fn wrong_arrows(&self) -> Vec<String> {
        let mut above = BTreeSet::new();
        let mut wrong = Vec::new();
        for (room, others) in &self.rooms {
            wrong.extend(
                others
                    .iter()
                    .filter(|other| !above.contains(*other))
                    .map(|other| format!("the map draws {room} -> {other}, which does not stand above it")),
            );
            above.insert(room.clone());
        }
        wrong
    }

    /// Says which imports are not drawn, and which arrows nobody needs.
    fn differences(&self, found: &BTreeMap<Room, BTreeSet<Room>>) -> Vec<String> {
        let mut differences = Vec::new();
        for (room, drawn) in &self.rooms {
            let none = BTreeSet::new();
            let imports = found.get(room).unwrap_or(&none);
            differences.extend(imports.difference(drawn).map(|other| format!("{room} imports from {other}")));
            differences
                .extend(drawn.difference(imports).map(|other| format!("nobody needs {room} -> {other}")));
        }
        differences
    }
}

/// The source files of the crate, with the module path of each.
fn files() -> Vec<(Vec<String>, PathBuf)> {
    fn collect(folder: &Path, module: &[String], files: &mut Vec<(Vec<String>, PathBuf)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let inner = [module, std::slice::from_ref(&name)].concat();
            if path.is_dir() {
                collect(&path, &inner, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
                files.push((if name == "mod" { module.to_vec() } else { inner }, path));
            }
        }
    }
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut files);
    files
}

/// Returns the text without comments and without what follows the first module that only tests have.
fn code(text: &str) -> String {
    let is_test_module = |(at, found): &(usize, &str)| {
        let next = text[at + found.len()..].lines().next().unwrap_or("");
        next.contains("mod ") && next.ends_with('{')
    };
    let end = text.match_indices("\n#[cfg(test)]\n").find(is_test_module).map_or(text.len(), |(at, _)| at);
    text[..end].lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Returns the module paths that a file names: those that begin with `crate` or `super`, trees of `use` taken apart.
fn paths(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':') {
                continue;
            }
            leaves(&code[at..], &mut Vec::new(), &mut paths);
        }
    }
    paths.iter().map(|path| absolute(path, module)).collect()
}

/// Reads one path, or a tree of paths in braces; returns what follows.
fn leaves<'a>(text: &'a str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> &'a str {
    let depth = prefix.len();
    let mut text = text;
    let rest = loop {
        let word = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        if word > 0 {
            prefix.push(text[..word].to_owned());
        }
        text = &text[word..];
        match text.strip_prefix("::") {
            Some(inner) if inner.starts_with('{') => break branches(&inner[1..], prefix, paths),
            Some(inner) => text = inner,
            None => {
                paths.push(prefix.clone());
                break text;
            }
        }
    };
    prefix.truncate(depth);
    rest
}

/// Reads the branches of a tree up to its closing brace.
fn branches<'a>(text: &'a str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> &'a str {
    let mut text = text;
    loop {
        text = text.trim_start_matches([' ', '\n', ',', '*']);
        if let Some(rest) = text.strip_prefix('}') {
            return rest;
        }
        let rest = leaves(text, prefix, paths);
        // An alias, `as Name`.
        let end = rest.find([',', '}']).unwrap_or(rest.len());
        text = &rest[end..];
        assert!(!text.is_empty(), "a tree of `use` does not end");
    }
}

fn absolute(path: &[String], module: &[String]) -> Vec<String> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    match path[0].as_str() {
        "crate" => path[1..].to_vec(),
        _ => [&module[..module.len().saturating_sub(ups)], &path[ups..]].concat(),
    }
}

fn room_of(path: &[String], rooms: &BTreeSet<&str>) -> Option<Room> {
    let two = path.iter().take(2).cloned().collect::<Vec<_>>().join("/");
    let found = rooms.get(two.as_str()).or_else(|| rooms.get(path.first()?.as_str()));
    found.map(|room| (*room).to_owned())
}

fn imports(map: &Map) -> BTreeMap<Room, BTreeSet<Room>> {
    let rooms = map.names();
    let mut imports: BTreeMap<Room, BTreeSet<Room>> = BTreeMap::new();
    for (module, file) in files() {
        let Some(room) = room_of(&module, &rooms) else { continue };
        let code = code(&std::fs::read_to_string(file).unwrap());
        let others = paths(&code, &module).into_iter().filter_map(|path| room_of(&path, &rooms));
        imports.entry(room.clone()).or_default().extend(others.filter(|other| *other != room));
    }
    imports
}

fn architecture() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap()
}

#[test]
fn rooms_import_what_the_map_draws_and_nothing_else() {
    let map = Map::read(&architecture());
    assert_eq!(map.wrong_arrows(), Vec::<String>::new());
    let differences = map.differences(&imports(&map));
    assert!(
        differences.is_empty(),
        "change the code, or the map in ARCHITECTURE.md:\n{}",
        differences.join("\n")
    );
}

#[test]
fn every_file_stands_in_a_room_of_the_map() {
    let page = architecture();
    let map = Map::read(&page);
    let rooms = map.names();
    let outside: Vec<PathBuf> = files()
        .into_iter()
        .filter(|(module, _)| {
            !["base", "lib", "main", "stages"].contains(&module.last().map_or("", String::as_str))
        })
        .filter(|(module, _)| room_of(module, &rooms).is_none())
        .map(|(_, file)| file)
        .collect();
    assert_eq!(outside, Vec::<PathBuf>::new());
    for (room, _) in &map.rooms {
        assert!(page.contains(&format!("| `{room}`")), "ARCHITECTURE.md does not say what `{room}` does");
    }
}

#[test]
fn heavy_crates_are_named_in_few_rooms() {
    let map = Map::read(&architecture());
    let rooms = map.names();
    let mut found: BTreeMap<&str, BTreeSet<Room>> = BTreeMap::new();
    for (module, file) in files() {
        let code = code(&std::fs::read_to_string(file).unwrap());
        for (name, _) in CRATES {
            let path = format!("{name}::");
            let is_named = code.match_indices(&path).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':')
            });
            if is_named {
                found.entry(name).or_default().extend(room_of(&module, &rooms));
            }
        }
    }
    for (name, allowed) in CRATES {
        let allowed: BTreeSet<Room> = allowed.iter().map(|room| (*room).to_owned()).collect();
        assert_eq!(found.get(name), Some(&allowed), "rooms that name the crate {name}");
    }
}

/// The reader of imports sees what it has to.
#[test]
fn an_import_is_seen_in_all_its_forms() {
    let module: Vec<String> = ["stages", "fetch", "judge"].map(str::to_owned).to_vec();
    let text = "use crate::{geo::{Crs, self}, scene::Tiling as T};\n\
                // use crate::cli::Args;\n\
                pub(crate) use super::super::decode::blocks;\n\
                fn f() -> crate::answers::head::Kind { $crate::config::x() }\n\
                #[cfg(test)]\nmod tests {\n use crate::observe;\n}\n";
    let found: Vec<String> = paths(&code(text), &module).iter().map(|path| path.join("::")).collect();
    let mut expected = vec![
        "geo::Crs",
        "geo::self",
        "scene::Tiling",
        "answers::head::Kind",
        "config::x",
        "stages::decode::blocks",
    ];
    let mut found: Vec<&str> = found.iter().map(String::as_str).filter(|path| !path.is_empty()).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// A wrong arrow, a missing one and one too many are told.
#[test]
fn a_map_that_lies_is_found_out() {
    let map = Map::read("```map\nlow: high\nhigh: low\nidle: low\n```");
    assert_eq!(map.wrong_arrows(), ["the map draws low -> high, which does not stand above it"]);
    let set = |rooms: &[&str]| rooms.iter().map(|room| (*room).to_owned()).collect::<BTreeSet<Room>>();
    let found = BTreeMap::from([("low".to_owned(), set(&[])), ("high".to_owned(), set(&["low", "idle"]))]);
    assert_eq!(
        map.differences(&found),
        ["nobody needs low -> high", "high imports from idle", "nobody needs idle -> low"]
    );
}
