//! Documents that lead to others, on disk and on a web server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tilefleet_testing::http::{Answer, Request, Server};

use super::read::Found;
use super::*;
use crate::input::storage::{ObjectUri, Storage, StorageOptions};
use crate::vocabulary::error::{Error, Kind};
use tilefleet_testing::skipped;

fn storage() -> Storage {
    Storage::new(StorageOptions { retry_timeout: Duration::from_millis(300), ..StorageOptions::default() })
        .unwrap()
}

async fn all_within(text: &str, limits: &StacLimits) -> Result<Vec<Found>, Error> {
    all_by(&storage(), text, limits).await
}

async fn all_by(storage: &Storage, text: &str, limits: &StacLimits) -> Result<Vec<Found>, Error> {
    let spool = tempfile::tempdir().unwrap();
    let mut items = Vec::new();
    let uri = ObjectUri::parse(text).unwrap();
    read(storage, &uri, limits, spool.path(), &mut |found| {
        items.push(found);
        Ok(())
    })
    .await?;
    Ok(items)
}

async fn all(path: &Path) -> Result<Vec<Found>, Error> {
    all_within(path.to_str().unwrap(), &StacLimits::default()).await
}

fn ids(found: &[Found]) -> Vec<&str> {
    found
        .iter()
        .map(|item| item.as_ref().map_or_else(|bad| bad.why.as_str(), |item| item.id.as_str()))
        .collect()
}

fn feature(id: &str, day: u32) -> Value {
    json!({
        "type": "Feature", "stac_version": "1.1.0", "id": id, "collection": "c", "links": [], "geometry": null,
        "bbox": [9.0, 49.0, 10.0, 50.0],
        "properties": {"datetime": format!("2024-05-{day:02}T10:00:00Z"), "eo:cloud_cover": day},
        "assets": {"red": {"href": format!("./{id}.tif"), "type": "image/tiff; application=geotiff"}},
    })
}

fn write(folder: &Path, name: &str, value: &Value) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, value.to_string()).unwrap();
    path
}

fn link(rel: &str, href: &str) -> Value {
    json!({"rel": rel, "href": href})
}

fn test_data() -> Option<PathBuf> {
    Some(skipped::test_data()?.join("satellite/stac"))
}

#[tokio::test]
async fn the_landsat_scene_is_found_through_its_collection() {
    let Some(data) = test_data() else { return };
    let folder = data.join("landsat8-local");
    let through_collection = all(&folder.join("collection.json")).await.unwrap();
    let own = all(&folder.join("LC08_L1TP_016037_20170813_20170814_01_RT.json")).await.unwrap();
    assert_eq!(through_collection, own);
    let item = own[0].as_ref().unwrap();
    assert_eq!(
        item.uri.for_reading(),
        format!("file://{}/LC08_L1TP_016037_20170813_20170814_01_RT.json", folder.display())
    );
    assert_eq!(item.datetime.map(time::format).as_deref(), Some("2017-08-13T15:54:15Z"));
    assert_eq!((item.cloud_cover, item.collection.as_deref()), (Some(26.7), Some("landsat-8-l1")));
    let bands = select(item, &["coastal", "blue", "green", "red", "nir08", "swir16"]).unwrap();
    let keys: Vec<&str> = bands.iter().map(|band| band.key.as_str()).collect();
    assert_eq!(keys, ["B1", "B2", "B3", "B4", "B5", "B6"]);
    for band in &bands {
        let uri = item.assets[band.asset].uri(None).unwrap();
        assert!(uri.local_path().unwrap().is_file(), "{uri}");
        assert_eq!(band.details.data_type.as_deref(), Some("uint16"));
    }
}

#[tokio::test]
async fn items_of_old_and_new_versions_are_read() {
    let Some(data) = test_data() else { return };
    for (name, collection, red) in [
        ("stac.json", Some("JQT"), "http://somewhere-over-the-rainbow.io/red.tif"),
        ("stac_proj.json", Some("JQT"), "http://somewhere-over-the-rainbow.io/red.tif"),
        ("stac_raster.json", None, "http://somewhere-over-the-rainbow.io/red_nostats.tif"),
    ] {
        let found = all(&data.join("items").join(name)).await.unwrap();
        let item = found[0].as_ref().unwrap();
        assert_eq!((item.id.as_str(), item.collection.as_deref()), ("JQT-123456789", collection));
        assert_eq!(select(item, &["red"]).unwrap()[0].key, "red");
        assert_eq!(item.asset("red").unwrap().href, red);
        assert!(looks_like_stac(&std::fs::read(data.join("items").join(name)).unwrap()));
    }
}

/// One item's document that its server does not give is a source of which nothing is known; a server that gives
/// none ends the command.
#[tokio::test]
async fn a_document_that_cannot_be_read_is_left_to_the_run() {
    let items: Vec<Value> = (0..12).map(|number| link("item", &format!("{number}.json"))).collect();
    let collection = json!({"type": "Collection", "stac_version": "1.0.0", "id": "c", "description": "",
                            "license": "other", "extent": {}, "links": items});
    let served = |is_troubled: fn(&str) -> bool| {
        let collection = collection.to_string();
        Server::answering(move |asked: &Request, _: &str| match asked.target.trim_start_matches('/') {
            "collection.json" => (200, collection.clone()),
            name if is_troubled(name) => (500, String::new()),
            name => (200, feature(name.trim_end_matches(".json"), 1).to_string()),
        })
    };
    let one = served(|name| name == "7.json");
    let found = all_within(&format!("{}/collection.json", one.url()), &StacLimits::default()).await.unwrap();
    assert_eq!(found.len(), 12);
    let bad: Vec<_> = found.iter().filter_map(|found| found.as_ref().err()).collect();
    assert!(bad[0].unread && bad[0].uri.for_reading().ends_with("/7.json"), "{bad:?}");
    assert_eq!(bad.len(), 1);
    let none = served(|_| true);
    let error =
        all_within(&format!("{}/collection.json", none.url()), &StacLimits::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn links_are_followed_in_order_and_never_in_circles() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let catalog = |links: Value| json!({"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "", "links": links});
    let root = write(
        path,
        "catalog.json",
        &catalog(json!([
            link("child", "a/catalog.json"),
            link("child", "b/catalog.json"),
            link("item", "z.json")
        ])),
    );
    write(path, "z.json", &feature("z", 1));
    // Each leads back, and both to the same item.
    let back = |item: &str| {
        catalog(json!([
            link("child", "../catalog.json"),
            link("item", item),
            link("item", "../shared.json"),
            link("parent", "../catalog.json")
        ]))
    };
    write(path, "a/catalog.json", &back("one.json"));
    write(path, "b/catalog.json", &back("gone.json"));
    write(path, "a/one.json", &feature("one", 2));
    write(path, "shared.json", &feature("shared", 3));
    let found = all(&root).await.unwrap();
    assert_eq!(ids(&found), ["z", "one", "shared", "the object does not exist"]);
    assert!(found[3].as_ref().unwrap_err().uri.for_reading().ends_with("/b/gone.json"));
    assert_eq!(
        found[1].as_ref().unwrap().asset("red").unwrap().href,
        format!("file://{}/a/one.tif", path.display())
    );
    let shallow = StacLimits { depth: 1, ..StacLimits::default() };
    let error = all_within(root.to_str().unwrap(), &shallow).await.unwrap_err();
    assert!(error.render().contains("more than 1 level of catalogs"), "{}", error.render());
    let few = StacLimits { documents: 3, ..StacLimits::default() };
    let error = all_within(root.to_str().unwrap(), &few).await.unwrap_err();
    assert!(error.render().contains("more than 3 documents"), "{}", error.render());
}

#[tokio::test]
async fn a_collection_of_items_gives_each_a_name_and_keeps_the_bad_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut named = feature("named", 2);
    named["links"] = json!([link("self", "https://archive.example/c/items/named")]);
    let mut outside = feature("outside", 3);
    outside["links"] = json!([link("self", "../other/outside.json")]);
    let broken = json!({"type": "Feature", "id": "broken", "properties": {}});
    let mut timeless = feature("timeless", 1);
    timeless["properties"]["datetime"] = "yesterday".into();
    let features = json!([feature("plain", 1), named, outside, broken, timeless, 7]);
    let path =
        write(folder.path(), "list/items.json", &json!({"type": "FeatureCollection", "features": features}));
    let found = all(&path).await.unwrap();
    let at = format!("file://{}", folder.path().display());
    let uris: Vec<&str> = found
        .iter()
        .map(|item| item.as_ref().map_or_else(|bad| bad.uri.for_reading(), |item| item.uri.for_reading()))
        .collect();
    assert_eq!(
        uris,
        [
            &*format!("{at}/list/items.json#plain"),
            "https://archive.example/c/items/named",
            &format!("{at}/other/outside.json"),
            &format!("{at}/list/items.json#broken"),
            &format!("{at}/list/items.json#timeless"),
            &format!("{at}/list/items.json#/features/5"),
        ]
    );
    let href = |index: usize| found[index].as_ref().unwrap().asset("red").unwrap().href.clone();
    assert_eq!(href(0), format!("{at}/list/plain.tif"));
    assert_eq!(href(1), "https://archive.example/c/items/named.tif", "relative to the item's own place");
    assert_eq!(href(2), format!("{at}/other/outside.tif"));
    assert!(ids(&found)[3].contains("missing field `assets`"), "{}", ids(&found)[3]);
    assert!(
        ids(&found)[4].contains("its datetime `yesterday` is not an RFC 3339 time"),
        "{}",
        ids(&found)[4]
    );
    let few = StacLimits { items: 2, ..StacLimits::default() };
    let error = all_within(path.to_str().unwrap(), &few).await.unwrap_err();
    assert!(error.render().contains("more than 2 items"), "{}", error.render());
    let small = StacLimits { document_bytes: 100, ..StacLimits::default() };
    let found = all_within(path.to_str().unwrap(), &small).await.unwrap();
    assert!(ids(&found)[0].contains("too large"), "{}", ids(&found)[0]);
}

/// One document among many that cannot be used is a row, whatever is wrong with it.
#[tokio::test]
async fn what_is_no_stac_is_one_item_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let dated = feature("dated", 1).to_string().replace("T10:00:00Z", "");
    let with_nan = feature("nan", 1).to_string().replace(":1}", ":1,\"a\\\" NaN\":-Infinity}");
    assert!(with_nan.contains("-Infinity"));
    for (text, part) in [
        ("", "it is not a STAC document: EOF"),
        ("[1, 2]", "invalid type"),
        ("{\"a\": 1}", "neither a type nor a stac_version"),
        ("{\"type\": \"Point\"}", "its type is `Point`"),
        ("{\"type\": \"Feature\", NaN}", "it is not a STAC document: "),
        ("\u{feff}{\"type\": \"Feature\"}", "it is not a STAC item"),
        (&dated, "its datetime `2024-05-01` is not an RFC 3339 time"),
        (&with_nan, "NaN or Infinity, which JSON does not allow"),
    ] {
        let path = folder.path().join("x.json");
        std::fs::write(&path, text).unwrap();
        let found = all(&path).await.unwrap();
        assert_eq!(found.len(), 1, "{text}");
        let bad = found[0].as_ref().unwrap_err();
        assert!(bad.why.contains(part), "{}", bad.why);
        assert!(bad.uri.for_reading().ends_with("/x.json"), "{}", bad.uri);
    }
}

/// RFC 8259 has no NaN, and Python writes it all the same: the items beside it are read.
#[tokio::test]
async fn a_number_that_json_does_not_have_spoils_one_item() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = feature("quoted", 1);
    text["id"] = "a \"NaN\" in quotes".into();
    let spoilt = feature("spoilt", 2).to_string().replace(":2}", ":NaN}");
    let list = format!(
        "{{\"type\": \"FeatureCollection\", \"features\": [{text}, {spoilt}, {}], \"links\": [7, {{\"rel\": 5}}]}}",
        feature("good", 3)
    );
    let path = folder.path().join("items.json");
    std::fs::write(&path, list).unwrap();
    let found = all(&path).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!((ids(&found)[0], ids(&found)[2]), ("a \"NaN\" in quotes", "good"));
    let bad = found[1].as_ref().unwrap_err();
    assert!(bad.uri.for_reading().ends_with("items.json#spoilt") && bad.why.contains("NaN"), "{bad:?}");
}

#[tokio::test]
async fn a_link_that_leads_nowhere_is_one_item() {
    let folder = tempfile::tempdir().unwrap();
    let links = json!([
        link("child", "gone/catalog.json"),
        link("child", "ftp://h/catalog.json"),
        link("child", "torn.json"),
        json!({"rel": "item", "href": 7}),
        link("item", "good.json"),
    ]);
    let root =
        json!({"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "", "links": links});
    let root = write(folder.path(), "catalog.json", &root);
    write(folder.path(), "good.json", &feature("good", 1));
    std::fs::write(folder.path().join("torn.json"), "{\"type\": \"Catalog\", ").unwrap();
    let found = all(&root).await.unwrap();
    let mut whys = ids(&found);
    whys.sort_unstable();
    assert_eq!(whys.len(), 5, "{whys:?}");
    assert_eq!(whys[0], "good");
    assert!(whys[1].starts_with("it is not a STAC document"), "{whys:?}");
    assert!(whys[2].starts_with("its link `child` cannot be followed"), "{whys:?}");
    assert!(whys[3].starts_with("its link `item` cannot be followed"), "{whys:?}");
    assert_eq!(whys[4], "the object does not exist");
}

/// Reads a catalog whose links lead to two folders and to another server; returns what came of each link, and whether
/// the other server was asked.
async fn links_with_allow(allow: &[&str]) -> (Vec<String>, bool) {
    let other = Server::answering(|_, _| (200, feature("other", 1).to_string()));
    let elsewhere = format!("{}/item.json", other.url());
    let server = Server::answering(move |request, _| {
        let links = [link("item", "in/a.json"), link("item", "../out/b.json"), link("item", &elsewhere)];
        let root = json!({"type": "Catalog", "stac_version": "1.0.0", "id": "c", "links": links});
        match request.target.as_str() {
            "/root/catalog.json" => (200, root.to_string()),
            target => (200, feature(target, 1).to_string()),
        }
    });
    let allow: Vec<String> = allow.iter().map(|place| place.replace("HOST", &server.url())).collect();
    let root = format!("{}/root/catalog.json", server.url());
    let storage = storage().allowing(&allow).unwrap();
    let found = all_by(&storage, &root, &StacLimits::default()).await.unwrap();
    (ids(&found).into_iter().map(str::to_owned).collect(), !other.requests().is_empty())
}

#[tokio::test]
async fn links_lead_to_no_document_that_is_not_allowed() {
    let (all, asked) = links_with_allow(&[]).await;
    assert_eq!((all.len(), asked), (3, true), "{all:?}");
    assert!(all.iter().all(|what| !what.contains("allow")), "{all:?}");
    let is_refused = |what: &String| what.contains("is not allowed; to allow it, add it to input.allow");
    let refused = |all: &[String]| all.iter().filter(|what| is_refused(what)).count();
    let (within, asked) = links_with_allow(&["HOST/root/"]).await;
    assert_eq!((within.len(), refused(&within), asked), (3, 2, false), "{within:?}");
    let (own_host, asked) = links_with_allow(&["s3://elsewhere/"]).await;
    assert_eq!((own_host.len(), refused(&own_host), asked), (3, 1, false), "{own_host:?}");
}

/// What has assets or features and does not say what it is is not a catalog of former times: it is a row that says why.
#[tokio::test]
async fn what_does_not_say_what_it_is_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let without = |key: &str| {
        let mut item = feature("a", 1);
        item.as_object_mut().unwrap().remove(key);
        item
    };
    let with = |mut document: Value, key: &str, value: Value| {
        document[key] = value;
        document
    };
    let items =
        || json!({"type": "FeatureCollection", "stac_version": "1.0.0", "features": [feature("a", 1)]});
    for (document, expected) in [
        (without("type"), vec!["its `type` is missing or null; that of an item is \"Feature\""]),
        (with(feature("a", 1), "type", Value::Null), vec!["missing or null"]),
        (with(feature("a", 1), "type", json!(5)), vec!["its `type` is `5`"]),
        (with(feature("a", 1), "type", json!("feature")), vec!["its `type` is `\"feature\"`"]),
        (with(without("type"), "links", json!({})), vec!["missing or null"]),
        (with(items(), "type", Value::Null), vec!["that of a list of items is \"FeatureCollection\""]),
        (with(items(), "features", Value::Null), vec!["`features` are missing, null or not a list"]),
        (with(items(), "features", json!({})), vec!["`features` are missing, null or not a list"]),
        (json!({"type": "FeatureCollection", "stac_version": "1.0.0"}), vec!["`features` are missing"]),
        (with(items(), "features", json!([null, 3])), vec!["it is not a STAC item", "it is not a STAC item"]),
        (with(items(), "links", json!({})), vec!["a", "its `links` are not a list"]),
        (with(items(), "features", json!([])), vec![]),
        (json!([feature("a", 1)]), vec!["it is a list"]),
        (
            json!({"type": "Catalog", "stac_version": "1.0.0", "links": {}}),
            vec!["its `links` are not a list"],
        ),
        (json!({"stac_version": "0.8.0", "id": "c", "description": "", "links": []}), vec![]),
    ] {
        let found = all(&write(folder.path(), "x.json", &document)).await.unwrap();
        let found = ids(&found);
        assert_eq!(found.len(), expected.len(), "{document}: {found:?}");
        assert!(found.iter().zip(&expected).all(|(id, part)| id.contains(part)), "{document}: {found:?}");
    }
    // A collection of former times has no type, but links, whatever else it says.
    write(folder.path(), "item.json", &feature("a", 1));
    let old =
        json!({"stac_version": "0.8.0", "id": "c", "properties": {}, "links": [link("item", "item.json")]});
    assert_eq!(ids(&all(&write(folder.path(), "old.json", &old)).await.unwrap()), ["a"]);
}

#[tokio::test]
async fn what_is_no_input_at_all_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for (text, part) in [
        (
            "{\"type\": \"FeatureCollection\", \"features\": [], \"links\": [{\"rel\": \"next\", \"href\": \"2\"}]}",
            "one of several pages",
        ),
        (
            "{\"type\": \"Catalog\", \"links\": [{\"rel\": \"search\", \"href\": \"/search\"}]}",
            "is a STAC API",
        ),
    ] {
        let path = folder.path().join("x.json");
        std::fs::write(&path, text).unwrap();
        let error = all(&path).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.render().contains(part), "{}", error.render());
        assert!(error.render().contains("hint: "), "{}", error.render());
    }
    for (text, is_stac) in [
        ("\u{feff} {\"stac_version\": \"1.0.0\"", true),
        ("{\"type\": \"FeatureCollection\", \"features\": [", true),
        ("{\"type\": \"Point\", \"coordinates\": []}", false),
        ("uri\nstac_version\n", false),
        ("", false),
    ] {
        assert_eq!(looks_like_stac(text.as_bytes()), is_stac, "{text}");
    }
}

/// A STAC API with seven items, two a page; `posts` says whether it takes a POST.
fn api(posts: bool) -> Server {
    let page = |start: usize, next: Option<Value>| {
        let items: Vec<Value> = (start..7.min(start + 2))
            .map(|number| feature(&format!("i{number}"), number as u32 + 1))
            .collect();
        let next: Vec<Value> = next.filter(|_| start + 2 < 7).into_iter().collect();
        json!({"type": "FeatureCollection", "features": items, "links": next}).to_string()
    };
    Server::answering(move |asked: &Request, address: &str| -> Answer {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        match (asked.method.as_str(), path) {
            ("GET", "/v1") => {
                let conforms = ["https://api.stacspec.org/v1.0.0/item-search#query"];
                let links = [link("search", &format!("{address}/v1/search"))];
                (200, json!({"type": "Catalog", "stac_version": "1.0.0", "conformsTo": conforms, "links": links}).to_string())
            }
            ("POST", "/v1/search") if posts => {
                let body: Value = serde_json::from_slice(&asked.body).unwrap();
                let start = body["token"].as_u64().unwrap_or(0) as usize;
                let next = json!({"rel": "next", "href": format!("{address}/v1/search"), "method": "POST", "merge": true,
                                  "body": {"token": start + 2}});
                (200, page(start, Some(next)))
            }
            ("GET", "/v1/search" | "/v1/collections/c/items") => {
                let start = query.rsplit_once("token=").map_or(0, |(_, number)| number.parse().unwrap());
                (200, page(start, Some(link("next", &format!("{address}{path}?token={}", start + 2)))))
            }
            ("GET", "/v1/collections/c") => {
                let links = [link("items", "/v1/collections/c/items"), link("root", "/v1")];
                (
                    200,
                    json!({"type": "Collection", "stac_version": "1.0.0", "id": "c", "links": links})
                        .to_string(),
                )
            }
            _ => (405, json!({"description": "no https://u:SECRET@h/x here"}).to_string()),
        }
    })
}

fn search(served: &Server) -> Search {
    toml::from_str(&format!(
        "api = \"{}/v1\"\ncollections = [\"c\"]\nbbox = [9.0, 49.0, 10.0, 50.0]\nmax_cloud_cover = 5\nlimit = 2\n",
        served.url()
    ))
    .unwrap()
}

async fn found(search: &Search) -> Result<Vec<Found>, Error> {
    let mut pages = search.start(&storage()).await?;
    let mut all = Vec::new();
    while let Some(items) = pages.next().await? {
        all.extend(items);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_goes_through_all_pages_by_post_or_by_get() {
    let served = api(true);
    let items = found(&search(&served)).await.unwrap();
    assert_eq!(ids(&items), ["i0", "i1", "i2", "i3", "i4", "i5", "i6"]);
    let last: Value = serde_json::from_slice(&served.requests().last().unwrap().body).unwrap();
    let expected = json!({"collections": ["c"], "bbox": [9.0, 49.0, 10.0, 50.0], "limit": 2, "token": 6,
                          "query": {"eo:cloud_cover": {"lte": 5.0}}});
    assert_eq!(last, expected, "what was asked is asked of every page");
    assert_eq!(items[0].as_ref().unwrap().uri.for_reading(), format!("{}/v1#i0", served.url()));
    // This API ignores the clouds, so each item is judged again.
    let filter = search(&served).filter().unwrap();
    let taken = items.iter().filter(|item| filter.judge(item.as_ref().unwrap()) == Verdict::Taken).count();
    assert_eq!(taken, 5);

    let served = api(false);
    assert_eq!(found(&search(&served)).await.unwrap().len(), 7);
    let requests = served.requests();
    let methods: Vec<&str> = requests.iter().map(|asked| asked.method.as_str()).collect();
    assert_eq!(methods, ["GET", "POST", "GET", "GET", "GET", "GET"]);
    let error = found(&Search { max_items: 6, ..search(&served) }).await.unwrap_err();
    assert!(error.render().contains("finds more than 6 items"), "{}", error.render());
    assert!(error.render().contains("raise limits.max_stac_items"), "{}", error.render());
    let error = found(&Search { max_pages: 2, ..search(&served) }).await.unwrap_err();
    assert!(error.render().contains("links to more than 2 pages"), "{}", error.render());
    assert!(error.render().contains("raise limits.max_stac_documents"), "{}", error.render());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collection_of_an_api_is_read_page_by_page() {
    let served = api(true);
    let items =
        all_within(&format!("{}/v1/collections/c", served.url()), &StacLimits::default()).await.unwrap();
    assert_eq!(items.len(), 7);
    assert_eq!(items[6].as_ref().unwrap().uri.for_reading(), format!("{}/v1/collections/c#i6", served.url()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_refuses_circles_or_is_away_is_said() {
    let refuses = |answer: fn(&Request, &str) -> Answer| async move {
        let served = Server::answering(answer);
        found(&search(&served)).await.unwrap_err()
    };
    let error = refuses(|asked, _| match asked.method.as_str() {
        "GET" => (200, r#"{"conformsTo": ["x"]}"#.to_owned()),
        _ => (400, r#"{"description": "unknown collection at https://u:SECRET@h/x"}"#.to_owned()),
    })
    .await;
    assert_eq!(error.kind(), Kind::Config);
    assert!(
        error.render().contains("it answered 400: unknown collection") && !error.render().contains("SECRET"),
        "{}",
        error.render()
    );
    let error = refuses(|asked, address| {
        if asked.method == "GET" {
            return (200, r#"{"conformsTo": ["x"]}"#.to_owned());
        }
        let next =
            json!({"rel": "next", "href": format!("{address}/v1/search"), "method": "POST", "merge": true});
        (
            200,
            json!({"type": "FeatureCollection", "features": [feature("i", 1)], "links": [next]}).to_string(),
        )
    })
    .await;
    assert!(error.render().contains("its pages form a loop"), "{}", error.render());
    let error = refuses(|_, _| (503, String::new())).await;
    assert_eq!(error.kind(), Kind::Unavailable, "{}", error.render());
    let error = refuses(|_, _| (200, "{}".to_owned())).await;
    assert!(error.render().contains("is not a STAC API"), "{}", error.render());
    let error = refuses(|asked, _| match asked.target.as_str() {
        "/v1" => (
            200,
            json!({"conformsTo": [], "links": [link("search", "https://elsewhere.example/search")]})
                .to_string(),
        ),
        _ => (500, String::new()),
    })
    .await;
    assert!(error.render().contains("leads to another host"), "{}", error.render());
}

/// The table was made of the item collection by the Python package stac-geoparquet.
#[tokio::test]
async fn a_table_holds_what_the_item_collection_holds() {
    let golden = tilefleet_testing::project().join("tests/golden/stac");
    let table = all(&golden.join("items.parquet")).await.unwrap();
    let collection = all(&golden.join("items.json")).await.unwrap();
    assert_eq!(table.len(), 2);
    for (row, feature) in table.into_iter().zip(collection) {
        let feature = feature.unwrap();
        let uri = feature.uri.for_reading().replace("items.json#", "items.parquet#").into();
        // The table's geometries are left out.
        assert_eq!(row.unwrap(), Item { geometry: None, uri, ..feature });
    }
}

#[tokio::test]
async fn a_table_of_something_else_is_no_stac() {
    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.parquet");
    let uris: ArrayRef = std::sync::Arc::new(StringArray::from(vec!["a.tif"]));
    let batch = RecordBatch::try_from_iter([("uri", uris)]).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let error = all(&path).await.unwrap_err();
    assert!(
        error.render().contains("no column `id`") && error.render().contains("input.manifest"),
        "{}",
        error.render()
    );
    std::fs::write(&path, "PAR1 or not").unwrap();
    let error = all(&path).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.render().contains("cannot read the table"), "{}", error.render());
    let small = StacLimits { table_bytes: 4, ..StacLimits::default() };
    let error = all_within(path.to_str().unwrap(), &small).await.unwrap_err();
    assert!(error.render().contains("too large"), "{}", error.render());
}
