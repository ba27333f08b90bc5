//! Signatures of S3 (AWS Signature Version 4), made and checked as a store does.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use tilefleet_testing::http::Request;

const REGION: &str = "us-east-1";

/// What is not encoded: RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Signs a request that has a date and the digest of its body.
pub fn sign(request: &mut Request, key_id: &str, secret: &str) {
    let mut names: Vec<String> = request.headers.iter().map(|(name, _)| name.clone()).collect();
    names.retain(|name| name == "host" || name.starts_with("x-amz-"));
    names.sort();
    let names = names.join(";");
    let signature = signature(request, &names, secret);
    let scope = scope(request);
    let value =
        format!("AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}");
    request.headers.push(("authorization".to_owned(), value));
}

/// Returns whether the signature is of this secret.
pub fn is_signed_with(request: &Request, secret: &str) -> bool {
    let shown = request.header("authorization").unwrap_or_default();
    let part = |name: &str| shown.split([' ', ',']).find_map(|part| part.strip_prefix(name));
    match (part("SignedHeaders="), part("Signature=")) {
        (Some(names), Some(shown)) => signature(request, names, secret) == shown,
        _ => false,
    }
}

fn date(request: &Request) -> &str {
    request.header("x-amz-date").unwrap_or_default()
}

fn scope(request: &Request) -> String {
    format!("{}/{REGION}/s3/aws4_request", date(request).get(..8).unwrap_or_default())
}

fn signature(request: &Request, names: &str, secret: &str) -> String {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut canonical = format!("{}\n{path}\n{}\n", request.method, canonical_query(query));
    for name in names.split(';') {
        writeln!(canonical, "{name}:{}", request.header(name).unwrap_or_default())
            .expect("a string takes all");
    }
    let digest = request.header("x-amz-content-sha256").unwrap_or_default();
    write!(canonical, "\n{names}\n{digest}").expect("a string takes all");
    let (date, scope) = (date(request), scope(request));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex::encode(Sha256::digest(&canonical)));
    let first = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| hmac(&key, part.as_bytes()));
    hex::encode(hmac(&key, text.as_bytes()))
}

fn canonical_query(query: &str) -> String {
    let again = |text: &str| {
        let plain = text.replace('+', " ");
        utf8_percent_encode(&percent_decode_str(&plain).decode_utf8_lossy(), RESERVED).to_string()
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        format!("{}={}", again(name), again(value))
    };
    let mut pairs: Vec<String> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    pairs.sort();
    pairs.join("&")
}

/// HMAC with SHA-256 (RFC 2104); keys are shorter than a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |fill: u8| {
        let mut block = [fill; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

#[test]
fn hmac_is_that_of_the_standard() {
    // RFC 4231, test case 2.
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(hex::encode(hmac(b"Jefe", b"what do ya want for nothing?")), expected);
}

#[test]
fn a_signature_is_of_its_secret_and_request() {
    let headers =
        [("host", "h"), ("x-amz-date", "20260101T000000Z"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let mut request = Request {
        method: "GET".into(),
        target: "/b?prefix=a%2F&list-type=2".into(),
        headers,
        body: Vec::new(),
    };
    sign(&mut request, "id", "secret");
    assert!(is_signed_with(&request, "secret") && !is_signed_with(&request, "another"));
    request.target = "/b?prefix=b".into();
    assert!(!is_signed_with(&request, "secret"));
}
