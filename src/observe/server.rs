//! The port that monitoring asks: `/metrics`, `/healthz`, `/readyz`. Nothing of it decides what a run does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::observe::Progress;
use crate::observe::metrics::{CONTENT_TYPE, metrics};

/// Monitoring asks a few at a time; others wait.
const CONNECTIONS: usize = 16;
/// Whoever has not asked by then is hung up on.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers until it is dropped.
#[derive(Debug)]
pub struct Monitor {
    accepting: AbortHandle,
    address: SocketAddr,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Monitor {
    /// Listens at an address; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// As the system answers, for example that another process has the port.
    pub async fn start(address: SocketAddr, progress: Arc<Progress>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, progress)).abort_handle();
        Ok(Self { accepting, address })
    }

    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, progress: Arc<Progress>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
        let Ok((connection, _)) = listener.accept().await else {
            // As when this process has too many files open.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let progress = progress.clone();
        tokio::spawn(async move {
            let _place = place;
            let _ = tokio::time::timeout(PATIENCE, serve(connection, progress)).await;
        });
    }
}

async fn serve(connection: TcpStream, progress: Arc<Progress>) {
    let answer = |request: Request<Incoming>| {
        let answered = answer(request.method(), request.uri().path(), &progress);
        std::future::ready(Ok::<_, Infallible>(answered))
    };
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).keep_alive(false);
    // Whoever hangs up early needs no answer.
    let _ = server.serve_connection(TokioIo::new(connection), service_fn(answer)).await;
}

fn answer(method: &Method, path: &str, progress: &Progress) -> Response<Full<Bytes>> {
    let (status, kind, text) = match path {
        _ if !matches!(*method, Method::GET | Method::HEAD) => {
            (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned())
        }
        "/metrics" => (StatusCode::OK, CONTENT_TYPE, metrics(progress)),
        "/healthz" => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/readyz" => {
            let readiness = progress.readiness();
            let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, "text/plain", format!("{}\n", readiness.name()))
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "there is /metrics, /healthz, /readyz\n".to_owned()),
    };
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
    response.body(Full::from(text)).expect("status and header are constants")
}
