//! Discovery over local folders and stores in memory.

use std::fs;

use bytes::Bytes;
use object_store::memory::InMemory;

use super::*;
use crate::input::storage::{Bucket, StorageOptions};
use crate::vocabulary::error::Kind;

fn storage() -> Storage {
    Storage::new(StorageOptions::default()).unwrap()
}

/// A storage with `s3://b` in memory that holds these objects.
async fn store_with(objects: &[(&str, &str)]) -> Storage {
    let bucket = Bucket::over(Arc::new(InMemory::new()), "s3://b");
    for (key, content) in objects {
        bucket.put_replace(key, Bytes::copy_from_slice(content.as_bytes())).await.unwrap();
    }
    let storage = storage();
    storage.register(bucket);
    storage
}

async fn find(spec: InputSpec, storage: &Storage) -> Result<Discovered> {
    let spool = tempfile::tempdir().unwrap();
    let found = discover(&spec, storage, spool.path()).await;
    assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 0, "nothing is left in the spool's folder");
    found
}

fn uris(texts: &[&str]) -> InputSpec {
    InputSpec { uris: texts.iter().map(|text| (*text).to_owned()).collect(), ..InputSpec::default() }
}

fn manifest(uri: &str) -> InputSpec {
    InputSpec { manifest: Some(uri.to_owned()), ..InputSpec::default() }
}

fn found(discovered: &Discovered) -> Vec<String> {
    discovered.sources.entries().map(|entry| entry.unwrap().uri.to_string()).collect()
}

#[tokio::test]
async fn folders_objects_and_patterns_are_found_once_and_in_order() {
    let objects = [
        ("t/b.jpg", "bb"),
        ("t/a.jpg", "a"),
        ("t/x/c.jpg", "c"),
        ("t/.hidden/d.jpg", "d"),
        ("t2/e.png", "e"),
    ];
    let storage = store_with(&objects).await;
    for (input, expected) in [
        (&["s3://b/t"][..], &["t/a.jpg", "t/b.jpg", "t/x/c.jpg"][..]),
        (&["s3://b/t/"], &["t/a.jpg", "t/b.jpg", "t/x/c.jpg"]),
        (&["s3://b/t/b.jpg"], &["t/b.jpg"]),
        (&["s3://b/t/*.jpg"], &["t/a.jpg", "t/b.jpg"]),
        (&["s3://b/**/*.{jpg,png}", "s3://b/t/a.jpg"], &["t/a.jpg", "t/b.jpg", "t/x/c.jpg", "t2/e.png"]),
        (&["s3://b/t/.hidden/*"], &["t/.hidden/d.jpg"]),
        (&["s3://b/none"], &[]),
    ] {
        let discovered = find(uris(input), &storage).await.unwrap();
        let expected: Vec<String> = expected.iter().map(|key| format!("s3://b/{key}")).collect();
        assert_eq!(found(&discovered), expected, "{input:?}");
    }
    let discovered = find(uris(&["s3://b/t"]), &storage).await.unwrap();
    assert_eq!((discovered.num_ignored, discovered.sources.num_bytes), (1, 4));
    let first = discovered.sources.entries().next().unwrap().unwrap();
    assert_eq!(first.size, Some(1));
    assert!(first.version.is_some());
}

#[tokio::test]
async fn finding_nothing_says_where_was_looked() {
    let storage = store_with(&[("t/a.png", "a")]).await;
    let discovered = find(uris(&["s3://b/t/*.jpg"]), &storage).await.unwrap();
    let error = discovered.require_some().unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(
        error.render().contains("s3://b/t/*.jpg: 1 object below s3://b/t, 0 of them taken"),
        "{}",
        error.render()
    );
}

#[tokio::test]
async fn what_lies_beside_images_is_left_out_of_folders() {
    let objects =
        ["a.tif", "a.tif.OVR", "a.tif.msk", "a.aux.xml", "b", "c.xyz", "README", "x/a.tfw", "i.json"];
    let storage = store_with(&objects.map(|key| (key, "x"))).await;
    let images = ["s3://b/a.tif", "s3://b/b", "s3://b/c.xyz"];
    for items in [None, Some(ItemSpec::default())] {
        for folder in ["s3://b/", "s3://b/**"] {
            let spec = InputSpec { items: items.clone(), ..uris(&[folder]) };
            let discovered = find(spec, &storage).await.unwrap();
            assert_eq!((found(&discovered), discovered.num_ignored), (images.map(str::to_owned).to_vec(), 6));
            let said = "6 of which are not images by their extensions: 1 .json, 1 .msk, 1 .ovr, 1 .tfw, 1 \
                 .xml, 1 readme";
            assert!(discovered.summary().contains(said), "{}", discovered.summary());
        }
    }
    // What is named is meant.
    for (input, key) in [("s3://b/*.msk", "a.tif.msk"), ("s3://b/README", "README")] {
        assert_eq!(found(&find(uris(&[input]), &storage).await.unwrap()), [format!("s3://b/{key}")]);
    }
    let items = store_with(&[("items/a.json", "{}"), ("items/b.json", "{}")]).await;
    let error = find(uris(&["s3://b/items"]), &items).await.unwrap().require_some().unwrap_err();
    assert!(error.render().contains("STAC items are named by a pattern"), "{}", error.render());
}

fn item(collection: &str, id: &str, more: &str) -> String {
    format!(
        "{{\"type\": \"Feature\", \"stac_version\": \"1.0.0\", {id} \"collection\": \"{collection}\", \"geometry\": null, \
         \"properties\": {{{more}}}, \"links\": [], \"assets\": {{\"red\": {{\"href\": \"red.tif\"}}}}}}"
    )
}

fn scenes(inputs: &[&str]) -> InputSpec {
    InputSpec { items: Some(ItemSpec::default()), ..uris(inputs) }
}

#[tokio::test]
async fn items_of_one_id_are_as_many_sources_as_they_are() {
    let id = "\"id\": \"S2A_1\",";
    let features = [
        item("l2a", id, ""),
        item("l1c", id, ""),
        item("l2a", id, ""),
        item("l2a", "", ""),
        item("l2a", "", ""),
        item("l2a", "\"id\": 7,", ""),
    ];
    let list = format!(
        "{{\"type\": \"FeatureCollection\", \"stac_version\": \"1.0.0\", \"features\": [{}]}}",
        features.join(", ")
    );
    let storage = store_with(&[("two.json", &list)]).await;
    for inputs in [&["s3://b/two.json"][..], &["s3://b/two.json", "s3://b/two.json"], &["s3://b/*.json"]] {
        let discovered = find(scenes(inputs), &storage).await.unwrap();
        let expected = ["#/features/3", "#/features/4", "#/features/5", "#S2A_1", "#S2A_1@l2a"];
        assert_eq!(found(&discovered), expected.map(|name| format!("s3://b/two.json{name}")), "{inputs:?}");
        let collections: Vec<Option<String>> = discovered
            .sources
            .entries()
            .filter_map(|entry| entry.unwrap().stac_item().unwrap().unwrap().ok())
            .map(|item| item.collection)
            .collect();
        assert_eq!(collections, [Some("l1c".to_owned()), Some("l2a".to_owned())]);
        let num_repeated = if inputs.len() == 2 { 7 } else { 1 };
        assert_eq!((discovered.sources.num_repeated, discovered.sources.num_renamed), (num_repeated, 1));
    }
}

#[tokio::test]
async fn one_flawed_document_among_many_is_one_source() {
    let id = "\"id\": \"i\",";
    let objects = [
        ("items/base.json", item("c", id, "\"datetime\": \"2024-06-01T10:00:00Z\"")),
        ("items/date.json", item("c", id, "\"datetime\": \"2024-06-01T10:00:00\"")),
        ("items/empty.json", String::new()),
        ("items/nan.json", item("c", id, "\"unused\": NaN")),
        ("items/torn.json", item("c", id, "")[..40].to_owned()),
    ];
    let objects: Vec<(&str, &str)> = objects.iter().map(|(key, text)| (*key, text.as_str())).collect();
    let storage = store_with(&objects).await;
    let discovered = find(scenes(&["s3://b/items/*.json"]), &storage).await.unwrap();
    assert_eq!(
        found(&discovered),
        objects.iter().map(|(key, _)| format!("s3://b/{key}")).collect::<Vec<_>>()
    );
    let usable: Vec<bool> = discovered
        .sources
        .entries()
        .map(|entry| entry.unwrap().stac_item().unwrap().unwrap().is_ok())
        .collect();
    assert_eq!(usable, [true, false, false, false, false]);
    // Named one by one, each is a row as well.
    for (key, _) in objects {
        let discovered = find(scenes(&[&format!("s3://b/{key}")]), &storage).await.unwrap();
        assert_eq!(found(&discovered), [format!("s3://b/{key}")]);
    }
}

/// An output inside an input must not become its next input.
#[tokio::test]
async fn the_output_is_left_out() {
    let objects =
        [("a.jpg", "a"), ("out/tiles/x", "x"), ("outer.jpg", "o"), ("list.csv", "uri\na.jpg\nout/x\n")];
    let storage = store_with(&objects).await;
    let exclude = vec![ObjectUri::parse("s3://b/out").unwrap()];
    let whole = InputSpec { exclude: exclude.clone(), ..uris(&["s3://b/*.jpg", "s3://b/out/"]) };
    let discovered = find(whole, &storage).await.unwrap();
    assert_eq!(found(&discovered), ["s3://b/a.jpg", "s3://b/outer.jpg"]);
    assert_eq!(discovered.num_ignored, 1);
    assert_eq!(
        discovered.summary(),
        "2 sources with 2 bytes, 1 ignored (s3://b/*.jpg: 4 objects below s3://b/, 2 of them taken, 2 do not match, 0 ignored; \
         s3://b/out/: 1 object below s3://b/out, 0 of them taken, 1 ignored)"
    );
    let discovered = find(InputSpec { exclude, ..manifest("s3://b/list.csv") }, &storage).await.unwrap();
    assert_eq!((found(&discovered).len(), discovered.num_ignored), (1, 1));
}

#[tokio::test]
async fn local_folders_are_searched_and_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("x 1")).unwrap();
    for name in ["b.jpg", "x 1/50%.jpg", ".DS_Store"] {
        fs::write(folder.path().join(name), b"abc").unwrap();
    }
    let root = folder.path().to_str().unwrap();
    let discovered = find(uris(&[root]), &storage()).await.unwrap();
    assert_eq!(found(&discovered), [format!("file://{root}/b.jpg"), format!("file://{root}/x 1/50%25.jpg")]);
    assert_eq!(discovered.num_ignored, 1);
    let globbed = find(uris(&[&format!("{root}/*/50%.jp?")]), &storage()).await.unwrap();
    assert_eq!(found(&globbed), [format!("file://{root}/x 1/50%25.jpg")]);
    let single = find(uris(&[&format!("{root}/b.jpg")]), &storage()).await.unwrap();
    assert_eq!(single.sources.num_entries, 1);
    let absent = find(uris(&[&format!("{root}/absent")]), &storage()).await.err().unwrap();
    assert_eq!(absent.kind(), Kind::Config);
    assert!(absent.render().contains("no such file or folder"), "{}", absent.render());
}

#[tokio::test]
async fn a_manifest_brings_its_columns() {
    let list = "uri,label\n../t/a.jpg,cat\ns3://b/t/gone.jpg,dog\n../t/a.jpg,cat\n";
    let storage = store_with(&[("t/a.jpg", "aaa"), ("lists/list.csv", list)]).await;
    for look_up in [false, true] {
        let spec = InputSpec { look_up, ..manifest("s3://b/lists/list.csv") };
        let discovered = find(spec, &storage).await.unwrap();
        let entries: Vec<Entry> = discovered.sources.entries().map(Result::unwrap).collect();
        assert_eq!(found(&discovered), ["s3://b/t/a.jpg", "s3://b/t/gone.jpg"]);
        assert_eq!(entries[0].size, look_up.then_some(3));
        assert_eq!((&entries[1].version, entries[1].size), (&None, None), "gone, but planned");
        let rows: Vec<Option<&[u8]>> = entries.iter().map(|entry| entry.extra.as_deref()).collect();
        let extra = discovered.extra.unwrap().decode(&rows).unwrap();
        let labels = arrow::array::cast::as_string_array(extra.column_by_name("label").unwrap());
        assert_eq!((labels.value(0), labels.value(1)), ("cat", "dog"));
    }
}

#[tokio::test]
async fn a_source_cannot_have_two_labels() {
    let storage = store_with(&[("list.csv", "uri,label\na.jpg,cat\na.jpg,dog\n")]).await;
    let error = find(manifest("s3://b/list.csv"), &storage).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("s3://b/a.jpg"), "{error}");
}

#[tokio::test]
async fn a_manifest_from_a_store_does_not_reach_local_files() {
    let list = "uri\na.jpg\n/etc/passwd\n";
    let storage = store_with(&[("list.csv", list)]).await;
    let error = find(manifest("s3://b/list.csv"), &storage).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.render().contains("row 2") && error.render().contains("not allowed"), "{}", error.render());

    let allowing = InputSpec { allow: vec!["s3://b/".into(), "/etc/".into()], ..manifest("s3://b/list.csv") };
    assert_eq!(find(allowing, &storage).await.unwrap().sources.num_entries, 2);

    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("list.csv");
    fs::write(&local, "uri\nx/a.jpg\n/etc/passwd\ns3://other/k\n").unwrap();
    let discovered = find(manifest(local.to_str().unwrap()), &storage).await.unwrap();
    assert_eq!(discovered.sources.num_entries, 3);
}

#[tokio::test]
async fn the_allow_list_ends_at_whole_names() {
    let storage = store_with(&[("list.csv", "uri\ns3://b-evil/a.jpg\n")]).await;
    let spec = InputSpec { allow: vec!["s3://b".into()], ..manifest("s3://b/list.csv") };
    let error = find(spec, &storage).await.err().unwrap();
    assert!(error.render().contains("s3://b-evil/a.jpg is not allowed"), "{}", error.render());
}

#[tokio::test]
async fn a_broken_manifest_is_a_mistake_to_fix() {
    let storage = store_with(&[("a.csv", "url\nx\n"), ("b.csv", "uri\nx\n\"\"\n"), ("c.txt", "uri\n")]).await;
    for (name, part) in [
        ("a.csv", "no column `uri`"),
        ("b.csv", "row 2"),
        ("c.txt", "neither"),
        ("absent.csv", "does not exist"),
    ] {
        let error = find(manifest(&format!("s3://b/{name}")), &storage).await.err().unwrap();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.render().contains(part), "{}", error.render());
    }
}
