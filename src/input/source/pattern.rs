//! What a person writes as input: a place, or a pattern of places.

use globset::{GlobBuilder, GlobMatcher};

use crate::input::storage::{ObjectUri, percent_decoded, shown, split_scheme};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::Naming;

/// One input as written.
pub(super) enum Pattern {
    /// An object or a folder.
    Place(ObjectUri),
    /// All objects below `folder` whose key relative to it matches.
    Glob {
        /// The part before the first wildcard, up to a slash.
        folder: ObjectUri,
        /// The pattern of the rest; `*` and `?` do not cross slashes, `**` does.
        matcher: GlobMatcher,
        /// Whether the pattern asks for names that begin with a dot.
        hidden: bool,
    },
}

impl Pattern {
    /// Returns the place, if it is one.
    pub(super) fn place(&self) -> Option<&ObjectUri> {
        match self {
            Self::Place(uri) => Some(uri),
            Self::Glob { .. } => None,
        }
    }

    /// Reads an input: a URI or path, with wildcards `*`, `**`, `?`, `[…]` and `{…}` in it.
    ///
    /// A local path that exists is taken literally even if its name has such characters.
    ///
    /// - `naming`: how sources are named, and what an error may say
    ///
    /// # Errors
    ///
    /// `Config` if the URI or the pattern is not valid, or a web server is asked for a pattern.
    pub(super) fn parse(text: &str, naming: &Naming) -> Result<Self> {
        let scheme = split_scheme(text).map(|(scheme, _)| scheme);
        if matches!(scheme.as_deref(), Some("http" | "https")) {
            if text.contains('*') {
                return Err(Error::config(format!("cannot search for `{}`", shown(text, naming)))
                    .because("web servers cannot list objects")
                    .hint("name each object, or give a manifest with a column `uri`"));
            }
            return ObjectUri::parse_named(text, naming).map(Self::Place);
        }
        let Some(wildcard) = text.find(['*', '?', '[', '{']) else {
            return ObjectUri::parse_named(text, naming).map(Self::Place);
        };
        if let Ok(uri) = ObjectUri::parse_named(text, naming)
            && uri.local_path().is_some_and(|path| path.exists())
        {
            return Ok(Self::Place(uri));
        }
        let start = text[..wildcard].rfind('/').map_or(0, |slash| slash + 1);
        let (folder, rest) = text.split_at(start);
        let folder = ObjectUri::parse_named(if folder.is_empty() { "." } else { folder }, naming)?;
        // `file:///a%20b/*.jpg` is a URL to its end.
        let rest = match scheme.as_deref() {
            Some("file") => String::from_utf8_lossy(&percent_decoded(rest)).into_owned(),
            _ => rest.to_owned(),
        };
        let glob = GlobBuilder::new(&rest).literal_separator(true).backslash_escape(true).build();
        let glob = glob.map_err(|cause| {
            Error::config(format!("`{}` is not a valid pattern", shown(text, naming)))
                .because(naming.cause(cause))
                .hint("close each [ and {; put a backslash before a literal one")
        })?;
        let hidden = rest.split('/').any(|segment| segment.starts_with('.'));
        Ok(Self::Glob { folder, matcher: glob.compile_matcher(), hidden })
    }
}

/// Returns the text that patterns are matched against: the key below `folder`, as people write it.
pub(super) fn relative<'a>(folder: &ObjectUri, key: &'a str) -> &'a str {
    key.strip_prefix(folder.key()).unwrap_or(key).trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    fn parse(text: &str) -> Result<Pattern> {
        Pattern::parse(text, &Naming::default())
    }

    fn matches(pattern: &str, key: &str) -> bool {
        match parse(pattern).unwrap() {
            Pattern::Glob { folder, matcher, .. } => matcher.is_match(relative(&folder, key)),
            Pattern::Place(uri) => panic!("{uri} is no pattern"),
        }
    }

    #[test]
    fn stars_stop_at_slashes() {
        for (pattern, key, expected) in [
            ("s3://b/2024/*.jpg", "2024/a.jpg", true),
            ("s3://b/2024/*.jpg", "2024/x/a.jpg", false),
            ("s3://b/2024/**/*.jpg", "2024/a.jpg", true),
            ("s3://b/2024/**/*.jpg", "2024/x/y/a.jpg", true),
            ("s3://b/20?4/*.{jpg,png}", "2024/a.png", true),
            ("s3://b/20?4/*.{jpg,png}", "2024/a.tif", false),
            ("s3://b/*", "a", true),
            ("s3://b/x*/[ab].jpg", "xy/b.jpg", true),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn the_literal_part_is_the_folder_to_list() {
        let folder = |pattern: &str| match parse(pattern).unwrap() {
            Pattern::Glob { folder, .. } => folder.to_string(),
            Pattern::Place(uri) => format!("place {uri}"),
        };
        assert_eq!(folder("s3://b/a/b*/c"), "s3://b/a");
        assert_eq!(folder("s3://b/*"), "s3://b/");
        assert_eq!(folder("/data/x y/*.jpg"), "file:///data/x y");
        assert_eq!(folder("file:///data/x%20y/*.jpg"), "file:///data/x y");
        assert_eq!(folder("s3://b/plain"), "place s3://b/plain");
        let here = std::env::current_dir().unwrap();
        assert_eq!(folder("*.jpg"), ObjectUri::from_path(&here).unwrap().to_string());
    }

    #[test]
    fn a_file_with_a_bracket_in_its_name_is_that_file() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a[1].jpg");
        std::fs::write(&path, b"").unwrap();
        assert!(matches!(parse(path.to_str().unwrap()).unwrap(), Pattern::Place(_)));
    }

    #[test]
    fn impossible_patterns_are_refused() {
        for text in ["https://h/*.jpg", "s3://b/[a", "ftp://h/*"] {
            assert_eq!(parse(text).err().unwrap().kind(), Kind::Config, "{text}");
        }
    }
}
