//! Takes secrets out of text before anybody reads it.

use std::borrow::Cow;

use crate::vocabulary::identity::Naming;

/// Returns what may be shown of a text that is the name of a source, or may hold one: its pseudonym where names are
/// secret, otherwise the text without credentials.
///
/// The pseudonym is that of the whole text. What is cut off first would name other things alike, and a URI otherwise
/// than its rows do.
#[must_use]
pub fn shown<'a>(text: &'a str, naming: &Naming) -> Cow<'a, str> {
    if naming.is_secret() { naming.name(text) } else { Cow::Owned(redact(text)) }
}

/// Returns names in a row, each as [`shown`].
pub fn shown_list<'a>(names: impl IntoIterator<Item = &'a str>, naming: &Naming) -> String {
    names.into_iter().map(|name| shown(name, naming)).collect::<Vec<_>>().join(", ")
}

/// Returns `text` with user names, passwords, queries and fragments cut out of every URL in it.
///
/// Presigned URLs and shared access signatures carry their secret in the query; some tools put a
/// password before the host. Both reach us inside other people's error messages.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after.find(is_url_end).unwrap_or(after.len());
        clean.push_str(&without_secrets(&after[..end]));
        rest = &after[end..];
    }
    clean.push_str(rest);
    clean
}

fn is_url_end(character: char) -> bool {
    character.is_whitespace() || matches!(character, '"' | '\'' | '`' | '<' | '>' | '\\')
}

/// Takes what follows `://` and returns host and path alone.
fn without_secrets(location: &str) -> String {
    let plain = location.split(['?', '#']).next().unwrap_or_default();
    let cut = if plain.len() < location.len() { "?…" } else { "" };
    let (authority, path) = plain.find('/').map_or((plain, ""), |at| plain.split_at(at));
    let host = match authority.rsplit_once('@') {
        // Azure's `container@account` is a place, not a password.
        Some((user, host)) if user.contains(':') || !host.contains(".dfs.") => host,
        _ => authority,
    };
    format!("{host}{path}{cut}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::keys::Keys;

    #[test]
    fn what_is_shown_is_the_pseudonym_of_the_whole_text_or_the_text_without_secrets() {
        let secret = Keys::new(b"0123456789abcdef").unwrap().naming();
        let (one, other) = ("https://h/Doe?sig=1", "https://h/Doe?sig=2");
        assert_eq!(shown(one, &Naming::default()), "https://h/Doe?…");
        assert_eq!(shown(one, &secret), secret.name(one));
        assert_ne!(shown(one, &secret), shown(other, &secret), "they are two things");
        assert_eq!(shown_list(["uri", one], &Naming::default()), "uri, https://h/Doe?…");
        assert!(!shown_list(["uri", "Doe"], &secret).contains("Doe"));
    }

    #[test]
    fn signatures_and_passwords_are_cut_out() {
        for (text, expected) in [
            (
                "GET https://b.s3.amazonaws.com/k?X-Amz-Signature=abc&X-Amz-Credential=AK failed",
                "GET https://b.s3.amazonaws.com/k?… failed",
            ),
            ("(\"https://a.blob/c?sv=1&sig=abc\")", "(\"https://a.blob/c?…\")"),
            ("http://user:pa@ss@host:9000/x y", "http://host:9000/x y"),
            ("https://token@host", "https://host"),
            ("abfss://box@acct.dfs.core.windows.net/a", "abfss://box@acct.dfs.core.windows.net/a"),
            ("two: s3://b/a and https://h/p#f", "two: s3://b/a and https://h/p?…"),
            ("no url at all? yes", "no url at all? yes"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }
}
