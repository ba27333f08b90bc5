//! Shows what would steer a terminal, instead of sending it there.
//!
//! Names of files, bands, labels and values of manifests are other people's. A terminal takes control
//! characters in them as commands, and letters that turn the direction of writing show one name as
//! another. All text for people passes here at the two doors, standard output and standard error; tables
//! before their widths are measured. JSON keeps its values: there the same characters are written as
//! JSON's own escapes.

use std::borrow::Cow;
use std::io::{self, Write};

/// Tells whether a character steers a terminal, or the order in which it shows others. Line breaks and
/// tabs are layout, and stay.
fn steers(character: char) -> bool {
    let layout = matches!(character, '\n' | '\t');
    let direction = matches!(character, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
    let isolate = matches!(character, '\u{2066}'..='\u{2069}');
    let separator = matches!(character, '\u{2028}' | '\u{2029}');
    (character.is_control() && !layout) || direction || isolate || separator
}

/// Writes such characters as `\x1b` or `\u{202e}`.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    replaced(text, steers, |character| match u32::from(character) {
        code @ ..=0xff => format!("\\x{code:02x}"),
        code => format!("\\u{{{code:x}}}"),
    })
}

/// As [`text`], for a value that stands in a line: a line break in it does not begin another line.
#[must_use]
pub fn value(value: &str) -> Cow<'_, str> {
    match replaced(value, |character| character == '\n', |_| "\\n".to_owned()) {
        Cow::Borrowed(value) => text(value),
        Cow::Owned(value) => Cow::Owned(text(&value).into_owned()),
    }
}

/// Writes such characters in a JSON document as JSON's escapes: its values stay the same.
#[must_use]
pub fn json(document: &str) -> Cow<'_, str> {
    // Outside of texts there are none of them; all are in the basic plane.
    replaced(document, steers, |character| format!("\\u{:04x}", u32::from(character)))
}

fn replaced(text: &str, which: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(&which) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if which(character) { shown.push_str(&escape(character)) } else { shown.push(character) }
    }
    Cow::Owned(shown)
}

/// Shows text on its way to a terminal; `escape` is [`text`] or [`json`].
#[derive(Debug)]
pub struct Shown<W> {
    to: W,
    escape: fn(&str) -> Cow<'_, str>,
    /// The first bytes of a character whose others are still to come.
    begun: Vec<u8>,
}

impl<W: Write> Shown<W> {
    /// Shows what is written as `escape` says.
    pub fn new(to: W, escape: fn(&str) -> Cow<'_, str>) -> Self {
        Self { to, escape, begun: Vec::new() }
    }
}

impl<W: Write> Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.begun) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // No text after all: the bytes that are none are shown as such.
            Err(_) => self.begun.len(),
        };
        let text = String::from_utf8_lossy(&self.begun[..whole]);
        self.to.write_all((self.escape)(&text).as_bytes())?;
        self.begun.drain(..whole);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "a\u{1b}]0;title\u{7}\u{9b}31m\r\u{202e}gpj.\u{2066}é\u{7f}";

    #[test]
    fn what_steers_a_terminal_is_shown() {
        assert_eq!(text(NAME), r"a\x1b]0;title\x07\x9b31m\x0d\u{202e}gpj.\u{2066}é\x7f");
        assert_eq!(text("two\n\tlines, «schön» 北京 🛰"), "two\n\tlines, «schön» 北京 🛰");
        assert_eq!(value("a\nerror: b\u{1b}"), r"a\nerror: b\x1b");
    }

    #[test]
    fn json_keeps_its_values() {
        let document = serde_json::to_string_pretty(&[NAME]).unwrap();
        assert!(document.contains('\u{9b}') && document.contains('\u{202e}'));
        let shown = json(&document);
        assert!(!shown.contains(steers), "{shown}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [NAME]);
    }

    #[test]
    fn characters_that_come_in_parts_are_shown_whole() {
        let mut shown = Shown::new(Vec::new(), text);
        for byte in NAME.as_bytes() {
            shown.write_all(&[*byte]).unwrap();
        }
        assert_eq!(String::from_utf8(shown.to).unwrap(), text(NAME));
    }
}
