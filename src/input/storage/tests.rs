//! Storage against a server that misbehaves on purpose, and against stores in memory.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::memory::InMemory;
use tilefleet_testing::http::{Request, Server};

use super::*;
use crate::vocabulary::error::{Error, Kind};

const SECRET: &str = "wJalrXUtnFEMIsecret";

/// What the fake server does with a request.
enum Reply {
    /// Answers with status line, headers and body.
    Answer(&'static str, &'static [(&'static str, &'static str)], String),
    /// Announces ten bytes, sends three and hangs up.
    Short,
    /// Announces ten bytes, sends three and says no more.
    Stall,
    /// Sends these bytes as they are.
    Raw(String),
    /// Announces a million bytes and sends one every so often.
    Drip(Duration),
    /// Hangs up at once.
    Reset,
    /// Never answers.
    Silence,
}

/// Starts a server; `reply` gets method and target, and the number of the request.
fn serving(reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Server {
    let num_requests = AtomicUsize::new(0);
    Server::start(move |request, stream| {
        let reply = reply(&request.line(), num_requests.fetch_add(1, Ordering::SeqCst));
        send(reply, request, stream)
    })
}

/// Returns the head of a request in lower case.
fn head_of(request: &Request) -> String {
    let headers = request.headers.iter().map(|(name, value)| format!("\n{name}: {value}"));
    format!("{} HTTP/1.1{}", request.line(), headers.collect::<String>()).to_ascii_lowercase()
}

fn send(reply: Reply, request: &Request, mut stream: &TcpStream) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc";
    match reply {
        Reply::Answer(status, headers, body) => {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let headers = headers.concat();
            let length = body.len();
            // The answer to HEAD announces a body and has none.
            let body = if request.method == "HEAD" { String::new() } else { body };
            let text = format!(
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            stream.write_all(text.as_bytes())
        }
        Reply::Short => stream.write_all(head.as_bytes()),
        Reply::Stall => {
            let sent = stream.write_all(head.as_bytes());
            std::thread::sleep(Duration::from_secs(30));
            sent
        }
        Reply::Raw(text) => stream.write_all(text.as_bytes()),
        Reply::Drip(pause) => {
            let head = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 1000000\r\n\r\n";
            let mut sent = stream.write_all(head.as_bytes());
            while sent.is_ok() {
                std::thread::sleep(pause);
                sent = stream.write_all(b"x");
            }
            sent
        }
        Reply::Reset => Ok(()),
        Reply::Silence => {
            std::thread::sleep(Duration::from_secs(30));
            Ok(())
        }
    }
}

fn xml(status: &'static str, code: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No.</Message>\
         <AWSAccessKeyId>{SECRET}</AWSAccessKeyId></Error>"
    );
    Reply::Answer(status, &[("Content-Type", "application/xml")], body)
}

fn options(endpoint: &str) -> StorageOptions {
    StorageOptions {
        endpoint: Some(endpoint.to_owned()),
        max_retries: 1,
        retry_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_millis(400),
        connect_timeout: Duration::from_millis(400),
        ..StorageOptions::default()
    }
}

fn keys() -> Environment {
    Environment::of([("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", SECRET)])
}

fn bucket_at(endpoint: &str) -> Bucket {
    let storage = Storage::with_environment(options(endpoint), keys()).unwrap();
    storage.bucket(&ObjectUri::parse("s3://scenes/").unwrap())
}

fn failed(fault: StoreError) -> Error {
    match fault {
        StoreError::Failed(error) => {
            assert!(!error.render().contains(SECRET), "{}", error.render());
            error
        }
        other => panic!("a failure of the store was expected, not: {other}"),
    }
}

async fn get_from(
    reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> Result<Object, StoreError> {
    bucket_at(&serving(reply).url()).get("a.jpg", 100).await
}

#[tokio::test]
async fn a_missing_object_is_gone_and_a_missing_bucket_is_a_mistake() {
    assert!(matches!(get_from(|_, _| xml("404 Not Found", "NoSuchKey")).await, Err(StoreError::Gone)));
    assert!(matches!(
        get_from(|_, _| xml("403 Forbidden", "AccessDenied")).await,
        Err(StoreError::Forbidden)
    ));
    let error = failed(get_from(|_, _| xml("404 Not Found", "NoSuchBucket")).await.unwrap_err());
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.render().contains("no such bucket"), "{}", error.render());
}

#[tokio::test]
async fn refused_credentials_concern_the_whole_store() {
    for (status, code) in [
        ("400 Bad Request", "ExpiredToken"),
        ("403 Forbidden", "InvalidAccessKeyId"),
        ("403 Forbidden", "SignatureDoesNotMatch"),
    ] {
        let error = failed(get_from(move |_, _| xml(status, code)).await.unwrap_err());
        assert_eq!(error.kind(), Kind::Config, "{code}");
        assert!(error.render().contains("hint:"), "{}", error.render());
    }
}

#[tokio::test]
async fn throttling_is_retried_and_then_passes_as_unavailable() {
    let server = serving(|_, _| xml("503 Slow Down", "SlowDown"));
    let error = failed(bucket_at(&server.url()).get("a.jpg", 100).await.unwrap_err());
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(server.requests().len(), 2, "one try and one retry");

    let server = serving(|_, number| match number {
        0 => xml("503 Slow Down", "SlowDown"),
        _ => Reply::Answer("200 OK", &[("ETag", "\"v1\"")], "pixels".into()),
    });
    let object = bucket_at(&server.url()).get("a.jpg", 100).await.unwrap();
    assert_eq!((&object.bytes[..], object.version.as_deref()), (&b"pixels"[..], Some("v1")));
}

#[tokio::test]
async fn an_object_above_the_limit_is_not_transferred() {
    let big = |_: &str, _| Reply::Answer("200 OK", &[("ETag", "\"v1\"")], "x".repeat(101));
    assert!(matches!(get_from(big).await, Err(StoreError::TooLarge { size: 101 })));
}

#[tokio::test]
async fn another_object_than_expected_is_not_transferred() {
    let answer = |_: &str, _| Reply::Answer("200 OK", &[("ETag", "\"v2\"")], "x".repeat(50));
    let server = serving(answer);
    let bucket = bucket_at(&server.url());
    let expected = |size, version: Option<&str>| Expected { size, version: version.map(Into::into) };
    let get = async |expected| bucket.get_expected("a.jpg", &expected, 100).await;
    assert_eq!(get(expected(Some(50), Some("v2"))).await.unwrap().size, 50);
    assert_eq!(get(Expected::default()).await.unwrap().size, 50);
    let Err(StoreError::Changed { version }) = get(expected(None, Some("v1"))).await else { panic!() };
    assert_eq!(version.as_deref(), Some("v2"));
    assert!(matches!(get(expected(Some(20), None)).await, Err(StoreError::Changed { .. })));
}

#[tokio::test]
async fn a_transfer_that_breaks_or_stalls_starts_over() {
    let recovering = |first: fn() -> Reply| {
        move |_: &str, number| match number {
            0 => first(),
            _ => Reply::Answer("200 OK", &[("ETag", "\"other\"")], "pixels".into()),
        }
    };
    assert_eq!(&get_from(recovering(|| Reply::Short)).await.unwrap().bytes[..], b"pixels");
    assert_eq!(&get_from(recovering(|| Reply::Stall)).await.unwrap().bytes[..], b"pixels");
    assert_eq!(&get_from(recovering(|| Reply::Reset)).await.unwrap().bytes[..], b"pixels");
    assert_eq!(&get_from(recovering(|| Reply::Silence)).await.unwrap().bytes[..], b"pixels");
}

#[tokio::test]
async fn a_store_that_is_away_is_reported_in_bounded_time() {
    let started = Instant::now();
    let error = failed(get_from(|_, _| Reply::Silence).await.unwrap_err());
    assert_eq!(error.kind(), Kind::Unavailable);
    let error = failed(get_from(|_, _| Reply::Reset).await.unwrap_err());
    assert_eq!(error.kind(), Kind::Unavailable);
    let error = failed(get_from(|_, _| Reply::Stall).await.unwrap_err());
    assert_eq!(error.kind(), Kind::Unavailable);
    // Nobody listens on port 1.
    let error = failed(bucket_at("http://127.0.0.1:1").get("a.jpg", 100).await.unwrap_err());
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.render().contains("cannot connect"), "{}", error.render());
    let error = failed(bucket_at("http://no-such-host.invalid").get("a.jpg", 100).await.unwrap_err());
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
}

#[tokio::test]
async fn probing_tells_what_is_wrong_with_a_bucket() {
    let probe = async |reply: fn() -> Reply| {
        let server = serving(move |_, _| reply());
        bucket_at(&server.url()).probe("tiles").await
    };
    let empty = || {
        let body = "<ListBucketResult><Name>scenes</Name><KeyCount>0</KeyCount></ListBucketResult>";
        Reply::Answer("200 OK", &[("Content-Type", "application/xml")], body.into())
    };
    probe(empty).await.unwrap();
    for (reply, kind, part) in [
        ((|| xml("404 Not Found", "NoSuchBucket")) as fn() -> Reply, Kind::Config, "no such bucket"),
        (|| xml("403 Forbidden", "AccessDenied"), Kind::Config, "access denied"),
        (|| xml("403 Forbidden", "InvalidAccessKeyId"), Kind::Config, "refused"),
        (|| Reply::Silence, Kind::Unavailable, "no answer"),
        (|| Reply::Answer("301 Moved Permanently", &[], String::new()), Kind::Config, "another region"),
    ] {
        let error = probe(reply).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.render());
        assert!(error.render().contains(part) && !error.render().contains(SECRET), "{}", error.render());
    }
}

#[tokio::test]
async fn create_only_writes_say_who_was_first() {
    let put = async |reply: fn() -> Reply| {
        let server = serving(move |_, _| reply());
        bucket_at(&server.url()).put_new("tiles/shard.parquet", Bytes::from_static(b"rows")).await
    };
    let created = || Reply::Answer("200 OK", &[("ETag", "\"v1\"")], String::new());
    assert_eq!(put(created).await.unwrap(), Put::Created);
    assert_eq!(put(|| xml("412 Precondition Failed", "PreconditionFailed")).await.unwrap(), Put::Exists);
    assert_eq!(put(|| xml("409 Conflict", "ConditionalRequestConflict")).await.unwrap(), Put::Exists);
    assert_eq!(put(|| Reply::Silence).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(put(|| xml("501 Not Implemented", "NotImplemented")).await.unwrap_err().kind(), Kind::Config);
    assert_eq!(put(|| xml("403 Forbidden", "AccessDenied")).await.unwrap_err().kind(), Kind::Config);
}

#[tokio::test]
async fn a_web_server_is_read_but_not_listed() {
    let server = serving(|request, _| match request {
        "HEAD /a%20b.jpg" | "GET /a%20b.jpg" => {
            let headers = &[("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")];
            Reply::Answer("200 OK", headers, "pixels".into())
        }
        "GET /login.jpg" => Reply::Answer("401 Unauthorized", &[], String::new()),
        _ => Reply::Answer("404 Not Found", &[], "<html>".into()),
    });
    let storage = Storage::with_environment(StorageOptions::default(), keys()).unwrap();
    let uri = ObjectUri::parse(&format!("{}/a b.jpg", server.url())).unwrap();
    let bucket = storage.bucket(&uri);
    let info = bucket.head(uri.key()).await.unwrap();
    assert_eq!((info.size, info.version.as_deref()), (6, Some("6-1445412480000000000")));
    assert_eq!(&bucket.get(uri.key(), 10).await.unwrap().bytes[..], b"pixels");
    assert!(matches!(bucket.get("b.jpg", 10).await, Err(StoreError::Gone)));
    let unnamed = failed(bucket.get("login.jpg", 10).await.unwrap_err());
    assert_eq!((unnamed.kind(), Trouble::of(&unnamed)), (Kind::Config, None), "it concerns all objects");
    bucket.probe("").await.unwrap();
    assert_eq!(bucket.list("").try_next().await.unwrap_err().kind(), Kind::Config);
    let refused = bucket.put_new("c", Bytes::new()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Config);
}

#[tokio::test]
async fn machines_without_an_identity_learn_so_soon() {
    let server = serving(|_, _| Reply::Answer("404 Not Found", &[], String::new()));
    let environment = Environment::of([("AWS_METADATA_ENDPOINT", server.url().as_str())]);
    let storage = Storage::with_environment(options("http://127.0.0.1:1"), environment).unwrap();
    let started = Instant::now();
    let bucket = storage.bucket(&ObjectUri::parse("s3://scenes/").unwrap());
    let error = failed(bucket.get("a.jpg", 100).await.unwrap_err());
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.render().contains("no usable credentials"), "{}", error.render());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// Reads one object and returns the head of the request that was made.
async fn request_with(change: impl FnOnce(&mut StorageOptions), variables: &[(&str, &str)]) -> String {
    let server = serving(|_, _| Reply::Answer("200 OK", &[("ETag", "\"v1\"")], "x".into()));
    let mut options = options(&server.url());
    change(&mut options);
    let storage = Storage::with_environment(options, Environment::of(variables.iter().copied())).unwrap();
    let bucket = storage.bucket(&ObjectUri::parse("s3://scenes/").unwrap());
    bucket.get("a.jpg", 100).await.unwrap();
    head_of(&server.requests()[0])
}

#[tokio::test]
async fn requests_are_signed_by_whom_the_options_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let sections = "[default]\naws_access_key_id=DEFAULTKEY\naws_secret_access_key=s\n\
                    [lab]\naws_access_key_id=LABKEY\naws_secret_access_key=s\nregion=eu-lab-1\n";
    std::fs::write(&file, sections).unwrap();
    let files = ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap());
    let keys = [("AWS_ACCESS_KEY_ID", "ENVKEY"), ("AWS_SECRET_ACCESS_KEY", "s"), files];

    let signed = request_with(|_| {}, &keys).await;
    assert!(signed.contains("credential=envkey/") && signed.contains("/us-east-1/"), "{signed}");
    let signed = request_with(|options| options.profile = Some("lab".into()), &keys).await;
    assert!(signed.contains("credential=labkey/") && signed.contains("/eu-lab-1/"), "{signed}");
    let signed = request_with(|_| {}, &[files]).await;
    assert!(signed.contains("credential=defaultkey/"), "{signed}");
    let signed = request_with(|_| {}, &[files, ("AWS_PROFILE", "lab"), ("AWS_REGION", "eu-env-1")]).await;
    assert!(signed.contains("credential=labkey/") && signed.contains("/eu-env-1/"), "{signed}");
    let paid = request_with(|options| options.requester_pays = true, &keys).await;
    assert!(paid.contains("x-amz-request-payer: requester"), "{paid}");
    let unsigned = request_with(|options| options.anonymous = true, &keys).await;
    assert!(!unsigned.contains("authorization") && unsigned.starts_with("get /scenes/a.jpg"), "{unsigned}");
}

/// `object_store` strips the slash of folder markers; looking at them tells them from empty objects.
#[tokio::test]
async fn folder_markers_are_told_from_empty_objects() {
    let server = serving(|request, _| match request {
        "HEAD /scenes/t/marker" => Reply::Answer("404 Not Found", &[], String::new()),
        request if request.starts_with("HEAD") => {
            let headers = &[("ETag", "\"v\""), ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")];
            Reply::Answer("200 OK", headers, String::new())
        }
        _ => {
            let entry = |key, size| {
                format!(
                    "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>\"v\"</ETag>\
                     <LastModified>2015-10-21T07:28:00.000Z</LastModified></Contents>"
                )
            };
            let entries = [entry("t/a", 1), entry("t/empty", 0), entry("t/marker/", 0)].concat();
            Reply::Answer("200 OK", &[], format!("<ListBucketResult>{entries}</ListBucketResult>"))
        }
    });
    let listed = bucket_at(&server.url()).list("t").map_ok(|info| info.key);
    assert_eq!(listed.try_collect::<Vec<_>>().await.unwrap(), ["t/a", "t/empty", "t/marker/"]);
}

/// One odd key must not hide all the others.
#[tokio::test]
async fn keys_that_cannot_be_addressed_are_listed_all_the_same() {
    let server = serving(|_, _| {
        let entry = |key| {
            format!(
                "<Contents><Key>{key}</Key><Size>1</Size><ETag>\"v\"</ETag>\
                 <LastModified>2015-10-21T07:28:00.000Z</LastModified></Contents>"
            )
        };
        let keys =
            ["t//b.jpg", "t/../c", "t/&#x1;", "t/a &amp; b.jpg", "t/a\u{2028}b", "t/&#x85;\u{85}", "t/ x "];
        let entries = keys.map(entry).concat();
        Reply::Answer("200 OK", &[], format!("<ListBucketResult>{entries}</ListBucketResult>"))
    });
    let listed: Vec<_> = bucket_at(&server.url()).list("t").try_collect().await.unwrap();
    let keys: Vec<_> = listed.iter().map(|info| (info.key.as_str(), info.is_addressable())).collect();
    let expected = [
        ("t//b.jpg", false),
        ("t/../c", false),
        ("t/\u{1}", false),
        ("t/a & b.jpg", true),
        ("t/a\u{2028}b", true),
        ("t/\u{85}\u{85}", true),
        ("t/ x ", true),
    ];
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn stores_in_memory_read_write_and_list() {
    let bucket = Bucket::over(Arc::new(InMemory::new()), "s3://test");
    let content = Bytes::from_static(b"0123456789");
    assert_eq!(bucket.put_new("a/b", content.clone()).await.unwrap(), Put::Created);
    assert_eq!(bucket.put_new("a/b", content.clone()).await.unwrap(), Put::Exists);
    bucket.put_replace("a/c", Bytes::new()).await.unwrap();
    assert_eq!(&bucket.get_range("a/b", 2, 3).await.unwrap()[..], b"234");
    assert_eq!(&bucket.get_range("a/b", 8, 30).await.unwrap()[..], b"89");
    let listed: Vec<_> = bucket.list("a/").map_ok(|info| info.key).try_collect().await.unwrap();
    assert_eq!(listed, ["a/b", "a/c"]);
    let own = bucket.with_own("a");
    for other in [&bucket, &bucket.with_own("b"), &bucket.with_own("a/b"), &bucket.with_own("a/b/c")] {
        assert_eq!(other.delete("a/b").await.unwrap_err().kind(), Kind::Bug, "outside of what is its own");
    }
    own.delete("a/b").await.unwrap();
    own.delete("a/b").await.unwrap();
    assert_eq!(own.list_own("a/").await.unwrap(), [("a/c".to_owned(), 0)]);
    assert!(matches!(bucket.head("a/b").await, Err(StoreError::Gone)));
    assert!(matches!(bucket.get("a/b", 9).await, Err(StoreError::Gone)));
}

#[tokio::test]
async fn local_folders_behave_as_buckets() {
    let folder = tempfile::tempdir().unwrap();
    let root = ObjectUri::from_path(folder.path()).unwrap();
    let storage = Storage::with_environment(StorageOptions::default(), Environment::default()).unwrap();
    let bucket = storage.bucket(&root).with_staging(root.join("_staging").key());
    let key = ObjectUri::from_path(&folder.path().join("t/ä 1%.jpg")).unwrap();
    assert_eq!(bucket.put_new(key.key(), Bytes::from_static(b"x")).await.unwrap(), Put::Created);
    assert_eq!(bucket.put_new(key.key(), Bytes::from_static(b"y")).await.unwrap(), Put::Exists);
    assert!(folder.path().join("t/ä 1%.jpg").exists());
    let listed: Vec<_> = bucket.list(root.join("t").key()).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(bucket.uri(&listed[0].key), key);
    assert_eq!(bucket.get(&listed[0].key, 9).await.unwrap().version, listed[0].version);
    bucket.probe(root.key()).await.unwrap();
    assert_eq!(bucket.probe(root.join("absent").key()).await.unwrap_err().kind(), Kind::Config);
    let without = storage.bucket(&root).put_new(key.key(), Bytes::new()).await.unwrap_err();
    assert_eq!(without.kind(), Kind::Bug);
}

#[tokio::test]
async fn a_listing_can_be_left_early() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..5000 {
        std::fs::write(folder.path().join(format!("{index:05}")), b"").unwrap();
    }
    let root = ObjectUri::from_path(folder.path()).unwrap();
    let storage = Storage::with_environment(StorageOptions::default(), Environment::default()).unwrap();
    let mut listing = storage.bucket(&root).list(root.key());
    assert!(listing.try_next().await.unwrap().unwrap().key.ends_with("/00000"));
    drop(listing);
}

mod signed {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::SystemTime;

    use super::super::sign::SignOptions;
    use super::*;

    /// A store that wants a token in each request, and the service that gives it: `valid` says which of the
    /// tokens that were given out the store accepts now.
    fn archive(seconds: u64, valid: impl Fn(usize) -> bool + Send + Sync + 'static) -> Server {
        let given = AtomicUsize::new(0);
        Server::answering(move |asked, _| {
            if let Some(container) = asked.target.strip_prefix("/token/") {
                let number = given.fetch_add(1, Ordering::Relaxed) + 1;
                let expiry =
                    humantime::format_rfc3339_seconds(SystemTime::now() + Duration::from_secs(seconds));
                assert_eq!(container, "127/box");
                return (
                    200,
                    format!(r#"{{"msft:expiry": "{expiry}", "token": "sv=1&sig={SECRET}{number}"}}"#),
                );
            }
            let number = asked.target.rsplit_once(SECRET).and_then(|(_, number)| number.parse().ok());
            match number {
                Some(number) if valid(number) && asked.target.starts_with("/box/scene.tif?") => {
                    (200, "0123456789".into())
                }
                Some(number) if valid(number) => (404, String::new()),
                _ => (403, String::new()),
            }
        })
    }

    fn storage(archive: &Server) -> Storage {
        Storage::with_environment(options(archive), Environment::default()).unwrap()
    }

    fn options(archive: &Server) -> StorageOptions {
        let host = archive.url().trim_start_matches("http://").to_owned();
        let endpoint = format!("{}/token/{{account}}/{{container}}", archive.url());
        StorageOptions {
            sign: Some(SignOptions { endpoint, hosts: vec![host] }),
            allow_http: true,
            retry_timeout: Duration::from_secs(2),
            ..StorageOptions::default()
        }
    }

    fn tokens(archive: &Server) -> usize {
        archive.requests().iter().filter(|asked| asked.target.starts_with("/token/")).count()
    }

    async fn read(storage: &Storage, archive: &Server, key: &str) -> Result<Bytes, StoreError> {
        let uri = ObjectUri::parse(&format!("{}/box/{key}", archive.url())).unwrap();
        let object = storage.bucket(&uri).get(uri.key(), 1 << 20).await?;
        Ok(object.bytes)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_token_serves_all_requests_until_it_expires() {
        let archive = archive(3600, |_| true);
        let storage = storage(&archive);
        let all = (0..8).map(|_| read(&storage, &archive, "scene.tif"));
        for bytes in futures::future::join_all(all).await {
            assert_eq!(&bytes.unwrap()[..], b"0123456789");
        }
        assert_eq!(tokens(&archive), 1);
        assert!(matches!(read(&storage, &archive, "gone.tif").await, Err(StoreError::Gone)));
        // A token that is about to expire is not used again.
        let archive = self::archive(30, |_| true);
        let storage = self::storage(&archive);
        for _ in 0..3 {
            read(&storage, &archive, "scene.tif").await.unwrap();
        }
        assert_eq!(tokens(&archive), 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_token_goes_out_in_the_clear() {
        let archive = archive(3600, |_| true);
        let options = StorageOptions { allow_http: false, ..options(&archive) };
        let storage = Storage::with_environment(options, Environment::default()).unwrap();
        assert!(matches!(read(&storage, &archive, "scene.tif").await, Err(StoreError::Forbidden)));
        assert_eq!(tokens(&archive), 0);
    }

    #[test]
    fn one_token_is_not_for_the_hosts_of_anybody() {
        let options = |endpoint: &str, hosts: &[&str]| StorageOptions {
            sign: Some(SignOptions {
                endpoint: endpoint.to_owned(),
                hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            }),
            ..StorageOptions::default()
        };
        let refused = |endpoint, hosts: &[&str]| Storage::new(options(endpoint, hosts)).is_err();
        assert!(refused("https://tokens.example/one", &["*.blob.core.windows.net"]));
        assert!(!refused("https://tokens.example/one", &["ours.blob.core.windows.net"]));
        assert!(!refused("https://tokens.example/{account}", &["*.blob.core.windows.net"]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_token_is_fetched_anew_once() {
        let archive = archive(3600, |number| number == 2);
        let storage = storage(&archive);
        assert!(read(&storage, &archive, "scene.tif").await.is_ok());
        assert_eq!(tokens(&archive), 2);
        let archive = self::archive(3600, |_| false);
        let storage = self::storage(&archive);
        let fault = read(&storage, &archive, "scene.tif").await.unwrap_err();
        assert!(matches!(fault, StoreError::Forbidden), "{fault:?}");
        assert_eq!(tokens(&archive), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_message_holds_a_token() {
        let archive = archive(3600, |_| true);
        let storage = storage(&archive);
        let uri = ObjectUri::parse(&format!("{}/box/scene.tif", archive.url())).unwrap();
        let fault = storage.bucket(&uri).get(uri.key(), 3).await.unwrap_err();
        let said = format!("{fault:?} {fault} {:?}", storage.bucket(&uri).uri("box"))
            + &fault.into_error(&uri).render();
        assert!(said.contains("too large") && !said.contains(SECRET), "{said}");
        // The service that gives tokens refuses, then is not there at all.
        for (status, kind) in [(404, Kind::Config), (503, Kind::Unavailable)] {
            let broken = Server::answering(move |_, _| (status, format!("{{\"token\": \"{SECRET}\"}}")));
            let storage = self::storage(&broken);
            let StoreError::Failed(error) = read(&storage, &broken, "scene.tif").await.unwrap_err() else {
                panic!("{status}")
            };
            assert_eq!(error.kind(), kind, "{}", error.render());
            assert!(
                error.render().contains("no token for 127/box") && !error.render().contains(SECRET),
                "{}",
                error.render()
            );
        }
    }
}

mod web {
    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    use super::*;
    use crate::vocabulary::time::{Clock, SystemClock, Timestamp};

    /// Notes how long it is told to wait, and does not.
    #[derive(Debug, Default)]
    struct HastyClock(Mutex<Vec<Duration>>);

    impl Clock for HastyClock {
        fn now(&self) -> Timestamp {
            SystemClock.now()
        }

        fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
            self.0.lock().unwrap().push(time);
            futures::future::ready(()).boxed()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn pauses_grow_and_each_process_has_its_own() {
        let test_server = Server::answering(|_, _| (503, String::new()));
        let pauses = async |seed| {
            let clock = Arc::new(HastyClock::default());
            let options = StorageOptions { max_retries: 3, ..StorageOptions::default() };
            let process = Process::new(Arc::clone(&clock) as Arc<dyn Clock>, "it", seed);
            let storage = Storage::prepared(options, Environment::default(), process).unwrap();
            let web = storage.web(&test_server.url()).unwrap();
            web.get(&test_server.url(), 100).await.unwrap_err();
            clock.0.lock().unwrap().clone()
        };
        let first = pauses(1).await;
        assert_eq!(first.len(), 3);
        for (pause, least) in first.iter().zip([100, 200, 400]) {
            assert!((least..=least * 3 / 2).contains(&pause.as_millis()), "{first:?}");
        }
        assert_eq!(pauses(1).await, first);
        assert_ne!(pauses(2).await, first);
    }

    fn client(test_server: &Server, retry_timeout: Duration) -> Web {
        let options = StorageOptions { retry_timeout, ..StorageOptions::default() };
        Storage::with_environment(options, Environment::default()).unwrap().web(&test_server.url()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn trouble_that_passes_is_waited_for_and_other_answers_are_answers() {
        let test_server = Server::answering(|asked, _| match asked.target.as_str() {
            "/busy?sig=SECRET" => (503, String::new()),
            "/refused" => (400, "why".to_owned()),
            _ => (200, format!("{} {}", asked.method, asked.text())),
        });
        let web = client(&test_server, Duration::from_millis(500));
        let url = |path: &str| format!("{}{path}", test_server.url());
        let answer = web.post(&url("/x?a=1"), "{}".to_owned(), 100).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"POST {}"[..]));
        let answer = web.get(&url("/refused"), 100).await.unwrap();
        assert!(!answer.is_success() && &answer.body[..] == b"why");
        let error = web.get(&url("/busy?sig=SECRET"), 100).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(
            error.render().contains("/busy?…") && error.render().contains("it answered 503"),
            "{}",
            error.render()
        );
        assert!(!error.render().contains("SECRET"));
        let tries = test_server.requests().iter().filter(|asked| asked.target.starts_with("/busy")).count();
        assert!(tries > 1, "{tries}");
        let error = web.post(&url("/large"), "0123456789".to_owned(), 5).await.unwrap_err();
        assert!(error.render().contains("more than 5 bytes"), "{}", error.render());
    }
}

mod redirects {
    use super::*;

    fn moved(to: &str) -> Reply {
        Reply::Raw(format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    }

    fn pixels() -> Reply {
        Reply::Answer("200 OK", &[("ETag", "\"e\"")], "pixels".to_owned())
    }

    fn storage_allowing(places: &[&str]) -> Storage {
        let places: Vec<String> = places.iter().map(|place| (*place).to_owned()).collect();
        let storage = Storage::with_environment(options("http://unused:1"), keys()).unwrap();
        storage.allowing(&places).unwrap()
    }

    async fn read(storage: &Storage, address: &str, key: &str) -> Result<Object, StoreError> {
        let uri = ObjectUri::parse(&format!("{address}/{key}")).unwrap();
        storage.bucket(&uri).get(uri.key(), 1 << 20).await
    }

    fn trouble(read: Result<Object, StoreError>) -> Option<Trouble> {
        Trouble::of(&failed(read.unwrap_err()))
    }

    #[tokio::test]
    async fn a_redirect_takes_no_secret_along() {
        let end = serving(|_, _| pixels());
        let to_end = format!("{}/c?page=1", end.url());
        let middle = serving(move |_, _| moved(&to_end));
        let to_middle = format!("{}/b?sig={SECRET}", middle.url());
        let first = serving(move |_, _| moved(&to_middle));
        let object = read(&storage_allowing(&[]), &first.url(), "a").await.unwrap();
        assert_eq!(object.bytes, "pixels");
        let [at_middle, at_end] = [middle, end].map(|server| head_of(&server.requests()[0]));
        assert!(at_middle.starts_with(&format!("get /b?sig={}", SECRET.to_ascii_lowercase())), "{at_middle}");
        assert!(at_end.starts_with("get /c?page=1 "), "{at_end}");
        for secret in ["referer", "authorization", "x-amz-", "sig="] {
            assert!(!at_end.contains(secret), "{secret} went along:\n{at_end}");
        }
    }

    #[tokio::test]
    async fn a_redirect_stays_within_what_is_allowed() {
        let elsewhere = serving(|_, _| pixels());
        let to_elsewhere = format!("{}/b", elsewhere.url());
        let first = serving(move |_, _| moved(&to_elsewhere));
        let open = format!("{}/open", first.url());
        let storage = storage_allowing(&[&open]);
        assert_eq!(trouble(read(&storage, &first.url(), "open/a").await), Some(Trouble::Redirected));
        assert!(elsewhere.requests().is_empty(), "it was asked all the same");
        let storage = storage_allowing(&[&open, &elsewhere.url()]);
        assert!(read(&storage, &first.url(), "open/a").await.is_ok());
    }

    #[tokio::test]
    async fn what_a_redirect_leads_to_says_nothing_of_the_object() {
        for status in ["404 Not Found", "410 Gone", "403 Forbidden", "401 Unauthorized"] {
            let end = serving(move |_, _| Reply::Answer(status, &[], String::new()));
            let to_end = format!("{}/b", end.url());
            let first = serving(move |_, _| moved(&to_end));
            let read = read(&storage_allowing(&[]), &first.url(), "a").await;
            assert_eq!(trouble(read), Some(Trouble::Redirected), "{status}");
        }
    }

    #[tokio::test]
    async fn redirects_end() {
        let server = serving(|_, _| moved("/a"));
        let error = failed(read(&storage_allowing(&[]), &server.url(), "a").await.unwrap_err());
        assert_eq!(Trouble::of(&error), Some(Trouble::Redirected));
        assert!(error.render().contains("redirected more than 10 times"), "{}", error.render());
        assert_eq!(server.requests().len(), 11);
    }

    /// A signature is for one host; where another is named, that is a matter of settings.
    #[tokio::test]
    async fn a_store_leads_nowhere() {
        let elsewhere = serving(|_, _| pixels());
        let to_elsewhere = format!("{}/photos/a", elsewhere.url());
        let store = serving(move |_, _| moved(&to_elsewhere));
        let fault = bucket_at(&store.url()).get("a", 1 << 20).await.unwrap_err();
        assert_eq!(Trouble::of(&failed(fault)), Some(Trouble::Redirected));
        assert!(elsewhere.requests().is_empty(), "a signed request went to another host");
    }
}

/// What the answer of one object says of it, and what concerns all.
#[tokio::test]
async fn trouble_with_one_object_is_told_from_trouble_with_access() {
    let trouble = async |reply: fn() -> Reply| {
        let fault = get_from(move |_, _| reply()).await.unwrap_err();
        Trouble::of(&failed(fault))
    };
    assert_eq!(trouble(|| xml("400 Bad Request", "InvalidRequest")).await, Some(Trouble::Answered(400)));
    assert_eq!(trouble(|| xml("400 Bad Request", "ExpiredToken")).await, None);
    assert_eq!(trouble(|| xml("403 Forbidden", "SignatureDoesNotMatch")).await, None);
    assert_eq!(trouble(|| Reply::Answer("401 Unauthorized", &[], String::new())).await, None);
    assert_eq!(trouble(|| xml("404 Not Found", "NoSuchBucket")).await, None);
    assert_eq!(
        trouble(|| xml("500 Internal Server Error", "InternalError")).await,
        Some(Trouble::Answered(500))
    );
    assert_eq!(trouble(|| Reply::Answer("503 Slow", &[], String::new())).await, Some(Trouble::Answered(503)));
    assert_eq!(trouble(|| Reply::Reset).await, Some(Trouble::BrokenOff));
    assert_eq!(trouble(|| Reply::Short).await, Some(Trouble::BrokenOff));
    assert_eq!(trouble(|| Reply::Raw("no HTTP\r\n\r\n".to_owned())).await, Some(Trouble::BrokenOff));
}

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";

fn chunked(request: &str) -> Reply {
    let body = if request.starts_with("HEAD") { "" } else { "3\r\npix\r\n3\r\nels\r\n0\r\n\r\n" };
    Reply::Raw(format!("{CHUNKED}{body}"))
}

#[tokio::test]
async fn an_answer_in_chunks_is_read() {
    let server = serving(|request, _| chunked(request));
    for bucket in [bucket_at(&server.url()), web_bucket(&server)] {
        let object = bucket.get("a", 6).await.unwrap();
        assert_eq!(
            (&object.bytes[..], object.size, object.version.as_deref()),
            (&b"pixels"[..], 6, Some("e"))
        );
        assert_eq!(bucket.head("a").await.unwrap().known_size(), None);
        assert!(matches!(bucket.get("a", 5).await, Err(StoreError::TooLarge { size: 6 })));
        let known = |size| Expected { size: Some(size), version: None };
        assert!(bucket.get_expected("a", &known(6), 100).await.is_ok());
        let other = bucket.get_expected("a", &known(7), 100).await;
        assert!(matches!(other, Err(StoreError::Changed { .. })), "{other:?}");
        assert!(bucket.is_readable("a").await.unwrap());
    }
}

fn web_bucket(server: &Server) -> Bucket {
    let storage = Storage::with_environment(options("http://unused:1"), keys()).unwrap();
    storage.bucket(&ObjectUri::parse(&server.url()).unwrap())
}

#[tokio::test]
async fn a_head_without_a_length_learns_it_from_a_part() {
    let server = serving(|request, _| {
        let part = "HTTP/1.1 206 Partial Content\r\nETag: \"e\"\r\nContent-Range: bytes 0-0/6\r\n\
                    Content-Length: 1\r\nConnection: close\r\n\r\np";
        if request.starts_with("HEAD") { chunked(request) } else { Reply::Raw(part.to_owned()) }
    });
    assert_eq!(web_bucket(&server).head("a").await.unwrap().known_size(), Some(6));
}

#[tokio::test]
async fn a_drip_is_no_answer() {
    let server = serving(|_, _| Reply::Drip(Duration::from_millis(40)));
    let options = StorageOptions { request_timeout: Duration::from_millis(400), ..options(&server.url()) };
    let storage = Storage::with_environment(options, keys()).unwrap();
    let started = Instant::now();
    let fault =
        storage.bucket(&ObjectUri::parse("s3://photos/a").unwrap()).get("a", 2 << 20).await.unwrap_err();
    assert_eq!(Trouble::of(&failed(fault)), Some(Trouble::TooSlow));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_path_with_a_nul_names_nothing() {
    let storage = Storage::new(StorageOptions::default()).unwrap();
    let uri = ObjectUri::parse("/tmp/a\0b").unwrap();
    let bucket = storage.bucket(&uri);
    assert!(matches!(bucket.head(uri.key()).await, Err(StoreError::Gone)));
    assert!(matches!(bucket.get(uri.key(), 1).await, Err(StoreError::Gone)));
    assert!(matches!(bucket.get_range(uri.key(), 0, 1).await, Err(StoreError::Gone)));
}

/// `/proc/self/mem` fails to be read at its beginning as a bad disk does.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_that_fails_is_trouble_with_the_file() {
    let storage = Storage::new(StorageOptions::default()).unwrap();
    let uri = ObjectUri::parse("/proc/self/mem").unwrap();
    let fault = storage.bucket(&uri).get(uri.key(), 1 << 20).await.unwrap_err();
    assert_eq!(Trouble::of(&failed(fault)), Some(Trouble::DiskFailed));
}

/// A server that refuses HEAD with `refusal` and answers GET, whole and in parts, with `content`.
fn without_head(refusal: &'static str, content: &'static str, ranges: bool) -> Server {
    let num_reads = AtomicUsize::new(0);
    serving(move |request, _| {
        if request.starts_with("HEAD") {
            return Reply::Answer(refusal, &[], String::new());
        }
        // The first request after a HEAD asks for a part.
        let is_first = num_reads.fetch_add(1, Ordering::SeqCst) == 0;
        let (is_part, length) = (is_first && ranges, content.len());
        Reply::Raw(match (is_part, content.get(..1)) {
            (true, Some(first)) => format!(
                "HTTP/1.1 206 Partial Content\r\nETag: \"e\"\r\nContent-Range: bytes 0-0/{length}\r\n\
                 Content-Length: 1\r\nConnection: close\r\n\r\n{first}"
            ),
            (true, None) => "HTTP/1.1 416 No\r\nContent-Range: bytes */0\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
                .to_owned(),
            (false, _) => format!(
                "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{content}"
            ),
        })
    })
}

#[tokio::test]
async fn a_refused_head_is_followed_by_a_read() {
    for refusal in ["405 No", "404 No", "403 No", "501 No", "401 No"] {
        for (content, ranges) in [("pixels", true), ("pixels", false), ("", true)] {
            let server = without_head(refusal, content, ranges);
            let info = web_bucket(&server).head("a").await.unwrap();
            assert_eq!(info.known_size(), Some(content.len() as u64), "{refusal}, ranges: {ranges}");
            assert_eq!(info.version.as_deref(), Some("e"));
        }
    }
}

/// What reading an object says of it counts, where looking at it is refused.
#[tokio::test]
async fn the_answer_to_a_read_says_what_is_wrong() {
    let answers = async |head: &'static str, get: &'static str| {
        let server = serving(move |request, _| {
            Reply::Answer(if request.starts_with("HEAD") { head } else { get }, &[], String::new())
        });
        (web_bucket(&server).head("a").await.unwrap_err(), server.requests().len())
    };
    assert!(matches!(answers("405 No", "404 No").await.0, StoreError::Gone));
    assert!(matches!(answers("404 No", "403 No").await.0, StoreError::Forbidden));
    assert_eq!(Trouble::of(&failed(answers("403 No", "400 No").await.0)), Some(Trouble::Answered(400)));
    let refused = failed(answers("401 No", "401 No").await.0);
    assert_eq!((Trouble::of(&refused), refused.kind()), (None, Kind::Config));
    let (busy, num_requests) = answers("429 No", "404 No").await;
    assert_eq!(Trouble::of(&failed(busy)), Some(Trouble::Answered(429)));
    assert_eq!(num_requests, 2, "one try and one retry, and no other question");
}
