//! A web server on a free port, which does with a request whatever a test says, politely or not.
//!
//! One request a connection. A library's server would speak HTTP correctly; most tests want one that hangs up, stalls
//! or announces what it does not send, so a handler gets the bare connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

/// How long the server waits for the next connection before it looks whether it has to stop.
const GLANCE: Duration = Duration::from_millis(1);

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// Path and query, percent-encoded as sent.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads a request; `None` for a connection that closes without one.
    ///
    /// # Errors
    ///
    /// As the connection answers.
    fn read(stream: &TcpStream) -> io::Result<Option<Self>> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Self { method, target, headers: Vec::new(), body: Vec::new() };
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            request.headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        assert!(request.header("transfer-encoding").is_none(), "the server takes no chunked bodies");
        let length = request.header("content-length").map_or(0, |value| value.parse().expect("a number"));
        request.body.resize(length, 0);
        reader.read_exact(&mut request.body)?;
        Ok(Some(request))
    }

    /// Returns the value of a header; its name is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Returns method and target, such as `GET /bucket/key`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Status and body of an answer.
pub type Answer = (u16, String);

/// A running server; it stops on drop.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

type Handler = dyn Fn(&Request, &TcpStream) -> io::Result<()> + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<Arc<Request>>>,
    refusing: AtomicBool,
    stopped: AtomicBool,
}

impl Server {
    /// Starts a server whose handler writes what it likes into the connection, which closes when it returns.
    ///
    /// # Panics
    ///
    /// If no port is free.
    pub fn start(handler: impl Fn(&Request, &TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            requests: Mutex::default(),
            refusing: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let listening = Some(thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(listener, &shared)
        }));
        Self { address, shared, listening }
    }

    /// Starts a server that answers as a function says; it gets the request and the server's own URL.
    pub fn answering(answer: impl Fn(&Request, &str) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(move |request, stream| {
            let own = format!("http://{}", stream.local_addr()?);
            let (status, body) = answer(request, &own);
            send(stream, request, status, &["etag: \"e\"".to_owned()], body.as_bytes())
        })
    }

    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its URL, such as `http://127.0.0.1:1234`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns all requests so far.
    ///
    /// # Panics
    ///
    /// If a handler has panicked while it held them, which none does.
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.shared.requests.lock().expect("nobody panics while holding it").clone()
    }

    /// Refuses new connections, as a server that is down, or takes them again.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
        while TcpStream::connect(self.address).is_err() != refusing {
            sleep(2 * GLANCE);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

/// Answers a request with a status, further header lines and a body, of which HEAD gets the length only.
///
/// # Errors
///
/// As the connection answers.
pub fn send(
    mut reply: impl Write,
    request: &Request,
    status: u16,
    headers: &[String],
    body: &[u8],
) -> io::Result<()> {
    write!(reply, "HTTP/1.1 {status} ?\r\nconnection: close\r\ncontent-length: {}\r\n", body.len())?;
    for header in headers {
        write!(reply, "{header}\r\n")?;
    }
    reply.write_all(b"\r\n")?;
    if request.method == "HEAD" { Ok(()) } else { reply.write_all(body) }
}

fn listen(first: TcpListener, shared: &Arc<Shared>) {
    let address = first.local_addr().expect("a bound socket");
    let mut listener = Some(first);
    while !shared.stopped.load(Ordering::SeqCst) {
        if shared.refusing.load(Ordering::SeqCst) {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).ok();
        }
        if let Some(stream) = listener.as_ref().and_then(accept) {
            let shared = Arc::clone(shared);
            // A client that goes away is no failure of the test.
            thread::spawn(move || serve(&stream, &shared).is_ok());
        } else {
            sleep(GLANCE);
        }
    }
}

/// Takes a waiting connection without waiting for one.
fn accept(listener: &TcpListener) -> Option<TcpStream> {
    listener.set_nonblocking(true).ok()?;
    let (stream, _) = listener.accept().ok()?;
    stream.set_nonblocking(false).ok()?;
    Some(stream)
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let Some(request) = Request::read(stream)?.map(Arc::new) else { return Ok(()) };
    shared.requests.lock().expect("nobody panics while holding it").push(Arc::clone(&request));
    (shared.handler)(&request, stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(server: &Server, method: &str) -> Option<String> {
        let mut stream = TcpStream::connect(server.address()).ok()?;
        write!(stream, "{method} /a?b HTTP/1.1\r\nX-Name: c\r\nContent-Length: 2\r\n\r\nhi").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    #[test]
    fn requests_are_answered_and_remembered() {
        let server = Server::answering(|request, own| (200, format!("{own} {}", request.text())));
        let answer = ask(&server, "POST").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("{} hi", server.url())));
        assert!(ask(&server, "HEAD").unwrap().ends_with("\r\n\r\n"));
        let requests = server.requests();
        assert_eq!((requests.len(), requests[0].line().as_str()), (2, "POST /a?b"));
        assert_eq!(requests[0].header("x-name"), Some("c"));
    }

    #[test]
    fn a_server_hangs_up_and_is_down_on_request() {
        let server = Server::start(|_, _| Ok(()));
        assert_eq!(ask(&server, "GET").as_deref(), Some(""));
        server.refuse(true);
        let error = TcpStream::connect(server.address()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        server.refuse(false);
        assert_eq!(ask(&server, "GET").as_deref(), Some(""));
    }
}
