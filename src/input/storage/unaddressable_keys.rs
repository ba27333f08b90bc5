//! Keys that `object_store` cannot hold: it gives up a whole listing for one of them.
//!
//! They are legal in a store and people have them by accident: `a//b.jpg`, `./a.jpg`, `/a.jpg`, or a
//! control character in a name. In the page that the store sends they are replaced by a name that can
//! be held, and [`restored`] gives them back. They can be told and counted, but not read.
//!
//! Others can be read, but do not survive the page: its parser turns what XML 1.1 (2.11) calls the end of a
//! line, U+0085 and U+2028 among them, into a line feed. They are replaced and restored in the same way.

use std::borrow::Cow;

use object_store::path::Path;

/// Begins a replaced key; a noncharacter, that nobody's keys have in them.
const MARK: char = '\u{10FFFF}';
/// What the parser of the page turns into a line feed.
const LINE_ENDS: [char; 3] = ['\r', '\u{85}', '\u{2028}'];
/// Where listings hold a key: S3 and Google, Azure.
const ELEMENTS: [(&str, &str); 2] = [("<Key>", "</Key>"), ("<Name>", "</Name>")];

/// Returns whether an object with this key can be asked for. Folder markers count as that.
pub(super) fn is_addressable(key: &str) -> bool {
    !key.starts_with('/') && Path::parse(key).is_ok()
}

/// Replaces the odd keys in a page of a listing.
pub(super) fn replaced(page: &str) -> Cow<'_, str> {
    let mut page = Cow::Borrowed(page);
    for (start, end) in ELEMENTS {
        if let Some(changed) = replaced_in(&page, start, end) {
            page = Cow::Owned(changed);
        }
    }
    page
}

/// Returns the page without odd keys in these elements; `None` if there are none.
fn replaced_in(page: &str, start: &str, end: &str) -> Option<String> {
    let mut changed = String::new();
    let mut done = 0;
    for (at, _) in page.match_indices(start) {
        let from = at + start.len();
        let to = from + page[from..].find(end)?;
        let key = unescaped(&page[from..to]);
        if !is_addressable(&key) || key.contains(LINE_ENDS) {
            changed.push_str(&page[done..from]);
            changed.push(MARK);
            changed.push_str(&hex::encode(key));
            done = to;
        }
    }
    (done > 0).then(|| changed + &page[done..])
}

/// Returns the key that the store has.
pub(super) fn restored(key: String) -> String {
    let original =
        key.strip_prefix(MARK).and_then(|digits| String::from_utf8(hex::decode(digits).ok()?).ok());
    original.unwrap_or(key)
}

/// Undoes XML's escapes.
fn unescaped(text: &str) -> String {
    let mut pieces = text.split('&');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let escape = piece.split_once(';').and_then(|(name, rest)| Some((character(name)?, rest)));
        if let Some((character, rest)) = escape {
            plain.push(character);
            plain.push_str(rest);
        } else {
            plain.push('&');
            plain.push_str(piece);
        }
    }
    plain
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(number)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_keys_are_replaced_and_restored() {
        let page =
            "<Name>bucket</Name><Key>a/b.jpg</Key><Size>1</Size><Key>a//b&amp;c.jpg</Key><Key>../x</Key>";
        let changed = replaced(page).into_owned();
        assert!(changed.starts_with("<Name>bucket</Name><Key>a/b.jpg</Key><Size>1</Size><Key>\u{10FFFF}"));
        let keys: Vec<String> =
            changed.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().into()).collect();
        assert!(keys.iter().all(|key| Path::parse(key).is_ok()), "{keys:?}");
        let original: Vec<String> = keys.into_iter().map(restored).collect();
        assert_eq!(original, ["a/b.jpg", "a//b&c.jpg", "../x"]);
    }

    #[test]
    fn keys_that_end_lines_in_xml_are_replaced_and_can_be_asked_for() {
        for key in ["a\u{2028}b.jpg", "\u{85}.jpg", "x/a\u{85}\u{2028}"] {
            let page = format!("<Key>{key}</Key><Key>z</Key>");
            let changed = replaced(&page).into_owned();
            assert!(!changed.contains(LINE_ENDS) && changed.ends_with("<Key>z</Key>"), "{changed:?}");
            let held = changed.split("<Key>").nth(1).unwrap().split('<').next().unwrap();
            assert_eq!(restored(held.to_owned()), key);
            assert!(is_addressable(key), "{key:?}");
        }
    }

    #[test]
    fn a_usual_page_stays_as_it_is() {
        let page = "<Key>a/</Key><Key>ä &lt;1&gt; %2F.jpg</Key>";
        assert!(matches!(replaced(page), Cow::Borrowed(same) if same == page));
        assert_eq!(restored("\u{10FFFF}zz".to_owned()), "\u{10FFFF}zz");
    }

    #[test]
    fn odd_is_what_cannot_be_asked_for() {
        for key in ["a//b", "/a", "./a", "a/..", "a\u{1}b", "a//"] {
            assert!(!is_addressable(key), "{key:?}");
        }
        assert!(["a", "a/", "a b/ü%.jpg", ".hidden"].into_iter().all(is_addressable));
        assert_eq!(unescaped("&#x1;&#10;&nbsp;&"), "\u{1}\n&nbsp;&");
    }
}
