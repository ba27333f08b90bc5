//! Items that give the same URI: told apart by what they are.
//!
//! Identifiers of STAC items are unique within their collection only, self links are copied, and archives hold
//! one scene in several forms. Each such item is a source of its own, and its name must not depend on the order
//! in which an archive lists them: of those with one URI the first by collection, files and content keeps it,
//! and the others are named after as much of these as tells them apart.

use sha2::{Digest, Sha256};

use crate::input::stac::Item;

/// Between the parts of an identity; not within them.
const BREAK: char = '\0';

/// Returns what tells an item apart from others of its URI.
///
/// - `digest`: of all that it says
pub(super) fn identity_of(item: &Item, digest: &str) -> String {
    let files: Vec<u8> = item
        .assets
        .iter()
        .flat_map(|asset| [asset.key.as_bytes(), b"\0", asset.href.as_bytes(), b"\0"])
        .flatten()
        .copied()
        .collect();
    let files = hex::encode(&Sha256::digest(files)[..8]);
    identity(item.collection.as_deref().unwrap_or_default(), &files, digest)
}

/// Returns the same of an item that cannot be used.
pub(super) fn identity_of_bad(digest: &str) -> String {
    identity("", "", digest)
}

fn identity(collection: &str, files: &str, content: &str) -> String {
    let collection: String =
        collection.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    format!("{collection}{BREAK}{files}{BREAK}{content}")
}

/// Names a source of this identity whose URI the one of the identity `before` it has as well.
pub(super) fn renamed(uri: &str, before: &str, identity: &str) -> String {
    let parts = || before.split(BREAK).zip(identity.split(BREAK));
    let equal = parts().take_while(|(theirs, own)| theirs == own).count();
    let own: Vec<&str> = parts().map(|(_, own)| own).take(equal + 1).collect();
    format!("{uri}@{}", own.join("@"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_no_more_than_it_takes() {
        let first = identity("l1c", "aa", "11");
        assert_eq!(renamed("d#i", &first, &identity("l2a", "bb", "22")), "d#i@l2a");
        assert_eq!(renamed("d#i", &first, &identity("l1c", "bb", "22")), "d#i@l1c@bb");
        assert_eq!(renamed("d#i", &first, &identity("l1c", "aa", "22")), "d#i@l1c@aa@22");
        assert_eq!(renamed("d#i", &identity("", "aa", "1"), &identity("a\0b", "bb", "2")), "d#i@a\u{fffd}b");
    }
}
