//! Where a web server's redirects may lead, and what goes along: nothing that is secret.
//!
//! ```text
//! GET a ─▶ 302 to b ─▶ allowed? ─▶ GET b, with range and conditions alone ─▶ answer of a
//!                         └▶ no, or the tenth, or b refuses: trouble with a, which is neither gone nor forbidden
//! ```
//!
//! Stores (`s3://`, `gs://`, `az://`) sign for one host, so that none of their redirects is followed.

use std::fmt;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode, Uri};
use object_store::client::{HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse};
use url::Url;

use super::uri::ObjectUri;

/// Maximum number of redirects per request.
pub(super) const MAX_HOPS: usize = 10;

/// All that a redirected request takes along.
const KEPT: [HeaderName; 7] = [
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// Why a redirect led nowhere. Of a place only scheme, host and port are told: the rest may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Astray {
    /// The redirects do not end.
    Endless,
    /// It leads to what is not an address of a web server, or to one with credentials in it.
    NoPlace,
    /// It leads from `https` to this place, which is plain `http`.
    Insecure(String),
    /// It leads to this place, which `input.allow` does not name.
    NotAllowed(String),
    /// Where it led to, the answer was this.
    Answered(u16),
}

impl fmt::Display for Astray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endless => write!(f, "it is redirected more than {MAX_HOPS} times"),
            Self::NoPlace => f.write_str("it is redirected to an address that is not a plain URL"),
            Self::Insecure(place) => write!(f, "it is redirected to {place}, which is not https"),
            Self::NotAllowed(place) => {
                write!(f, "it is redirected to {place}, which input.allow does not allow")
            }
            Self::Answered(status) => write!(f, "it is redirected, and the target answered {status}"),
        }
    }
}

impl std::error::Error for Astray {}

impl Astray {
    /// Returns what a person can do about it; `None`: only waiting may help.
    pub(super) fn advice(&self) -> Option<String> {
        match self {
            Self::Insecure(_) => Some("to allow it, set storage.allow_http = true".to_owned()),
            Self::NotAllowed(place) => Some(format!("to allow it, add \"{place}/\" to input.allow")),
            Self::Endless | Self::NoPlace | Self::Answered(_) => None,
        }
    }

    /// Makes it an error of the client that `object_store` calls.
    pub(super) fn into_error(self) -> HttpError {
        HttpError::new(HttpErrorKind::Unknown, self)
    }
}

/// Which redirects are followed.
#[derive(Clone, Debug, Default)]
pub(super) struct Redirects {
    /// `input.allow`; empty: any web server.
    pub(super) allow: Arc<[ObjectUri]>,
    /// Whether plain `http` is allowed for what began with `https`.
    pub(super) allow_http: bool,
}

impl Redirects {
    /// Returns the request that a redirect asks for; `None` if the answer is not a redirect.
    ///
    /// # Errors
    ///
    /// As the rules say.
    pub(super) fn next(&self, asked: &Asked, answer: &HttpResponse) -> Result<Option<HttpRequest>, Astray> {
        let (status, headers) = (answer.status(), answer.headers());
        let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let Some(location) = headers.get(header::LOCATION).filter(|_| is_redirect) else { return Ok(None) };
        let location = location.to_str().map_err(|_| Astray::NoPlace)?;
        Ok(Some(asked.moved_to(self.target(&asked.uri, location)?, status)))
    }

    /// Returns where a location leads, if that is allowed.
    fn target(&self, from: &Uri, location: &str) -> Result<Uri, Astray> {
        let from = Url::parse(&from.to_string()).map_err(|_| Astray::NoPlace)?;
        let mut target = from.join(location).map_err(|_| Astray::NoPlace)?;
        target.set_fragment(None);
        let has_credentials = !target.username().is_empty() || target.password().is_some();
        if has_credentials || !matches!(target.scheme(), "http" | "https") {
            return Err(Astray::NoPlace);
        }
        let place = target.origin().ascii_serialization();
        if target.scheme() == "http" && from.scheme() == "https" && !self.allow_http {
            return Err(Astray::Insecure(place));
        }
        if !self.allows(&from, &target) {
            return Err(Astray::NotAllowed(place));
        }
        target.as_str().parse().map_err(|_| Astray::NoPlace)
    }

    fn allows(&self, from: &Url, target: &Url) -> bool {
        let lies_within = |url: &Url| {
            let mut plain = url.clone();
            plain.set_query(None);
            let uri = ObjectUri::parse(plain.as_str());
            uri.is_ok_and(|uri| self.allow.iter().any(|place| uri.is_within(place)))
        };
        // What was not named by a manifest stays with its own host.
        let stays = || !lies_within(from) && from.origin() == target.origin();
        self.allow.is_empty() || lies_within(target) || stays()
    }
}

/// What was asked for, without its secrets.
pub(super) struct Asked {
    method: Method,
    /// Where.
    pub(super) uri: Uri,
    headers: HeaderMap,
    body: HttpRequestBody,
}

impl Asked {
    /// Keeps of a request what is sent again where it is redirected.
    pub(super) fn of(request: &HttpRequest) -> Self {
        let kept = KEPT.iter().filter_map(|name| Some((name.clone(), request.headers().get(name)?.clone())));
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: kept.collect(),
            body: request.body().clone(),
        }
    }

    fn moved_to(&self, target: Uri, status: StatusCode) -> HttpRequest {
        let keeps_body = matches!(status.as_u16(), 307 | 308) || self.method != Method::POST;
        let method = if keeps_body { self.method.clone() } else { Method::GET };
        let body = if keeps_body { self.body.clone() } else { HttpRequestBody::empty() };
        let mut request = HttpRequest::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = target;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str]) -> Redirects {
        let allow = allow.iter().map(|place| ObjectUri::parse(place).unwrap()).collect();
        Redirects { allow, allow_http: false }
    }

    fn leads(rules: &Redirects, from: &str, location: &str) -> Option<String> {
        rules.target(&from.parse().unwrap(), location).ok().map(|uri| uri.to_string())
    }

    #[test]
    fn redirects_lead_where_the_rules_allow() {
        let any = rules(&[]);
        for (from, location, expected) in [
            ("https://h/a", "/b", Some("https://h/b")),
            ("https://h/a", "https://cdn/b?sig=1", Some("https://cdn/b?sig=1")),
            ("https://h/a", "http://h/a", None),
            ("http://h/a", "https://h/a", Some("https://h/a")),
            ("http://h/a", "http://other/a", Some("http://other/a")),
            ("https://h/a", "file:///etc/passwd", None),
            ("https://h/a", "ftp://h/a", None),
            ("https://h/a", "https://me:secret@h/a", None),
        ] {
            assert_eq!(leads(&any, from, location).as_deref(), expected, "{from} to {location}");
        }
        let some = rules(&["https://h/open", "https://cdn"]);
        for (from, location, allowed) in [
            ("https://h/open/a", "https://h/open/b", true),
            ("https://h/open/a", "https://h/closed/b", false),
            ("https://h/open/a", "https://h/opened", false),
            ("https://h/open/a", "https://h/open/../closed", false),
            ("https://h/open/a", "https://cdn/b?token=1", true),
            ("https://h/open/a", "https://elsewhere/open/a", false),
            // Named by hand, not by a manifest: it stays with its host.
            ("https://mine/a", "https://mine/b", true),
            ("https://mine/a", "https://elsewhere/b", false),
        ] {
            assert_eq!(leads(&some, from, location).is_some(), allowed, "{from} to {location}");
        }
    }

    #[test]
    fn who_is_led_astray_is_told_where_to_and_what_to_set() {
        let why = |rules: &Redirects, location: &str| {
            let astray = rules.target(&"https://h/a".parse().unwrap(), location).unwrap_err();
            format!("{astray}; {}", astray.advice().unwrap_or_default())
        };
        let outside = why(&rules(&["https://h"]), "https://cdn:8443/b?sig=SECRET");
        assert_eq!(
            outside,
            "it is redirected to https://cdn:8443, which input.allow does not allow; to allow it, add \
             \"https://cdn:8443/\" to input.allow"
        );
        let insecure = why(&rules(&[]), "http://h/a?sig=SECRET");
        assert!(
            insecure.contains("http://h, which is not https") && !insecure.contains("SECRET"),
            "{insecure}"
        );
        assert!(insecure.contains("storage.allow_http"), "{insecure}");
    }

    #[test]
    fn nothing_secret_goes_along() {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = "https://h/a?sig=SECRET".parse().unwrap();
        for name in ["authorization", "cookie", "referer", "x-amz-security-token", "x-ms-version", "range"] {
            request.headers_mut().insert(name, "value".parse().unwrap());
        }
        let moved = Asked::of(&request).moved_to("https://cdn/a".parse().unwrap(), StatusCode::FOUND);
        let names: Vec<_> = moved.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!((names, moved.uri().to_string()), (vec!["range"], "https://cdn/a".to_owned()));
    }
}
