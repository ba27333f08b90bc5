//! What the servers of stores have in common, and those of Azure and Google; [`S3Server`] is the third.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tempfile::TempDir;

use super::fault_proxy::FaultProxy;
use super::s3_server::{S3Server, START_LIMIT, block_on, kept};

/// A running server of one kind of store.
pub trait StoreServer: Sync {
    /// Returns the scheme of its URIs.
    fn scheme(&self) -> &'static str;

    /// Returns host and port.
    fn address(&self) -> String;

    /// Returns the environment variables that give a process access to it, or to a proxy before it at this
    /// address.
    fn variables_at(&self, address: &str) -> Vec<(&'static str, String)>;

    /// Returns what must never be printed.
    fn secrets(&self) -> Vec<&'static str>;

    /// Creates an empty bucket.
    fn make_bucket(&self, bucket: &str);

    /// Returns a store for a bucket.
    fn object_store(&self, bucket: &str) -> Arc<dyn ObjectStore>;

    /// Puts an object with this content encoding.
    fn put_encoded(&self, bucket: &str, key: &str, content: Vec<u8>, encoding: &'static str) {
        let attributes = Attributes::from_iter([(Attribute::ContentEncoding, encoding)]);
        let options = PutOptions { attributes, ..PutOptions::default() };
        let store = self.object_store(bucket);
        block_on(store.put_opts(&Key::from(key), content.into(), options)).expect("the server takes objects");
    }

    /// Puts the files of a folder.
    fn put_files(&self, bucket: &str, prefix: &str, folder: &Path) {
        let store = self.object_store(bucket);
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let key = format!("{prefix}/{}", path.file_name().expect("a name").display());
            let content = fs::read(&path).expect("a readable file");
            block_on(store.put(&Key::from(key), content.into())).expect("the server takes objects");
        }
    }

    /// Returns the content of an object.
    fn content(&self, bucket: &str, key: &str) -> Vec<u8> {
        let store = self.object_store(bucket);
        let content = async { store.get(&Key::from(key)).await?.bytes().await };
        block_on(content).expect("the object exists").to_vec()
    }

    /// Returns all keys under a prefix, sorted.
    fn keys_of(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let (store, prefix) = (self.object_store(bucket), Key::from(prefix));
        let listing = store.list(Some(&prefix)).map_ok(|object| object.location.to_string()).try_collect();
        let mut keys: Vec<String> = block_on(listing).expect("the bucket exists");
        keys.sort();
        keys
    }
}

impl StoreServer for S3Server {
    fn scheme(&self) -> &'static str {
        "s3"
    }

    fn address(&self) -> String {
        Self::address(self)
    }

    fn variables_at(&self, address: &str) -> Vec<(&'static str, String)> {
        Self::variables(&format!("http://{address}"), Self::OWNER)
    }

    fn secrets(&self) -> Vec<&'static str> {
        vec![Self::OWNER.access_key, Self::OWNER.secret_key]
    }

    fn make_bucket(&self, bucket: &str) {
        self.create_bucket(bucket);
    }

    fn object_store(&self, bucket: &str) -> Arc<dyn ObjectStore> {
        Arc::new(self.store(bucket))
    }
}

/// A program that is killed on drop, and its folder removed.
struct Running {
    keeper: Child,
    folder: TempDir,
    address: String,
}

impl Running {
    /// Starts a program on a free port until it listens there.
    fn start(program: &Path, arguments: impl Fn(&str) -> Vec<String>) -> Self {
        // Another process may take the port before the server does: then once more.
        (0..3)
            .find_map(|_| Self::try_start(program, &arguments))
            .unwrap_or_else(|| panic!("{} does not start", program.display()))
    }

    fn try_start(program: &Path, arguments: &impl Fn(&str) -> Vec<String>) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = address.expect("a free port");
        let log = fs::File::create(folder.path().join("log")).expect("a writable folder");
        let keeper = kept(program)
            .args(arguments(&address.port().to_string()))
            .current_dir(folder.path())
            .stderr(log)
            .spawn()
            .expect("a shell");
        let running = Self { keeper, folder, address: address.to_string() };
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if TcpStream::connect(address).is_ok() {
                return Some(running);
            }
            sleep(Duration::from_millis(50));
        }
        eprintln!("{}", fs::read_to_string(running.folder.path().join("log")).unwrap_or_default());
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Sends a request without a keep-alive and returns the answer.
fn ask(address: &str, head: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Azurite, its blobs in memory.
pub struct Azurite {
    running: Running,
}

impl Azurite {
    pub const ACCOUNT: &str = "devstoreaccount1";
    /// Known to everybody: it stands in the documentation of Azurite, and opens no other account.
    pub const KEY: &str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    /// Starts a server and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(program: &Path) -> Self {
        let arguments = |port: &str| {
            let fixed = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"];
            let places = ["--blobHost", "127.0.0.1", "--blobPort", port];
            fixed.iter().chain(&places).map(ToString::to_string).collect()
        };
        Self { running: Running::start(program, arguments) }
    }
}

impl StoreServer for Azurite {
    fn scheme(&self) -> &'static str {
        "az"
    }

    fn address(&self) -> String {
        self.running.address.clone()
    }

    fn variables_at(&self, address: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AZURE_STORAGE_ACCOUNT_NAME", Self::ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", Self::KEY.to_owned()),
            ("AZURE_STORAGE_ENDPOINT", format!("http://{address}/{}", Self::ACCOUNT)),
        ]
    }

    fn secrets(&self) -> Vec<&'static str> {
        vec![Self::KEY, "SharedKey"]
    }

    /// `object_store` makes no containers, but signs for whoever does.
    fn make_bucket(&self, bucket: &str) {
        let target = format!("/{}/{bucket}?restype=container", Self::ACCOUNT);
        let uri = format!("http://{}{target}", self.address());
        let mut request: HttpRequest = http::Request::put(uri).body(HttpRequestBody::empty()).expect("a URI");
        let key = AzureAccessKey::try_new(Self::KEY).expect("a key");
        AzureAuthorizer::new(&AzureCredential::AccessKey(key), Self::ACCOUNT).authorize(&mut request);
        let mut head = format!("PUT {target} HTTP/1.1\r\nHost: {}\r\n", self.address());
        for (name, value) in request.headers() {
            let value = value.to_str().expect("text");
            std::fmt::Write::write_fmt(&mut head, format_args!("{name}: {value}\r\n"))
                .expect("a string takes all");
        }
        let answer = ask(&self.address(), &head, "").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 201"), "cannot create the container {bucket}: {answer}");
    }

    fn object_store(&self, bucket: &str) -> Arc<dyn ObjectStore> {
        let builder = MicrosoftAzureBuilder::new()
            .with_account(Self::ACCOUNT)
            .with_access_key(Self::KEY)
            .with_endpoint(format!("http://{}/{}", self.address(), Self::ACCOUNT))
            .with_allow_http(true)
            .with_container_name(bucket);
        Arc::new(builder.build().expect("a complete configuration"))
    }
}

/// fake-gcs-server, its objects in memory, behind a proxy that lets `object_store` write there.
pub struct FakeGcs {
    running: Running,
    proxy: FaultProxy,
}

impl FakeGcs {
    const KEY_ID: &str = "gcs-key-id-6c1f";

    /// Starts a server and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(program: &Path) -> Self {
        let arguments = |port: &str| {
            let public = format!("127.0.0.1:{port}");
            let arguments = ["-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory"];
            arguments.iter().chain(&["-public-host", &public]).map(ToString::to_string).collect()
        };
        let running = Running::start(program, arguments);
        let proxy = FaultProxy::before_fake_gcs(running.address.clone());
        Self { running, proxy }
    }

    /// Returns a service account of a server at this address, which asks for no tokens.
    fn account(address: &str) -> String {
        serde_json::json!({
            "gcs_base_url": format!("http://{address}"),
            "disable_oauth": true,
            "client_email": "",
            "private_key": "",
            "private_key_id": Self::KEY_ID,
        })
        .to_string()
    }
}

impl StoreServer for FakeGcs {
    fn scheme(&self) -> &'static str {
        "gs"
    }

    fn address(&self) -> String {
        self.proxy.address()
    }

    fn variables_at(&self, address: &str) -> Vec<(&'static str, String)> {
        let file = self.running.folder.path().join(format!("account-{}.json", address.replace(':', "-")));
        fs::write(&file, Self::account(address)).expect("a writable folder");
        vec![
            ("GOOGLE_SERVICE_ACCOUNT", file.to_str().expect("UTF-8 paths").to_owned()),
            ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    fn secrets(&self) -> Vec<&'static str> {
        vec![Self::KEY_ID, "Bearer", "private_key"]
    }

    fn make_bucket(&self, bucket: &str) {
        let address = &self.running.address;
        let head = format!(
            "POST /storage/v1/b?project=p HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
        );
        let answer =
            ask(address, &head, &serde_json::json!({ "name": bucket }).to_string()).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "cannot create the bucket {bucket}: {answer}");
    }

    fn object_store(&self, bucket: &str) -> Arc<dyn ObjectStore> {
        let builder = GoogleCloudStorageBuilder::new()
            .with_service_account_key(Self::account(&self.address()))
            .with_client_options(object_store::ClientOptions::new().with_allow_http(true))
            .with_bucket_name(bucket);
        Arc::new(builder.build().expect("a complete configuration"))
    }
}

/// Of sixteen writers that create one object at once one wins, and what it wrote stays.
fn one_of_sixteen_creates(server: &dyn StoreServer) {
    server.make_bucket("tables");
    let store = server.object_store("tables");
    let (store, key) = (&store, Key::from("run/shard"));
    let create = |writer: u8| {
        let key = key.clone();
        let options = PutOptions::from(PutMode::Create);
        async move { store.put_opts(&key, PutPayload::from(vec![writer; 5000]), options).await }
    };
    let results = block_on(futures::future::join_all((0..16).map(create)));
    let mut winners = Vec::new();
    for (writer, result) in (0..16u8).zip(results) {
        match result {
            Ok(_) => winners.push(writer),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
            Err(error) => panic!("writer {writer}: {error}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(server.content("tables", "run/shard"), vec![winners[0]; 5000]);
}

#[test]
fn one_of_sixteen_creates_on_seaweedfs() {
    let Some(server) = super::seaweedfs() else { return };
    one_of_sixteen_creates(&server);
}

#[test]
fn one_of_sixteen_creates_on_azurite() {
    let Some(server) = super::azurite() else { return };
    one_of_sixteen_creates(&server);
}

#[test]
fn one_of_sixteen_creates_on_fake_gcs() {
    let Some(server) = super::fake_gcs() else { return };
    one_of_sixteen_creates(&server);
}
