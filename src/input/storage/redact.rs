//! Takes secrets out of text before anybody reads it.

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
