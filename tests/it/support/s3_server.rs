//! A real S3 server: SeaweedFS on free loopback ports, its data in a temporary folder.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use serde_json::json;
use tempfile::TempDir;

pub(super) const START_LIMIT: Duration = Duration::from_mins(1);

/// Ends the server when the test process ends, however it ends: its end of the pipe closes.
const KEEPER: &str = r#""$@" & read -r _; kill -9 $!; wait"#;

/// Returns a program, ready for arguments, that ends with the test process or when its input is closed.
pub(super) fn kept(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER, "sh"]).arg(program).stdin(Stdio::piped()).stdout(Stdio::null());
    command
}

/// A running S3 server; it is killed and its data removed on drop.
pub struct S3Server {
    keeper: Child,
    folder: TempDir,
    ports: Ports,
}

struct Ports {
    s3: [u16; 2],
    filer: [u16; 2],
    master: [u16; 2],
    volume: [u16; 2],
}

/// An access key and its secret.
#[derive(Clone, Copy)]
pub struct Credentials {
    pub access_key: &'static str,
    pub secret_key: &'static str,
}

impl S3Server {
    /// May do everything.
    pub const OWNER: Credentials =
        Credentials { access_key: "owner-access-key", secret_key: "owner-secret-4f9c1d" };
    /// May list and read, but not write.
    pub const READER: Credentials =
        Credentials { access_key: "reader-access-key", secret_key: "reader-secret-8be2a7" };

    /// Starts a server and waits until it takes objects.
    ///
    /// # Panics
    ///
    /// If it does not start; its log is in the message.
    pub fn start(weed: &Path) -> Self {
        // Another process may take one of the ports before the server does: then once more.
        (0..3)
            .find_map(|_| Self::try_start(weed, tempfile::tempdir().expect("a temporary folder")))
            .unwrap_or_else(|| panic!("SeaweedFS does not start from {}", weed.display()))
    }

    fn try_start(weed: &Path, folder: TempDir) -> Option<Self> {
        let ports = Ports::free();
        let keeper = spawn(weed, folder.path(), &ports);
        let server = Self { keeper, folder, ports };
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if server.is_ready() {
                return Some(server);
            }
            sleep(Duration::from_millis(100));
        }
        eprintln!("{}", fs::read_to_string(server.folder.path().join("log")).unwrap_or_default());
        None
    }

    fn is_ready(&self) -> bool {
        let key = Key::from("ready");
        self.mkdir("ready").is_ok()
            && block_on(self.store("ready").put(&key, PutPayload::from_static(b"?"))).is_ok()
    }

    /// Returns the base URL of the S3 API.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Returns host and port of the S3 API.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.s3[0])
    }

    /// Returns the environment variables that give a process access to an endpoint: this server's or a
    /// proxy's before it.
    pub fn variables(endpoint: &str, credentials: Credentials) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", credentials.access_key.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", credentials.secret_key.to_owned()),
            ("AWS_ENDPOINT_URL", endpoint.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// Returns a store for a bucket, with the owner's credentials and few retries.
    pub fn store(&self, bucket: &str) -> AmazonS3 {
        Self::store_at(&self.endpoint(), bucket)
    }

    /// As [`Self::store`], through a proxy.
    pub fn store_at(endpoint: &str, bucket: &str) -> AmazonS3 {
        let variables = Self::variables(endpoint, Self::OWNER);
        let builder = variables.into_iter().fold(AmazonS3Builder::new(), |builder, (name, value)| {
            builder.with_config(name.to_lowercase().parse().expect("a key of object_store"), value)
        });
        let backoff = BackoffConfig { init_backoff: Duration::from_millis(10), ..BackoffConfig::default() };
        let retry = RetryConfig { max_retries: 1, backoff, retry_timeout: Duration::from_secs(10) };
        builder.with_bucket_name(bucket).with_retry(retry).build().expect("a complete configuration")
    }

    /// Creates an empty bucket, unless it is there.
    pub fn create_bucket(&self, bucket: &str) {
        self.mkdir(bucket).unwrap_or_else(|error| panic!("cannot create the bucket {bucket}: {error}"));
    }

    /// A bucket is a folder of SeaweedFS's filer, which asks for no signature.
    fn mkdir(&self, bucket: &str) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.filer[0]))?;
        write!(stream, "POST /buckets/{bucket}/ HTTP/1.0\r\nContent-Length: 0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_whitespace().nth(1) {
            Some("201" | "409") => Ok(()),
            _ => Err(std::io::Error::other(answer)),
        }
    }

    /// Puts one object.
    pub fn put(&self, bucket: &str, key: &str, content: impl Into<PutPayload>) {
        block_on(self.store(bucket).put(&Key::from(key), content.into())).expect("the server takes objects");
    }

    /// Puts all files under a folder, their keys being `prefix` and the relative path.
    pub fn put_dir(&self, bucket: &str, prefix: &str, folder: &Path) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_str().expect("UTF-8 names");
            let key = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            if path.is_dir() {
                self.put_dir(bucket, &key, &path);
            } else {
                self.put(bucket, &key, fs::read(&path).expect("a readable file"));
            }
        }
    }

    /// Returns the content of an object.
    pub fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        let store = self.store(bucket);
        let content = async { store.get(&Key::from(key)).await?.bytes().await };
        block_on(content).expect("the object exists").to_vec()
    }

    /// Removes an object.
    pub fn delete(&self, bucket: &str, key: &str) {
        block_on(self.store(bucket).delete(&Key::from(key))).expect("the object exists");
    }

    /// Returns all keys under a prefix, sorted.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let (store, prefix) = (self.store(bucket), Key::from(prefix));
        let listing = store.list(Some(&prefix)).map_ok(|object| object.location.to_string()).try_collect();
        let mut keys: Vec<String> = block_on(listing).expect("the bucket exists");
        keys.sort();
        keys
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        // SeaweedFS leaves these behind, and takes no other folder for them.
        let Ports { s3, filer, master, volume } = self.ports;
        for (name, [_, port]) in [("s3", s3), ("filer", filer), ("master", master), ("volume", volume)] {
            let _ = fs::remove_file(format!("/tmp/seaweedfs-{name}-grpc-{port}.sock"));
        }
    }
}

impl Ports {
    /// Two for each part: HTTP and gRPC. All are held at once, so that they differ.
    fn free() -> Self {
        let listeners = [(); 8].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let ports = listeners.map(|listener| listener.local_addr().expect("a bound socket").port());
        let pair = |first: usize| [ports[first], ports[first + 1]];
        Self { s3: pair(0), filer: pair(2), master: pair(4), volume: pair(6) }
    }
}

/// Runs a future to its end; not to be called from async code.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn spawn(weed: &Path, folder: &Path, ports: &Ports) -> Child {
    let config = folder.join("s3.json");
    fs::write(&config, identities().to_string()).expect("a writable folder");
    let log = fs::File::create(folder.join("log")).expect("a writable folder");
    let parts =
        [("s3", ports.s3), ("filer", ports.filer), ("master", ports.master), ("volume", ports.volume)];
    let ports = parts.iter().flat_map(|(name, [http, grpc])| {
        [format!("-{name}.port={http}"), format!("-{name}.port.grpc={grpc}")]
    });
    kept(weed)
        .args(["-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
        .args(ports)
        .arg(format!("-dir={}", folder.display()))
        .arg(format!("-filer.localSocket={}", folder.join("filer.sock").display()))
        .arg("-s3")
        .arg(format!("-s3.config={}", config.display()))
        .arg(format!("-s3.localSocket={}", folder.join("s3.sock").display()))
        .args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"])
        // A bucket takes several volumes; none of them is allocated in advance.
        .args(["-master.volumeSizeLimitMB=1024", "-volume.max=100", "-volume.preStopSeconds=0"])
        .stderr(log)
        .spawn()
        .expect("a shell")
}

fn identities() -> serde_json::Value {
    let identity = |name: &str, credentials: Credentials, actions: &[&str]| {
        json!({
            "name": name,
            "credentials": [{"accessKey": credentials.access_key, "secretKey": credentials.secret_key}],
            "actions": actions,
        })
    };
    json!({"identities": [
        identity("owner", S3Server::OWNER, &["Admin", "Read", "Write", "List", "Tagging"]),
        identity("reader", S3Server::READER, &["Read", "List"]),
    ]})
}

#[test]
fn a_create_only_put_never_replaces_an_object() {
    let Some(server) = super::seaweedfs() else { return };
    server.create_bucket("tables");
    let store = server.store("tables");
    let create = |content: &'static [u8]| {
        let options = PutOptions::from(PutMode::Create);
        block_on(store.put_opts(&Key::from("run/shard"), PutPayload::from_static(content), options))
    };
    create(b"first").unwrap();
    let error = create(b"second").unwrap_err();
    assert!(matches!(error, object_store::Error::AlreadyExists { .. }), "{error}");
    assert_eq!(server.get("tables", "run/shard"), b"first");
}

#[test]
fn a_folder_is_put_and_listed_with_its_paths() {
    let Some(server) = super::seaweedfs() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/one.txt"), b"1").unwrap();
    fs::write(folder.path().join("two.txt"), b"2").unwrap();
    server.create_bucket("images");
    server.put_dir("images", "in", folder.path());
    assert_eq!(server.keys("images", "in"), ["in/a/one.txt", "in/two.txt"]);
    server.delete("images", "in/two.txt");
    assert_eq!(server.keys("images", ""), ["in/a/one.txt"]);
}

#[test]
fn a_missing_bucket_and_a_readers_put_are_refused() {
    let Some(server) = super::seaweedfs() else { return };
    let put = |store: &dyn ObjectStore| block_on(store.put(&Key::from("x"), PutPayload::from_static(b"x")));
    assert!(put(&server.store("nowhere")).is_err());
    server.create_bucket("images");
    assert!(put(&server.store("images")).is_ok());
    let reader = AmazonS3Builder::new()
        .with_endpoint(server.endpoint())
        .with_allow_http(true)
        .with_bucket_name("images")
        .with_access_key_id(S3Server::READER.access_key)
        .with_secret_access_key(S3Server::READER.secret_key)
        .build()
        .unwrap();
    let error = put(&reader).unwrap_err();
    assert!(matches!(error, object_store::Error::PermissionDenied { .. }), "{error}");
    assert!(block_on(reader.head(&Key::from("x"))).is_ok());
}
