//! An HTTP server that misbehaves on request, before the server of a store or a folder.
//!
//! One request a connection; the `Host` header passes unchanged, so that signatures stay valid.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tilefleet_testing::http::{Request, Server, send};

use super::store_server::StoreServer;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// It is answered with this status and goes no further.
    Status(u16),
    /// It is answered with this status and this error code of S3, and goes no further.
    Refusal(u16, &'static str),
    /// It is done, but answered with this status.
    DoneBut(u16),
    /// It is done, but its reply is lost: the connection closes without a word.
    LostReply,
    /// It is done, but nobody answers as long as the client waits.
    DoneInSilence,
    /// It goes no further, and nobody answers as long as the client waits.
    Silence,
    /// It waits until the rules are cleared, and is done then, whether its client waits or not.
    Held,
    /// It goes no further, and the connection closes without a word.
    Hangup,
    /// It is done after a while.
    Delay(Duration),
    /// It is done, but the answer to a GET breaks off in the middle.
    BreakOff,
    /// It is done, but the answer to a GET stops in the middle, and nothing follows as long as the client waits.
    Stall,
    /// It is done, but the answer comes in chunks and without a length, and a HEAD tells none.
    Chunked,
    /// The answer begins, and goes on with a byte every so often.
    Drip(Duration),
    /// It is redirected to this place.
    Redirect(String),
    /// It is answered as if it had asked for the whole.
    NoRanges,
    /// It is done, and what was refused because an object is there is answered as if it had been written.
    ClaimsCreation,
}

/// Which requests a fault befalls; the first rule that fits a request counts.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    method: Option<&'static str>,
    key: String,
    times: usize,
}

impl Rule {
    /// Befalls every request.
    pub fn new(fault: Fault) -> Self {
        Self { fault, method: None, key: String::new(), times: usize::MAX }
    }

    /// Befalls requests with this method only.
    pub fn on_method(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }

    /// Befalls requests only whose path and query contain this, percent-encoded as sent.
    pub fn on_key(mut self, part: &str) -> Self {
        part.clone_into(&mut self.key);
        self
    }

    /// Wears off after so many requests.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    fn fits(&self, request: &Request) -> bool {
        self.times > 0
            && self.method.is_none_or(|method| method == request.method)
            && request.target.contains(&self.key)
    }
}

/// A running proxy; it stops on drop.
pub struct FaultProxy {
    server: Server,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: Upstream,
    rules: Mutex<Vec<Rule>>,
    befallen: Mutex<Vec<String>>,
    num_cleared: AtomicUsize,
    after_hold: Mutex<Vec<u16>>,
}

enum Upstream {
    Server(String),
    /// A server of Google's JSON uploads, asked as `object_store` asks Google.
    Google(String),
    Folder(PathBuf),
}

impl FaultProxy {
    /// Starts a proxy that passes everything on to a server.
    pub fn before_server(server: &dyn StoreServer) -> Self {
        Self::start(Upstream::Server(server.address()))
    }

    /// Starts a proxy that passes everything on to fake-gcs-server at this address, writes in the form that it
    /// understands.
    pub fn before_fake_gcs(address: String) -> Self {
        Self::start(Upstream::Google(address))
    }

    /// Returns host and port.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// Starts an HTTP server for the files under a folder: GET and HEAD, with ranges and `ETag`.
    pub fn before_folder(folder: &Path) -> Self {
        Self::start(Upstream::Folder(folder.to_owned()))
    }

    fn start(upstream: Upstream) -> Self {
        let shared = Arc::new(Shared {
            upstream,
            rules: Mutex::default(),
            befallen: Mutex::default(),
            num_cleared: AtomicUsize::new(0),
            after_hold: Mutex::default(),
        });
        let server = Server::start({
            let shared = Arc::clone(&shared);
            move |request, stream| serve(request, stream, &shared)
        });
        Self { server, shared }
    }

    /// Returns the base URL.
    pub fn endpoint(&self) -> String {
        self.server.url()
    }

    /// Adds a rule after those that are there.
    pub fn add(&self, rule: Rule) {
        self.shared.rules.lock().unwrap().push(rule);
    }

    /// Removes all rules; what is held goes on.
    pub fn clear(&self) {
        let mut rules = self.shared.rules.lock().unwrap();
        rules.clear();
        self.shared.num_cleared.fetch_add(1, Ordering::SeqCst);
    }

    /// Removes all rules, and adds one before another request comes; what is held goes on.
    pub fn replace(&self, rule: Rule) {
        let mut rules = self.shared.rules.lock().unwrap();
        rules.clear();
        rules.push(rule);
        self.shared.num_cleared.fetch_add(1, Ordering::SeqCst);
    }

    /// Refuses new connections, as a server that is down, or takes them again.
    pub fn refuse(&self, refusing: bool) {
        self.server.refuse(refusing);
    }

    /// Returns the requests so far, such as `GET /bucket/key`.
    pub fn requests(&self) -> Vec<String> {
        self.server.requests().iter().map(|request| request.line()).collect()
    }

    /// Returns how many bytes each request for ranges of an object asked for, in their order.
    pub fn ranges_of(&self, key: &str) -> Vec<u64> {
        let asked = self.server.requests();
        let of_key = asked.iter().filter(|request| request.line().ends_with(key));
        let ranges = of_key.filter_map(|request| {
            let (_, range) = request.headers.iter().find(|(name, _)| name == "range")?;
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some(last.parse::<u64>().ok()? + 1 - first.parse::<u64>().ok()?)
        });
        ranges.collect()
    }

    /// Returns those of them that a fault befell.
    pub fn befallen(&self) -> Vec<String> {
        self.shared.befallen.lock().unwrap().clone()
    }

    /// Returns what the server answered to requests that were held, once they went on.
    pub fn answers_after_hold(&self) -> Vec<u16> {
        self.shared.after_hold.lock().unwrap().clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // What is held must not wait for ever.
        self.clear();
    }
}

fn serve(request: &Request, stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    // The lock is free again before anything takes its time.
    let (fault, num_cleared) = {
        let mut rules = shared.rules.lock().unwrap();
        (next_fault(&mut rules, request), shared.num_cleared.load(Ordering::SeqCst))
    };
    if fault.is_some() {
        shared.befallen.lock().unwrap().push(request.line());
    }
    match fault {
        Some(Fault::Status(status)) => return send(stream, request, status, &[], b"<Error/>"),
        Some(Fault::Refusal(status, code)) => {
            let body = format!("<Error><Code>{code}</Code></Error>");
            return send(stream, request, status, &[], body.as_bytes());
        }
        Some(Fault::DoneBut(status)) => {
            pass_on(request, shared, io::sink())?;
            return send(stream, request, status, &[], b"<Error/>");
        }
        Some(Fault::Hangup) => return Ok(()),
        Some(Fault::LostReply) => return pass_on(request, shared, io::sink()),
        Some(Fault::Silence) => return until_client_leaves(stream),
        Some(Fault::DoneInSilence) => {
            pass_on(request, shared, io::sink())?;
            return until_client_leaves(stream);
        }
        Some(Fault::Held) => return hold(num_cleared, request, shared, stream),
        Some(Fault::Delay(time)) => sleep(time),
        Some(Fault::Redirect(place)) => {
            return send(stream, request, 302, &[format!("location: {place}")], b"");
        }
        Some(Fault::Drip(pause)) => {
            let mut whole = Vec::new();
            pass_on(request, shared, &mut whole)?;
            return drip(&whole, pause, stream);
        }
        Some(Fault::NoRanges) => {
            let headers = request.headers.iter().filter(|(name, _)| name != "range").cloned().collect();
            return pass_on(&Request { headers, ..request.clone() }, shared, stream);
        }
        Some(Fault::ClaimsCreation) => {
            let mut whole = Vec::new();
            pass_on(request, shared, &mut whole)?;
            // Azure refuses with 409.
            let created = ["etag: \"x\"".to_owned()];
            return match status_of(&whole) {
                Some(409 | 412) => send(stream, request, 200, &created, b""),
                _ => io::copy(&mut whole.as_slice(), &mut &*stream).map(|_| ()),
            };
        }
        Some(fault @ (Fault::BreakOff | Fault::Stall | Fault::Chunked)) => {
            let mut whole = Vec::new();
            pass_on(request, shared, &mut whole)?;
            spoilt(&fault, request, &whole, stream)?;
            return if fault == Fault::Stall { until_client_leaves(stream) } else { Ok(()) };
        }
        None => {}
    }
    pass_on(request, shared, stream)
}

/// Waits until the client closes the connection, on which nothing more comes.
fn until_client_leaves(mut stream: &TcpStream) -> io::Result<()> {
    io::copy(&mut stream, &mut io::sink()).map(|_| ())
}

/// Waits until the rules are cleared once more, then does what was asked for.
fn hold(num_cleared: usize, request: &Request, shared: &Shared, mut reply: impl Write) -> io::Result<()> {
    while shared.num_cleared.load(Ordering::SeqCst) == num_cleared {
        sleep(Duration::from_millis(5));
    }
    let mut whole = Vec::new();
    pass_on(request, shared, &mut whole)?;
    shared.after_hold.lock().unwrap().extend(status_of(&whole));
    reply.write_all(&whole)
}

/// Sends an answer that has been got in another way.
fn spoilt(fault: &Fault, request: &Request, whole: &[u8], mut reply: impl Write) -> io::Result<()> {
    let end = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(whole.len(), |at| at + 4);
    let (head, body) = whole.split_at(end);
    if matches!(fault, Fault::BreakOff | Fault::Stall) {
        reply.write_all(head)?;
        return reply.write_all(&body[..body.len() / 2]);
    }
    let head = String::from_utf8_lossy(head);
    let has_length = |line: &&str| line.to_lowercase().starts_with("content-length:");
    for line in head.lines().filter(|line| !line.is_empty() && !has_length(line)) {
        write!(reply, "{line}\r\n")?;
    }
    if request.method == "HEAD" {
        return reply.write_all(b"\r\n");
    }
    reply.write_all(b"transfer-encoding: chunked\r\n\r\n")?;
    for piece in body.chunks(1000) {
        write!(reply, "{:x}\r\n", piece.len())?;
        reply.write_all(piece)?;
        reply.write_all(b"\r\n")?;
    }
    reply.write_all(b"0\r\n\r\n")
}

/// Sends an answer's body a byte every `pause`, until the client has had enough.
fn drip(whole: &[u8], pause: Duration, mut reply: impl Write) -> io::Result<()> {
    let end = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(whole.len(), |at| at + 4);
    let (head, body) = whole.split_at(end);
    reply.write_all(head)?;
    for byte in body.chunks(1) {
        reply.write_all(byte)?;
        sleep(pause);
    }
    Ok(())
}

fn next_fault(rules: &mut [Rule], request: &Request) -> Option<Fault> {
    let rule = rules.iter_mut().find(|rule| rule.fits(request))?;
    rule.times = rule.times.saturating_sub(1);
    Some(rule.fault.clone())
}

fn pass_on(request: &Request, shared: &Shared, reply: impl Write) -> io::Result<()> {
    match &shared.upstream {
        Upstream::Server(address) => forward(request, address, reply),
        Upstream::Google(address) if request.method == "PUT" => upload(request, address, reply),
        Upstream::Google(address) => {
            // It knows buckets by its own name only.
            let is_host = |(name, _): &&(String, String)| name == "host";
            let others = request.headers.iter().filter(|header| !is_host(header)).cloned();
            let headers = others.chain([("host".to_owned(), address.clone())]).collect();
            let Request { method, target, body, .. } = request;
            let (method, target, body) = (method.clone(), target.clone(), body.clone());
            forward(&Request { method, target, headers, body }, address, reply)
        }
        Upstream::Folder(folder) => serve_file(request, folder, reply),
    }
}

/// Asks the server at this address the same, and passes its answer on.
pub fn forward(request: &Request, address: &str, mut reply: impl Write) -> io::Result<()> {
    let mut upstream = TcpStream::connect(address)?;
    write!(upstream, "{} {} HTTP/1.1\r\n", request.method, request.target)?;
    for (name, value) in request.headers.iter().filter(|(name, _)| name != "connection") {
        write!(upstream, "{name}: {value}\r\n")?;
    }
    upstream.write_all(b"connection: close\r\n\r\n")?;
    upstream.write_all(&request.body)?;
    io::copy(&mut upstream, &mut reply)?;
    Ok(())
}

/// Turns the PUT of Google's XML API into the upload of its JSON API, and the answer back.
fn upload(request: &Request, address: &str, reply: impl Write) -> io::Result<()> {
    let path = request.target.split('?').next().unwrap_or_default();
    let (bucket, key) = path.trim_start_matches('/').split_once('/').expect("a bucket and a key");
    let mut target =
        format!("/upload/storage/v1/b/{bucket}/o?uploadType=media&name={}", key.replace('/', "%2F"));
    for (header, parameter) in
        [("x-goog-if-generation-match", "ifGenerationMatch"), ("content-encoding", "contentEncoding")]
    {
        if let Some(value) = request.header(header) {
            write!(target, "&{parameter}={value}").expect("a string takes all");
        }
    }
    let mut upstream = TcpStream::connect(address)?;
    // HTTP/1.0: its answers have no chunks.
    let length = request.body.len();
    write!(upstream, "POST {target} HTTP/1.0\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n")?;
    upstream.write_all(&request.body)?;
    let mut whole = Vec::new();
    upstream.read_to_end(&mut whole)?;
    let status = status_of(&whole).unwrap_or(500);
    let start = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(whole.len(), |at| at + 4);
    let Ok(object) = serde_json::from_slice::<serde_json::Value>(&whole[start..]) else {
        return send(reply, request, status, &[], &whole[start..]);
    };
    let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
    let headers = [format!("etag: {}", text("etag")), format!("x-goog-generation: {}", text("generation"))];
    send(reply, request, status, if status == 200 { &headers } else { &[] }, b"")
}

/// Returns the status of an answer.
fn status_of(whole: &[u8]) -> Option<u16> {
    let line = whole.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line).ok()?.split_whitespace().nth(1)?.parse().ok()
}

fn serve_file(request: &Request, folder: &Path, reply: impl Write) -> io::Result<()> {
    let path = request.target.split('?').next().unwrap_or_default().trim_start_matches('/');
    let Ok(content) = fs::read(folder.join(&*percent_decode_str(path).decode_utf8_lossy())) else {
        return send(reply, request, 404, &[], b"");
    };
    let etag = format!("etag: \"{}-{}\"", content.len(), content.iter().map(|b| u64::from(*b)).sum::<u64>());
    let date = "last-modified: Thu, 01 Jan 2026 00:00:00 GMT".to_owned();
    let range = request.header("range").and_then(|value| range_of(value, content.len()));
    let mut headers = vec![etag, date, "accept-ranges: bytes".to_owned()];
    let (status, part) = match range {
        Some((start, end)) if start < end => {
            headers.push(format!("content-range: bytes {start}-{}/{}", end - 1, content.len()));
            (206, &content[start..end])
        }
        Some(_) => (416, &content[..0]),
        None => (200, &content[..]),
    };
    send(reply, request, status, &headers, part)
}

/// Reads `bytes=a-b`, `bytes=a-` and `bytes=-n` into a half-open range within the content.
fn range_of(value: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => Some((first.min(length), (last + 1).min(length))),
        (Ok(first), Err(_)) => Some((first.min(length), length)),
        (Err(_), Ok(count)) => Some((length.saturating_sub(count), length)),
        (Err(_), Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use object_store::path::Path as Key;
    use object_store::{ObjectStoreExt, PutPayload};

    use super::*;
    use crate::support::{Fault, FaultProxy, Rule, S3Server, seaweedfs};

    /// Returns the status and the body of an answer; `None` if there is none.
    fn ask(proxy: &FaultProxy, method: &str, path: &str, range: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(proxy.address()).ok()?;
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\nrange: {range}\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned()))
    }

    fn folder_proxy() -> (tempfile::TempDir, FaultProxy) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a file"), b"0123456789").unwrap();
        let proxy = FaultProxy::before_folder(folder.path());
        (folder, proxy)
    }

    #[test]
    fn files_are_served_whole_and_in_ranges() {
        let (_folder, proxy) = folder_proxy();
        let get = |range| ask(&proxy, "GET", "/a%20file", range).unwrap();
        assert_eq!(get(""), (200, "0123456789".to_owned()));
        assert_eq!(get("bytes=2-4"), (206, "234".to_owned()));
        assert_eq!(get("bytes=8-99"), (206, "89".to_owned()));
        assert_eq!(get("bytes=-3"), (206, "789".to_owned()));
        assert_eq!(get("bytes=10-"), (416, String::new()));
        assert_eq!(ask(&proxy, "HEAD", "/a%20file", "").unwrap(), (200, String::new()));
        assert_eq!(ask(&proxy, "GET", "/gone", "").unwrap().0, 404);
    }

    #[test]
    fn a_rule_befalls_what_it_names_and_wears_off() {
        let (_folder, proxy) = folder_proxy();
        proxy.add(Rule::new(Fault::Status(503)).on_method("GET").on_key("file").times(2));
        proxy.add(Rule::new(Fault::Status(403)).on_key("secret"));
        let status = |method, path| ask(&proxy, method, path, "").unwrap().0;
        assert_eq!(status("GET", "/secret"), 403);
        assert_eq!(status("HEAD", "/a%20file"), 200);
        let statuses = [(); 3].map(|()| status("GET", "/a%20file"));
        assert_eq!(statuses, [503, 503, 200]);
        proxy.clear();
        assert_eq!(status("GET", "/secret"), 404);
        assert_eq!(proxy.requests()[0], "GET /secret");
        assert_eq!(proxy.requests().len(), 6);
    }

    #[test]
    fn a_server_can_hang_up_be_slow_and_be_down() {
        let (_folder, proxy) = folder_proxy();
        proxy.add(Rule::new(Fault::Hangup).times(1));
        proxy.add(Rule::new(Fault::Delay(Duration::from_millis(200))).times(1));
        assert_eq!(ask(&proxy, "GET", "/a%20file", ""), None);
        let start = Instant::now();
        assert!(ask(&proxy, "GET", "/a%20file", "").is_some());
        assert!(start.elapsed() >= Duration::from_millis(200));
        proxy.refuse(true);
        let error = TcpStream::connect(proxy.address()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        proxy.refuse(false);
        assert!(ask(&proxy, "GET", "/a%20file", "").is_some());
    }

    /// Sends a request, and returns the open connection.
    fn begin(proxy: &FaultProxy, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        stream
    }

    #[test]
    fn a_request_is_held_until_the_rules_are_cleared() {
        let (_folder, proxy) = folder_proxy();
        proxy.add(Rule::new(Fault::Held));
        let mut held = begin(&proxy, "/a%20file");
        assert!(held.read(&mut [0]).is_err(), "nothing comes");
        assert_eq!(proxy.answers_after_hold(), [0; 0]);
        proxy.clear();
        let mut answer = String::new();
        held.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("0123456789"), "{answer}");
        assert_eq!(proxy.answers_after_hold(), [200]);
    }

    #[test]
    fn a_server_can_be_silent_from_the_beginning_or_in_the_middle() {
        let (_folder, proxy) = folder_proxy();
        proxy.add(Rule::new(Fault::Silence).times(1));
        proxy.add(Rule::new(Fault::DoneInSilence).times(1));
        proxy.add(Rule::new(Fault::Stall).times(1));
        for expected in ["", "", "01234"] {
            let (mut answer, mut silent) = (Vec::new(), begin(&proxy, "/a%20file"));
            assert!(silent.read_to_end(&mut answer).is_err(), "the connection stays open");
            let answer = String::from_utf8(answer).unwrap();
            assert_eq!(answer.rsplit("\r\n").next(), Some(expected));
        }
    }

    #[test]
    fn a_put_whose_reply_is_lost_has_happened() {
        let Some(server) = seaweedfs() else { return };
        server.create_bucket("tables");
        let proxy = FaultProxy::before_server(&server);
        let store = S3Server::store_at(&proxy.endpoint(), "tables");
        let put = |key: &str| {
            let key = Key::from(key);
            super::super::s3_server::block_on(store.put(&key, PutPayload::from_static(b"rows")))
        };
        put("whole").unwrap();
        // Both the PUT and its one retry lose their replies.
        proxy.add(Rule::new(Fault::LostReply).on_method("PUT").on_key("shard"));
        assert!(put("shard").is_err());
        assert_eq!(server.get("tables", "shard"), b"rows");
        proxy.clear();
        proxy.add(Rule::new(Fault::DoneBut(409)).on_key("hidden"));
        assert!(put("hidden").is_err());
        proxy.add(Rule::new(Fault::Status(503)).on_key("busy"));
        assert!(put("busy").is_err());
        assert_eq!(server.keys("tables", ""), ["hidden", "shard", "whole"]);
    }
}
