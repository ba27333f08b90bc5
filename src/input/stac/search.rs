//! Search of a STAC API, page by page.
//!
//! The search is a POST where the API takes one, else a GET. What the API cannot be asked (`query` is an
//! optional part of it), and everything else as well, is judged again by [`super::Filter`]: an API that
//! ignores a parameter must not change what a run covers.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use super::document::{Document, Link, Page, parse};
use super::filter::Filter;
use super::item::Bbox;
use super::read::{Found, StacLimits};
use super::time::Interval;
use crate::input::storage::{Answer, ObjectUri, Storage, Web, redact};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::Naming;
use crate::vocabulary::words::counted;

/// An API may filter a page after it has counted it; after this many empty pages in a row the search is given up.
const MAX_EMPTY: u32 = 20;

/// `[input.stac]` as written in the pipeline file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// URL of the API, such as `https://earth-search.aws.element84.com/v1`.
    pub api: String,
    /// Ids of the collections to search.
    pub collections: Vec<String>,
    /// West, south, east, north in degrees; west is greater than east across the antimeridian.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bbox: Option<[f64; 4]>,
    /// A `GeoJSON` geometry that items must touch; not together with `bbox`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intersects: Option<Value>,
    /// When items were taken, such as `2024-05-01/2024-08-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datetime: Option<String>,
    /// The most clouds, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cloud_cover: Option<f64>,
    /// How many items a page has.
    #[serde(default = "default_limit")]
    pub limit: u32,
    /// More items than this are an error, not a smaller run.
    #[serde(default = "default_max_items")]
    pub max_items: u64,
    /// More pages than this likewise.
    #[serde(default = "default_max_pages")]
    pub max_pages: u64,
}

fn default_limit() -> u32 {
    200
}

fn default_max_items() -> u64 {
    StacLimits::default().items
}

fn default_max_pages() -> u64 {
    StacLimits::default().documents
}

impl Search {
    /// Checks what can be checked without asking.
    ///
    /// - `naming`: how sources are named, and so what may be said of the API's address
    ///
    /// # Errors
    ///
    /// `Config` with the key and the reason.
    pub fn check(&self, naming: &Naming) -> Result<()> {
        self.base(naming)?;
        self.filter()?.check()?;
        if self.collections.is_empty() {
            return Err(Error::config("input.stac.collections is empty")
                .hint("name the collections to search, such as [\"sentinel-2-l2a\"]"));
        }
        if self.bbox.is_some() && self.intersects.is_some() {
            return Err(
                Error::config("the search has both a box and a geometry").hint("leave one of them out")
            );
        }
        if self.bbox.is_none() && self.intersects.is_none() && self.datetime.is_none() {
            return Err(Error::config("the search asks for whole collections")
                .hint("limit it with tiles.aoi or input.stac.dates; an --input replaces the search"));
        }
        if !(1..=10_000).contains(&self.limit) {
            return Err(Error::config(format!(
                "{} items per page: must be a number from 1 to 10000",
                self.limit
            )));
        }
        Ok(())
    }

    /// Returns what is asked as a filter, to judge the answers by.
    ///
    /// # Errors
    ///
    /// `Config` if `bbox` or `datetime` are not well-formed.
    pub fn filter(&self) -> Result<Filter> {
        let area = match self.bbox {
            Some(numbers) => Some(Bbox::of(&numbers).ok_or_else(|| {
                Error::config(format!("tiles.aoi {numbers:?} is not a box"))
                    .hint("write [west, south, east, north]")
            })?),
            None => None,
        };
        let dates = self.datetime.as_deref().map(Interval::parse).transpose()?;
        Ok(Filter { dates, max_cloud_cover: self.max_cloud_cover, area })
    }

    fn base(&self, naming: &Naming) -> Result<ObjectUri> {
        let base = ObjectUri::parse_named(&self.api, naming)?;
        if base.scheme().is_http() {
            return Ok(base);
        }
        Err(Error::config(format!("input.stac.api `{base}` is not a URL")).hint("write https://host/path"))
    }

    /// Starts the search.
    ///
    /// # Errors
    ///
    /// `Config` if the search or the API's address is wrong, `Unavailable` if the API is away.
    pub async fn start(&self, storage: &Storage) -> Result<Pages> {
        self.check(storage.naming())?;
        let base = self.base(storage.naming())?;
        let web = storage.web(base.for_reading())?;
        let api = Api::look(&web, &base).await?;
        let body = self.body(api.takes_query)?;
        let limits = StacLimits { items: self.max_items, documents: self.max_pages, ..StacLimits::default() };
        let request = Request { url: api.search, body: Some(body) };
        Ok(Pages::new(web, base, request, 0, limits))
    }

    fn body(&self, takes_query: bool) -> Result<Map<String, Value>> {
        let mut body = Map::new();
        body.insert("collections".to_owned(), json!(self.collections));
        body.insert("limit".to_owned(), json!(self.limit));
        if let Some(bbox) = self.bbox {
            body.insert("bbox".to_owned(), json!(bbox));
        }
        if let Some(geometry) = &self.intersects {
            body.insert("intersects".to_owned(), geometry.clone());
        }
        if let Some(dates) = self.filter()?.dates {
            body.insert("datetime".to_owned(), json!(dates.to_text()));
        }
        if let Some(most) = self.max_cloud_cover.filter(|_| takes_query) {
            body.insert("query".to_owned(), json!({"eo:cloud_cover": {"lte": most}}));
        }
        Ok(body)
    }
}

/// What the landing page of an API says.
struct Api {
    search: Url,
    takes_query: bool,
}

impl Api {
    async fn look(web: &Web, base: &ObjectUri) -> Result<Self> {
        #[derive(Deserialize)]
        struct Landing {
            #[serde(default, rename = "conformsTo")]
            conforms_to: Vec<String>,
            #[serde(default)]
            links: Vec<Link>,
        }
        let no_api = || {
            Error::config(format!("{base} is not a STAC API"))
                .hint("give the API's landing page, such as https://earth-search.aws.element84.com/v1")
        };
        let answer = web.get(base.for_reading(), StacLimits::default().document_bytes).await?;
        if !answer.is_success() {
            return Err(no_api().because(format!("it answered {}", answer.status)));
        }
        let landing: Landing = serde_json::from_slice(&answer.body)
            .map_err(|cause| no_api().because(base.naming().cause(cause)))?;
        if landing.conforms_to.is_empty() && landing.links.is_empty() {
            return Err(no_api().because("its landing page has neither `conformsTo` nor links".to_owned()));
        }
        let url = url_of(base)?;
        let search = match landing.links.iter().find(|link| link.rel == "search") {
            Some(link) => beside(&url, &link.href),
            None => beside(&url, &format!("{}/search", base.for_reading().trim_end_matches('/'))),
        };
        let search = search.map_err(|error| in_secret(error, base))?;
        let takes_query = landing.conforms_to.iter().any(|class| class.ends_with("item-search#query"));
        Ok(Self { search, takes_query })
    }
}

/// One request for a page: a POST with a body, or a GET.
#[derive(Clone, Debug, PartialEq)]
struct Request {
    url: Url,
    body: Option<Map<String, Value>>,
}

impl Request {
    /// Returns the same search as a GET.
    fn as_get(&self) -> Self {
        let mut url = self.url.clone();
        for (key, value) in self.body.iter().flatten() {
            let text = match value {
                Value::Array(values) => {
                    let texts: Vec<String> = values.iter().map(plain).collect();
                    texts.join(",")
                }
                other => plain(other),
            };
            url.query_pairs_mut().append_pair(key, &text);
        }
        Self { url, body: None }
    }

    /// Returns the request that a link `next` describes.
    fn after(&self, link: Link, base: &Url) -> Result<Self> {
        let url = beside(base, &link.href)?;
        if !link.method.is_some_and(|method| method.eq_ignore_ascii_case("POST")) {
            return Ok(Self { url, body: None });
        }
        let own = match link.body {
            Some(Value::Object(own)) => own,
            _ => Map::new(),
        };
        let mut body = self.body.as_ref().filter(|_| link.merge).cloned().unwrap_or_default();
        body.extend(own);
        Ok(Self { url, body: Some(body) })
    }
}

fn json_of(body: &Map<String, Value>) -> String {
    serde_json::to_string(body).expect("JSON can be written")
}

/// Text without quotes, anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The pages of a search, each fetched when it is asked for.
pub struct Pages {
    web: Web,
    base: ObjectUri,
    next: Option<Request>,
    seen: HashSet<String>,
    limits: StacLimits,
    num_items: u64,
    num_empty: u32,
    /// Position of the first item of the next page.
    position: u64,
}

impl Pages {
    fn new(web: Web, base: ObjectUri, request: Request, position: u64, limits: StacLimits) -> Self {
        let seen = HashSet::new();
        Self { web, base, next: Some(request), seen, limits, num_items: 0, num_empty: 0, position }
    }

    /// Follows a link from a page or a collection of an API.
    ///
    /// - `position`: how many items there were before
    pub(super) fn follow(
        storage: &Storage,
        base: &ObjectUri,
        link: Link,
        position: u64,
        limits: StacLimits,
    ) -> Result<Self> {
        let web = storage.web(base.for_reading())?;
        let url = url_of(base)?;
        let request = Request { url: url.clone(), body: None }
            .after(link, &url)
            .map_err(|error| in_secret(error, base))?;
        Ok(Self::new(web, base.clone(), request, position, limits))
    }

    /// Returns the items of the next page; `None` after the last.
    ///
    /// # Errors
    ///
    /// `Config` if the API refuses the search, leads in a circle, or has more items than the limit;
    /// `Unavailable` if it is away.
    pub async fn next(&mut self) -> Result<Option<Vec<Found>>> {
        let Some(request) = self.next.take() else { return Ok(None) };
        let page = self.page(&request).await?;
        self.num_items += page.items.len() as u64;
        self.position += page.items.len() as u64;
        if self.num_items > self.limits.items {
            return Err(Error::config(format!(
                "{} finds more than {}",
                self.base,
                counted(self.limits.items, "item")
            ))
            .hint(
                "ask for less with input.stac.dates, tiles.aoi or input.stac.max_cloud_cover, or raise \
                     limits.max_stac_items",
            ));
        }
        self.num_empty = if page.items.is_empty() { self.num_empty + 1 } else { 0 };
        if self.num_empty > MAX_EMPTY {
            return Err(self.failed(format!("{MAX_EMPTY} of its pages in a row are empty")));
        }
        if let Some(link) = page.next {
            let next = request.after(link, &request.url).map_err(|error| in_secret(error, &self.base));
            self.next = Some(next?);
        }
        Ok(Some(page.items))
    }

    async fn page(&mut self, request: &Request) -> Result<Page> {
        let key = format!("{} {}", request.url, request.body.as_ref().map(json_of).unwrap_or_default());
        if !self.seen.insert(key) {
            return Err(self.failed("its pages form a loop".to_owned()));
        }
        if self.seen.len() as u64 > self.limits.documents {
            let most = self.limits.documents;
            return Err(Error::config(format!("{} links to more than {}", self.base, counted(most, "page")))
                .hint(
                    "ask for less with input.stac.dates, tiles.aoi or input.stac.max_cloud_cover, or raise \
                 limits.max_stac_documents",
                ));
        }
        let mut answer = self.ask(request).await?;
        if matches!(answer.status, 404 | 405 | 415 | 501) && request.body.is_some() && self.seen.len() == 1 {
            answer = self.ask(&request.as_get()).await?;
        }
        if !answer.is_success() {
            let naming = self.base.naming();
            let detail = description(&answer.body)
                .map_or_else(String::new, |text| format!(": {}", naming.quote(&text)));
            return Err(self.failed(format!("it answered {}{detail}", answer.status)));
        }
        match parse(&answer.body, &self.base, self.position)? {
            Document::Page(page) => Ok(page),
            _ => Err(self.failed("its answer is not a page of items".to_owned())),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Answer> {
        let most = self.limits.document_bytes;
        match &request.body {
            Some(body) => self.web.post(request.url.as_str(), json_of(body), most).await,
            None => self.web.get(request.url.as_str(), most).await,
        }
    }

    fn failed(&self, why: String) -> Error {
        Error::config(format!("cannot search {}", self.base))
            .because(why)
            .hint("check input.stac.api, input.stac.collections, input.stac.dates and tiles.aoi")
    }
}

/// What an API says of a request that it refuses.
fn description(body: &[u8]) -> Option<String> {
    const MOST: usize = 300;
    let answer: Value = serde_json::from_slice(body).ok()?;
    let text = ["description", "detail", "message"].iter().find_map(|key| answer.get(key)).map(plain)?;
    let text: String = text.chars().filter(|character| !character.is_control()).collect();
    // Cut only at the end: of a URL that is cut, a password could not be told from a host.
    Some(redact(&text).chars().take(MOST).collect())
}

/// Keeps what an error says of a link to itself, where names are secret.
fn in_secret(error: Error, base: &ObjectUri) -> Error {
    if base.naming().is_secret() {
        Error::new(error.kind(), format!("a link of {base} cannot be followed"))
    } else {
        error
    }
}

fn url_of(base: &ObjectUri) -> Result<Url> {
    Url::parse(base.for_reading())
        .map_err(|cause| Error::config(format!("`{base}` is not a URL")).because(base.naming().cause(cause)))
}

/// Resolves a link of an API; it may lead to no other host, and not from `https` to `http`.
fn beside(base: &Url, href: &str) -> Result<Url> {
    let refused = |why: &str| Error::config(format!("a link of {} {why}: `{}`", origin(base), redact(href)));
    let url = base.join(href).map_err(|cause| refused("is not a URL").because(cause))?;
    if url.host_str() != base.host_str() || !matches!(url.scheme(), "http" | "https") {
        return Err(refused("leads to another host"));
    }
    if base.scheme() == "https" && url.scheme() == "http" {
        return Err(refused("leaves https"));
    }
    if url.scheme() == base.scheme() && url.port_or_known_default() != base.port_or_known_default() {
        return Err(refused("leads to another port"));
    }
    Ok(url)
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search() -> Search {
        Search {
            api: "https://api.example/v1".to_owned(),
            collections: vec!["sentinel-2-l2a".to_owned()],
            bbox: Some([9.0, 49.0, 10.0, 50.0]),
            intersects: None,
            datetime: Some("2024-05-01/..".to_owned()),
            max_cloud_cover: Some(20.0),
            limit: 10,
            max_items: 100,
            max_pages: 100,
        }
    }

    #[test]
    fn the_body_says_what_was_asked() {
        let body = search().body(true).unwrap();
        let expected = json!({
            "bbox": [9.0, 49.0, 10.0, 50.0], "collections": ["sentinel-2-l2a"], "datetime": "2024-05-01T00:00:00Z/..",
            "limit": 10, "query": {"eo:cloud_cover": {"lte": 20.0}},
        });
        assert_eq!(Value::from(body), expected);
        assert!(!search().body(false).unwrap().contains_key("query"));
        let request = Request {
            url: Url::parse("https://api.example/search").unwrap(),
            body: Some(search().body(false).unwrap()),
        };
        let url = request.as_get().url;
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        assert!(pairs.contains(&("bbox".to_owned(), "9.0,49.0,10.0,50.0".to_owned())), "{pairs:?}");
        assert!(pairs.contains(&("datetime".to_owned(), "2024-05-01T00:00:00Z/..".to_owned())), "{pairs:?}");
    }

    #[test]
    fn next_links_come_in_both_forms() {
        let base = Url::parse("https://api.example/v1/search").unwrap();
        let first = Request { url: base.clone(), body: Some(search().body(false).unwrap()) };
        let link = |text: &str| -> Link { serde_json::from_str(text).unwrap() };
        let merged = first
            .after(link(r#"{"rel": "next", "href": "/v1/search", "method": "POST", "merge": true, "body": {"token": "t"}}"#), &base)
            .unwrap();
        assert_eq!(merged.body.as_ref().unwrap()["token"], "t");
        assert_eq!(merged.body.as_ref().unwrap()["limit"], 10);
        let whole = first
            .after(
                link(r#"{"rel": "next", "href": "search", "method": "POST", "body": {"token": "t"}}"#),
                &base,
            )
            .unwrap();
        assert_eq!(whole.body.unwrap().len(), 1);
        let get = first.after(link(r#"{"rel": "next", "href": "search?page=2"}"#), &base).unwrap();
        assert_eq!((get.url.as_str(), get.body), ("https://api.example/v1/search?page=2", None));
    }

    #[test]
    fn what_an_api_says_is_cut_after_its_secrets_are() {
        let said = |text: String| description(json!({ "detail": text }).to_string().as_bytes()).unwrap();
        let url = "https://user:hunter2@api.example/v1";
        for before in 240..320 {
            let said = said(format!("{}{url}", " ".repeat(before)));
            assert!(said.chars().count() <= 300 && !said.contains("hun"), "{said}");
        }
        assert!(!said("https://user:hunter2\n@api.example".to_owned()).contains("hunter2"));
    }

    #[test]
    fn links_stay_with_their_host() {
        let base = Url::parse("https://api.example/v1").unwrap();
        for href in [
            "https://elsewhere.example/v1",
            "http://api.example/v1",
            "https://api.example:8443/v1",
            "file:///etc/passwd",
        ] {
            assert!(beside(&base, href).is_err(), "{href}");
        }
        assert_eq!(beside(&base, "search?a=b").unwrap().as_str(), "https://api.example/search?a=b");
    }

    #[test]
    fn a_search_that_cannot_be_meant_is_refused() {
        let refused = |change: &dyn Fn(&mut Search)| {
            let mut search = search();
            change(&mut search);
            search.check(&Naming::default()).unwrap_err().render()
        };
        assert!(refused(&|search| search.collections.clear()).contains("collections is empty"));
        assert!(refused(&|search| search.intersects = Some(json!({}))).contains("both a box and a geometry"));
        assert!(refused(&|search| search.api = "s3://b/api".to_owned()).contains("is not a URL"));
        assert!(refused(&|search| search.bbox = Some([0.0, 9.0, 1.0, 8.0])).contains("is not a box"));
        assert!(refused(&|search| search.limit = 0).contains("0 items per page"));
        assert!(
            refused(&|search| (search.bbox, search.datetime) = (None, None)).contains("whole collections")
        );
        assert!(search().check(&Naming::default()).is_ok());
    }
}
