//! A small web service for tests: it answers as a function says, and remembers what it was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Such as `GET`.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// The body as text.
    pub(crate) body: String,
}

/// Status and body of an answer.
pub(crate) type Answered = (u16, String);

/// A service on a free port.
pub(crate) struct TestServer {
    /// Its address, such as `http://127.0.0.1:1234`.
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl TestServer {
    /// Starts it; `answer` gets a request and the service's own address.
    pub(crate) fn start(answer: impl Fn(&Asked, &str) -> Answered + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let shared = Arc::new((answer, address.clone(), Arc::clone(&asked)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let (answer, address, asked) = &*shared;
                    let Some(request) = read(&stream) else { return };
                    asked.lock().unwrap().push(request.clone());
                    let (status, body) = answer(&request, address);
                    write(&stream, &request.method, status, &body);
                });
            }
        });
        Self { address, asked }
    }

    /// Returns all requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some(Asked { method, target, body: String::from_utf8(body).ok()? })
}

fn write(mut stream: &TcpStream, method: &str, status: u16, body: &str) {
    let length = body.len();
    let body = if method == "HEAD" { "" } else { body };
    let head = format!(
        "HTTP/1.1 {status} Said\r\nETag: \"e\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    // A client that has given up wants no answer.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}
