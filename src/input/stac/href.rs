//! Where a link or an asset of a document leads.

use crate::input::storage::{ObjectUri, percent_decoded, shown, split_scheme};
use crate::vocabulary::error::{Error, Result};

/// Resolves a reference as it stands in a document of `folder`.
///
/// # Errors
///
/// `Config` if it names no object that can be read, or a file of this machine though the document comes from
/// elsewhere.
pub(super) fn resolve(href: &str, folder: &ObjectUri) -> Result<ObjectUri> {
    let is_local = folder.scheme().is_local();
    let from_host = href.strip_prefix('/').filter(|_| folder.scheme().is_http());
    let uri = match from_host {
        Some(path) => folder.with_key("").resolve(path)?,
        None if is_local => in_folder(href, folder)?,
        None => folder.resolve(href)?,
    };
    if uri.scheme().is_local() && !is_local {
        return Err(Error::config(format!(
            "`{}` is a file on this machine, but the document that names it comes from {}",
            shown(href, folder.naming()),
            folder.bucket_name()
        )));
    }
    if uri.key().is_empty() {
        return Err(Error::config(format!("{uri} names no object")));
    }
    Ok(uri)
}

/// Resolves a reference in a document of this machine. It is a URI reference (RFC 3986), in which `%20` is a
/// space; but many write plain paths, so a file of exactly this name comes first.
fn in_folder(href: &str, folder: &ObjectUri) -> Result<ObjectUri> {
    let literal = folder.resolve(href)?;
    if !href.contains('%') || split_scheme(href).is_some() {
        return Ok(literal);
    }
    let is_there = literal.local_path().is_some_and(|path| path.exists());
    match String::from_utf8(percent_decoded(href)) {
        Ok(decoded) if !is_there => folder.resolve(&decoded),
        _ => Ok(literal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &str, href: &str) -> Result<String> {
        resolve(href, &ObjectUri::parse(folder).unwrap()).map(|uri| uri.to_string())
    }

    #[test]
    fn references_lead_where_the_document_means() {
        for (folder, href, expected) in [
            ("/data/stac", "../B4.TIF", "file:///data/B4.TIF"),
            ("/data/stac", "s3://b/B4.TIF", "s3://b/B4.TIF"),
            ("s3://b/stac", "./B4.TIF", "s3://b/stac/B4.TIF"),
            ("https://h/c/items", "/blobs/B4.tif", "https://h/blobs/B4.tif"),
            ("https://h/c/items", "B4.tif", "https://h/c/items/B4.tif"),
        ] {
            assert_eq!(at(folder, href).unwrap(), expected);
        }
    }

    #[test]
    fn local_references_are_decoded_unless_a_file_has_that_very_name() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("50%25.tif"), b"").unwrap();
        for (href, expected) in [
            ("with%20space.tif", "with space.tif"),
            ("./a%2Fb%C3%A9.tif", "a/bé.tif"),
            ("50%25.tif", "50%2525.tif"),
            ("100%25.tif", "100%25.tif"),
            ("%ff.tif", "%25ff.tif"),
        ] {
            assert_eq!(at(root, href).unwrap(), format!("file://{root}/{expected}"), "{href}");
        }
        let absolute = format!("{root}/with%20space.tif");
        assert_eq!(at(root, &absolute).unwrap(), format!("file://{root}/with space.tif"));
        assert_eq!(at("s3://b/c", "with%20space.tif").unwrap(), "s3://b/c/with%20space.tif");
    }

    #[test]
    fn what_comes_from_elsewhere_names_no_file_of_this_machine() {
        for folder in ["https://h/c", "s3://b/c"] {
            for href in ["file:///etc/passwd", "/etc/passwd", "file:/etc/passwd", "//etc/passwd"] {
                if let Ok(uri) = at(folder, href) {
                    assert!(
                        uri.starts_with("https://h/") || uri.starts_with("s3://b/c/"),
                        "{folder} {href}: {uri}"
                    );
                }
            }
        }
        assert!(at("s3://b/c", "/etc/passwd").is_err());
        assert!(at("https://h/c", "file:///etc/passwd").is_err());
        let secret = at("https://h/c", "https://h/x?sig=SECRET").unwrap_err();
        assert!(!secret.render().contains("SECRET"));
    }
}
